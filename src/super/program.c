#include "super/program.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void identify(const struct stat *st, uint64_t id[4]) {
    id[0] = st->st_dev;
    id[1] = st->st_ino;
    id[2] = (uint64_t)st->st_mtim.tv_sec;
    id[3] = (uint64_t)st->st_mtim.tv_nsec;
}

bool program_open(struct program *p, const char *path, struct err *e) {
    struct stat st = {0};
    *p = PROGRAM_NONE;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err_set(e, "cannot open %s: %s", path, fd >= 0 && !S_ISREG(st.st_mode) ? "it is no file" : strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    identify(&st, p->id);
    p->fd = fd;
    return true;
}

void program_close(struct program *p) {
    if (p->fd >= 0) close(p->fd);
    *p = PROGRAM_NONE;
}

bool program_same(const struct program *a, const struct program *b) {
    return memcmp(a->id, b->id, sizeof a->id) == 0;
}

bool program_replaced(const struct program *p, const char *path) {
    struct stat st;
    struct program now;
    if (stat(path, &st) != 0) return true;
    identify(&st, now.id);
    return !program_same(p, &now);
}
