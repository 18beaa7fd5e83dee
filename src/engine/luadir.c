#include "engine/luadir.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool holds(const char *dir) {
    char probe[512];
    snprintf(probe, sizeof probe, "%s/portreeve/rules.lua", dir);
    return access(probe, R_OK) == 0;
}

bool luadir_find(char *out, size_t cap, struct err *e) {
    char exe[400];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
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
