#include "super/program.h"
#include "base/luadir.h"
#include "plan/library.h"
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

bool program_take(struct program *p, const char *path, struct err *e) {
    if (!program_open(p, path, e)) return false;
    if (luadir_of(path, p->luadir, sizeof p->luadir, e)) {
        p->stamp = luadir_stamp(p->luadir);
        p->library = library_take(p->luadir, e);
    }
    if (p->library < 0) program_close(p);
    return p->library >= 0;
}

void program_close(struct program *p) {
    if (p->fd >= 0) close(p->fd);
    if (p->library >= 0) close(p->library);
    *p = PROGRAM_NONE;
}

bool program_same(const struct program *a, const struct program *b) {
    return memcmp(a->id, b->id, sizeof a->id) == 0 && a->stamp == b->stamp;
}

bool program_replaced(const struct program *p, const char *path) {
    struct stat st;
    struct program now = PROGRAM_NONE;
    if (stat(path, &st) != 0) return true;
    identify(&st, now.id);
    if (p->library >= 0) now.stamp = luadir_stamp(p->luadir);
    return !program_same(p, &now);
}
