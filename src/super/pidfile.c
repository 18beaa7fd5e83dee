#include "super/pidfile.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static bool path_of(const char *state, char out[PATH_MAX]) {
    return snprintf(out, PATH_MAX, "%s/run/portreeve.pid", state) < PATH_MAX;
}

static pid_t read_pid(int fd) {
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

int pidfile_take(const char *state, bool *unclean, struct err *e) {
    char path[PATH_MAX], text[24];
    if (!path_of(state, path)) {
        err_set(e, "the state folder's path is too long");
        return -1;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        err_set(e, "%s: cannot open: %s", path, strerror(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) err_set(e, "%s: cannot lock: %s", path, strerror(errno));
        else
            err_set(e, "%s: portreeve already runs here, pid %ld; end it with `portreeve stop --state %s` or use another --state", path,
                    (long)read_pid(fd), state);
        close(fd);
        return -1;
    }
    *unclean = read_pid(fd) > 0;
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    /* In place, where a full disk does not matter; and where there is no place yet, the tracker still must start: the lock is what counts. */
    if (pwrite(fd, text, (size_t)n, 0) != n || ftruncate(fd, n) != 0) log_warn("supervisor", "%s: cannot write: %s", path, strerror(errno));
    return fd;
}

void pidfile_drop(int fd) {
    if (fd < 0) return;
    /* No number: `kill $(cat …)` with a 0 would end whoever asks, and his whole group. One byte stays, so that the block is kept. */
    if (pwrite(fd, "\n", 1, 0) != 1 || ftruncate(fd, 1) != 0) { /* then the next start waits a little longer than it must */
    }
    close(fd);
}

pid_t pidfile_holder(const char *state) {
    char path[PATH_MAX];
    if (!path_of(state, path)) return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    pid_t pid = 0;
    if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        pid = read_pid(fd);
        if (pid <= 0) pid = 1; /* held by one that has not written its number yet */
    }
    close(fd);
    return pid;
}
