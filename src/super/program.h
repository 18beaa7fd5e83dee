/* The engine's program as it was when we took it: a descriptor of it and an image of its Lua library, from which engines and planners are started whatever has become of the file.
 * An upgrade replaces the files under a running server, and a newer program need not understand what an older one holds. */
#ifndef PORTREEVE_SUPER_PROGRAM_H
#define PORTREEVE_SUPER_PROGRAM_H
#include "base/err.h"
#include <stdint.h>

struct program {
    int fd;         /* O_PATH, CLOEXEC; -1 = none */
    int library;    /* its Lua library (plan/library.h); -1 = none */
    uint64_t stamp; /* of the library's files */
    char luadir[512];
    uint64_t id[4]; /* device, inode, time of change: which file it is */
};

#define PROGRAM_NONE ((struct program){.fd = -1, .library = -1})

bool program_open(struct program *p, const char *path, struct err *e); /* without library */
bool program_take(struct program *p, const char *path, struct err *e); /* with it */
void program_close(struct program *p);
bool program_same(const struct program *a, const struct program *b);
/* Does another file lie at path now, or none, or another library? */
bool program_replaced(const struct program *p, const char *path);
#endif
