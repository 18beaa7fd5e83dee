/* The engine's program as it was when we took it: a descriptor, from which engines and planners are started whatever has become of the file.
 * An upgrade replaces the files under a running server, and a newer program need not understand what an older one holds. */
#ifndef PORTREEVE_SUPER_PROGRAM_H
#define PORTREEVE_SUPER_PROGRAM_H
#include "base/err.h"
#include <stdint.h>

struct program {
    int fd;         /* O_PATH, CLOEXEC; -1 = none */
    uint64_t id[4]; /* device, inode, time of change: which file it is */
};

#define PROGRAM_NONE ((struct program){.fd = -1})

bool program_open(struct program *p, const char *path, struct err *e);
void program_close(struct program *p);
bool program_same(const struct program *a, const struct program *b);
/* Does another file lie at path now, or none? */
bool program_replaced(const struct program *p, const char *path);
#endif
