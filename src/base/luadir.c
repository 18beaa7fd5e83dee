#include "base/luadir.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool holds(const char *dir) {
    char probe[512];
    snprintf(probe, sizeof probe, "%s/portreeve/rules.lua", dir);
    return access(probe, R_OK) == 0;
}

bool luadir_of(const char *program, char *out, size_t cap, struct err *e) {
    char exe[400];
    if ((size_t)snprintf(exe, sizeof exe, "%s", program) >= sizeof exe) exe[0] = '\0';
    for (int up = 0; up < 3; up++) { /* build/MODE/portreeve-engine → the tree's own lua; PREFIX/libexec/portreeve/… → PREFIX/share */
        char *slash = strrchr(exe, '/');
        if (!slash) break;
        *slash = '\0';
        snprintf(out, cap, "%s/lua", exe);
        if (holds(out)) return true;
        snprintf(out, cap, "%s/share/portreeve/lua", exe);
        if (holds(out)) return true;
    }
    snprintf(out, cap, "%s/lua", DATADIR);
    return holds(out) || err_set(e, "the standard library is not at %s: is the installation complete?", out);
}

bool luadir_find(char *out, size_t cap, struct err *e) {
    char exe[400];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    return luadir_of(exe, out, cap, e);
}

#define DEEPEST 8

static uint64_t mix(uint64_t sum, const struct stat *st) {
    const uint64_t part[] = {st->st_dev,
                             st->st_ino,
                             (uint64_t)st->st_size,
                             (uint64_t)st->st_mtim.tv_sec,
                             (uint64_t)st->st_mtim.tv_nsec,
                             (uint64_t)st->st_ctim.tv_sec,
                             (uint64_t)st->st_ctim.tv_nsec};
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) h = (h ^ part[i]) * 0x100000001b3u;
    return sum + (h ^ h >> 29); /* a sum: the order in which a folder is read does not matter */
}

static bool stamp_folder(int at, const char *name, int depth, uint64_t *sum) {
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool good = d != NULL;
    if (!d && fd >= 0) close(fd);
    for (struct dirent *f = d ? readdir(d) : NULL; good && f; f = readdir(d)) {
        struct stat st;
        if (f->d_name[0] == '.') continue;
        good = fstatat(dirfd(d), f->d_name, &st, 0) == 0;
        if (good) *sum = mix(*sum, &st);
        if (good && S_ISDIR(st.st_mode)) good = depth < DEEPEST && stamp_folder(dirfd(d), f->d_name, depth + 1, sum);
    }
    if (d) closedir(d);
    return good;
}

uint64_t luadir_stamp(const char *dir) {
    uint64_t sum = 0;
    return stamp_folder(AT_FDCWD, dir, 0, &sum) ? sum | 1 : 0;
}
