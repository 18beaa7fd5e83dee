/* Listening sockets that a service manager bound for us (LISTEN_FDS). */
#ifndef PORTREEVE_SUPER_ADOPT_H
#define PORTREEVE_SUPER_ADOPT_H
#include "base/addr.h"

struct adopted {
    unsigned n;
    struct adopted_fd {
        int fd; /* -1 = taken */
        struct addr at;
    } * fd;
};

/* Take the descriptors 3 … 3+n-1. What is no TCP listener, or an IPv6 wildcard that also takes IPv4, is warned about and closed. */
void adopted_init(struct adopted *a, unsigned n);
/* The socket for exactly this address and port, now the caller's; -1 = none. */
int adopted_take(struct adopted *a, const struct addr *at);
/* Warn about and close what no plan entry asked for. */
void adopted_finish(struct adopted *a);
#endif
