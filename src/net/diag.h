/* What the kernel knows of addresses and of TCP sockets, asked over netlink: without /proc, which the engine's Landlock rules hide, and for all
 * sockets at once. Each call opens and closes a netlink socket of its own, and never waits longer than a second. Any thread. */
#ifndef PORTREEVE_NET_DIAG_H
#define PORTREEVE_NET_DIAG_H
#include "base/addr.h"

/* Would a packet to this address stay on this machine? 1 = it is ours, 0 = it is not, -1 = the kernel does not tell. */
int diag_is_local(const struct addr *a);

struct diag_listener {
    struct addr at;
    uint32_t inode, uid;
    uint32_t device; /* bound to this interface only; 0 = to none */
};
/* Every listening TCP socket of this network namespace; each() returning false ends it. false = the kernel does not tell. */
bool diag_listeners(bool (*each)(void *ctx, const struct diag_listener *l), void *ctx);

/* The local end of every established TCP connection of this network namespace, accepted or not. false = the kernel does not tell. */
bool diag_connections(void (*each)(void *ctx, const struct addr *local), void *ctx);

/* A connection within this machine, from `client` to `server`: what has become of its far end? */
enum diag_end {
    DIAG_UNKNOWN,  /* the kernel does not tell */
    DIAG_NOT_HERE, /* no socket has these two addresses: the packets were sent elsewhere */
    DIAG_QUEUED,   /* nobody has accepted it yet */
    DIAG_ACCEPTED  /* some process has it (or had) */
};
enum diag_end diag_far_end(const struct addr *server, const struct addr *client);
#endif
