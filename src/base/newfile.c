#include "base/newfile.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool folder_of(const char *path, char out[PATH_MAX], struct err *e) {
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= PATH_MAX) return err_set(e, "%.100s…: path too long", path);
    if (slash == NULL) {
        memcpy(out, ".", 2);
    } else if (n == 0) {
        memcpy(out, "/", 2);
    } else {
        memcpy(out, path, n);
        out[n] = '\0';
    }
    return true;
}

bool newfile_sync_folder(const char *path, struct err *e) {
    char dir[PATH_MAX];
    if (!folder_of(path, dir, e)) return false;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_set(e, "%s: cannot open the folder: %s", dir, strerrordesc_np(errno));
    int rc = fsync(fd), err = errno;
    close(fd);
    if (rc != 0) return err_set(e, "%s: cannot sync the folder: %s", dir, strerrordesc_np(err));
    return true;
}

static bool write_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* Write path.new-PID whole and durable; its name goes to tmp. */
static bool write_beside(const char *path, const void *p, size_t n, mode_t mode, char tmp[PATH_MAX], struct err *e) {
    if (snprintf(tmp, PATH_MAX, "%s.new-%ld", path, (long)getpid()) >= PATH_MAX) return err_set(e, "%.100s…: path too long", path);
    unlink(tmp); /* left by an earlier process of this number that was killed */
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) return err_set(e, "%s: cannot create: %s", tmp, strerrordesc_np(errno));
    bool done = fchmod(fd, mode) == 0 && write_all(fd, p, n) && fsync(fd) == 0;
    int err = errno;
    if (close(fd) != 0 && done) {
        done = false;
        err = errno;
    }
    if (done) return true;
    unlink(tmp);
    return err_set(e, "%s: cannot write: %s", tmp, strerrordesc_np(err));
}

bool newfile_create(const char *path, const void *p, size_t n, mode_t mode, struct err *e) {
    char tmp[PATH_MAX];
    struct stat st;
    if (lstat(path, &st) == 0) return true;
    if (!write_beside(path, p, n, mode, tmp, e)) return false;
    int rc = link(tmp, path), err = errno;
    unlink(tmp);
    if (rc != 0 && err != EEXIST) return err_set(e, "%s: cannot create: %s", path, strerrordesc_np(err));
    return newfile_sync_folder(path, e);
}

bool newfile_replace(const char *path, const void *p, size_t n, mode_t mode, struct err *e) {
    char tmp[PATH_MAX];
    if (!write_beside(path, p, n, mode, tmp, e)) return false;
    if (rename(tmp, path) != 0) {
        err_set(e, "%s: cannot replace: %s", path, strerrordesc_np(errno));
        unlink(tmp);
        return false;
    }
    return newfile_sync_folder(path, e);
}
