/* Who uses which port of this machine, as the kernel tells it (sock_diag, else /proc/net/tcp, tcp6, udp and udp6). Libc only. */
#ifndef PORTREEVE_NET_PORTS_H
#define PORTREEVE_NET_PORTS_H
#include "base/addr.h"
#include <sys/types.h>

#define PORTS_MOST 262144u /* entries that are looked at */

struct port_use {
    struct addr at;
    struct addr peer; /* of a connection that uses the port; family 0 where there is none */
    bool listening;   /* UDP: takes datagrams of everybody */
    bool dual;        /* an IPv6 wildcard that takes IPv4 too (IPV6_V6ONLY is off) */
    ino_t inode;
    uid_t uid;       /* who made the socket */
    uint64_t cgroup; /* its control group's number, 0 = unknown */
};

struct ports { /* sorted by port */
    struct port_use *use;
    uint32_t n;
};

/* What listens on `port` (0 = on every port); all: also what is only bound, and connections, which can hold a port too; udp: UDP sockets as
 * well as TCP. False with e. */
bool ports_read(struct ports *p, uint16_t port, bool all, bool udp, struct err *e);
void ports_finish(struct ports *p);
/* Forget the sockets whose inode mine() knows: what is left is foreign. */
void ports_without(struct ports *p, bool (*mine)(const void *ctx, ino_t inode), const void *ctx);
/* The first that stands in the way of binding `at`; NULL = none. */
const struct port_use *ports_taken(const struct ports *p, const struct addr *at);
/* Same family and port, and same address or one of them the wildcard: the kernel sees a conflict unless both say SO_REUSEPORT. */
bool ports_overlap(const struct addr *a, const struct addr *b);
#endif
