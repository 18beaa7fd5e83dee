/* What the kernel knows of addresses and of TCP and UDP sockets, asked over netlink: without /proc, which the engine's Landlock rules hide, and for all
 * sockets at once. Each call opens and closes a netlink socket of its own, and never waits longer than a second. Any thread. */
#ifndef PORTREEVE_NET_DIAG_H
#define PORTREEVE_NET_DIAG_H
#include "base/addr.h"

/* Would a packet to this address stay on this machine? 1 = it is ours, 0 = it is not, -1 = the kernel does not tell. */
int diag_is_local(const struct addr *a);

struct diag_socket {
    struct addr at;
    struct addr peer; /* family 0 = none */
    uint8_t state;    /* TCP_LISTEN … of <netinet/tcp.h> */
    bool v6;          /* an IPv6 socket, also where its addresses are IPv4 ones in disguise, which `at` and `peer` then show */
    bool v6only;      /* told of sockets that listen only */
    uint32_t inode, uid;
    uint32_t device; /* bound to this interface only; 0 = to none */
    uint64_t cgroup; /* its control group's number; 0 = not told */
};
/* Every TCP socket of this network namespace that is in one of `states` (bits 1 << TCP_LISTEN …) and has this local port (0 = any); each()
 * returning false ends it. false = the kernel does not tell. */
bool diag_sockets(uint32_t states, uint16_t port, bool (*each)(void *ctx, const struct diag_socket *s), void *ctx);
/* The same of UDP sockets: `states` are 1 << TCP_CLOSE (they take datagrams of everybody) and 1 << TCP_ESTABLISHED (of one peer). */
bool diag_udp(uint32_t states, uint16_t port, bool (*each)(void *ctx, const struct diag_socket *s), void *ctx);
/* Those that listen. */
bool diag_listeners(bool (*each)(void *ctx, const struct diag_socket *s), void *ctx);

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
