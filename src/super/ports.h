/* Who listens where, from /proc/net/tcp and /proc/net/tcp6; who holds a socket, from /proc/PID/fd. */
#ifndef PORTREEVE_SUPER_PORTS_H
#define PORTREEVE_SUPER_PORTS_H
#include "base/addr.h"
#include <sys/types.h>

/* Same family and port, and same address or one of them the wildcard: the kernel sees a conflict unless both say SO_REUSEPORT. */
bool ports_overlap(const struct addr *a, const struct addr *b);
struct port_holder {
    ino_t inode; /* of the listening socket; 0 = none found */
    uid_t uid;
};
/* A listening socket that overlaps `at` and for which mine() is false; inode 0 = none (or /proc cannot be read).
 * loose: an IPv6 wildcard counts against IPv4 too (it may be dual-stack), good enough to name a culprit. */
struct port_holder ports_foreign(const struct addr *at, bool loose, bool (*mine)(void *ctx, ino_t inode), void *ctx);
/* "pid 123 (nginx: master process)"; where we may not look into the holder "a program of user www-data"; "" for none. */
void ports_holder_text(const struct port_holder *h, char *out, size_t cap);
#endif
