#include "engine/rotated.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void rotated_init(struct rotated *f, const char *path) {
    *f = (struct rotated){.fd = -1};
    snprintf(f->path, sizeof f->path, "%s", path);
}

void rotated_finish(struct rotated *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

/* NAME.N-2 becomes NAME.N-1, …, NAME becomes NAME.1: rename() takes the oldest away. With one file only, it begins anew. */
static void put_aside(struct rotated *f, unsigned most) {
    char from[sizeof f->path + 16], to[sizeof f->path + 16];
    for (unsigned i = most - 1; i > 0; i--) {
        snprintf(to, sizeof to, "%s.%u", f->path, i);
        if (i > 1) snprintf(from, sizeof from, "%s.%u", f->path, i - 1);
        else snprintf(from, sizeof from, "%s", f->path);
        (void)rename(from, to);
    }
    if (most == 1) (void)unlink(f->path);
    rotated_finish(f);
}

/* The file of that name, whoever may have put another one aside; *size is what it holds. */
static bool have_open(struct rotated *f, int64_t *size) {
    struct stat mine, there;
    if (f->fd >= 0 &&
        (stat(f->path, &there) != 0 || fstat(f->fd, &mine) != 0 || mine.st_ino != there.st_ino || mine.st_dev != there.st_dev))
        rotated_finish(f);
    if (f->fd < 0) {
        f->ragged = false;
        f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
        if (f->fd < 0) return false;
    }
    if (fstat(f->fd, &mine) != 0) return false;
    *size = mine.st_size;
    if (S_ISREG(mine.st_mode)) return true;
    rotated_finish(f);
    errno = EINVAL; /* a pipe or a device, of which nobody knows what it does to who writes */
    return false;
}

static bool write_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = ENOSPC;
        if (k <= 0) return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static bool failed(struct rotated *f) {
    f->why = errno ? errno : EIO;
    return false;
}

bool rotated_add(struct rotated *f, const char *p, size_t n, int64_t bytes, unsigned most) {
    int64_t size = 0;
    if (!have_open(f, &size)) return failed(f);
    if (size > 0 && size + (int64_t)n > bytes) {
        put_aside(f, most);
        if (!have_open(f, &size)) return failed(f);
    }
    if (f->ragged && !write_all(f->fd, "\n", 1)) return failed(f);
    f->ragged = false;
    if (!write_all(f->fd, p, n)) {
        (void)failed(f);
        f->ragged = ftruncate(f->fd, size) != 0;
        return false;
    }
    f->why = 0;
    return true;
}
