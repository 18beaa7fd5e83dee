/* Listening and connected sockets. Libc only: the supervisor uses this too. */
#ifndef PORTREEVE_NET_SOCK_H
#define PORTREEVE_NET_SOCK_H
#include "base/addr.h"

/* How to bind. */
#define SOCK_EXCLUSIVE 1u
#define SOCK_FREEBIND  2u /* an address that is not on this machine (IP_FREEBIND): callers arrive once it is */

/* An address with `udp` set gets a UDP socket: no SO_REUSEADDR, which would let any program share the port, a large receive buffer, and no
 * listening: it receives from the moment it is bound.
 *
 * Open, bind and listen: SO_REUSEADDR, IPV6_V6ONLY, TCP_NODELAY (inherited by accepted sockets), O_NONBLOCK, CLOEXEC, SO_REUSEPORT.
 * SOCK_EXCLUSIVE: bind without SO_REUSEPORT and set it afterwards, so that a foreign socket on the same address and port is an error
 * (used for the first socket of a group; the workers' further ones go without). at->port 0: the kernel chooses; *port gets what was bound.
 * Returns the fd, or -1 with e: "address not on this machine", "port taken", "needs root or CAP_NET_BIND_SERVICE" in plain words. */
int sock_listen(const struct addr *at, unsigned how, int backlog, uint16_t *port, struct err *e);
/* The two halves of sock_listen: bind without listening (so that no caller can arrive yet), and start listening (or change the backlog). */
int sock_bind(const struct addr *at, unsigned how, uint16_t *port, struct err *e);
/* Could `at` be bound now, its port left aside? False where the address is not on this machine, still tentative, or its interface gone. */
bool sock_here(const struct addr *at);
bool sock_start(int fd, int backlog); /* false with errno; not for UDP */
/* The two halves of sock_bind: the socket, and its bind. sock_unbound: -1 with e. sock_bind_late: false with errno. */
int sock_unbound(const struct addr *at, unsigned how, struct err *e);
bool sock_bind_late(int fd, const struct addr *at);
/* A bound socket that does not listen yet: nobody else can listen on its address and port any more, and callers are refused, as they were
 * before it was bound. sock_start ends it. No right is needed; false with errno. */
bool sock_claim(int fd);
/* Make a listening socket deaf to new callers, once and for all, in every process that holds it: they find another listener of that
 * address, or are refused. Who is already in its queue or in a handshake stays and can be accepted. false with errno. */
bool sock_deafen(int fd);
/* What sock_listen's refusals are: for messages that add the holder. */
bool sock_errno_text(int err, const struct addr *at, struct err *e);
#endif
