#include "super/ctlpath.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME    "control.sock"
#define BACKLOG 32

/* sun_path holds 107 bytes; a path through /proc/self/fd is always short. Returns the folder's fd, to be closed after use, or -1. */
static int address(const char *state, struct sockaddr_un *a) {
    char run[PATH_MAX];
    if (snprintf(run, sizeof run, "%s/run", state) >= (int)sizeof run) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int dir = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (dir >= 0 && snprintf(a->sun_path, sizeof a->sun_path, "%s/%s", run, NAME) >= (int)sizeof a->sun_path) {
        snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/%s", dir, NAME);
    }
    return dir;
}

int ctlpath_listen(const char *state, struct err *e) {
    struct sockaddr_un a;
    int dir = address(state, &a), fd = -1;
    if (dir >= 0) {
        (void)unlinkat(dir, NAME, 0);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        mode_t before = umask(0177);
        bool good = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, BACKLOG) == 0;
        int why = errno;
        umask(before);
        close(dir);
        if (good) return fd;
        if (fd >= 0) close(fd);
        errno = why;
    }
    err_set(e, "%s/run/%s: cannot make the control socket: %s", state, NAME, strerror(errno));
    return -1;
}

int ctlpath_connect(const char *state) {
    struct sockaddr_un a;
    int dir = address(state, &a);
    if (dir < 0) return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        fd = -1;
    }
    int why = errno;
    close(dir);
    errno = why;
    return fd;
}

void ctlpath_unlink(const char *state) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/run/%s", state, NAME) < (int)sizeof path) (void)unlink(path);
}
