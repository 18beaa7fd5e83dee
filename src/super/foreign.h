/* Ports that other programs use: what the kernel lists, less the sockets that are ours. */
#ifndef PORTREEVE_SUPER_FOREIGN_H
#define PORTREEVE_SUPER_FOREIGN_H
#include "net/ports.h"
#include "super/adopt.h"

struct generation;
struct held_retired;
struct mine { /* where sockets of ours may be; each may be NULL */
    const struct generation *old, *now;
    const struct held_retired *retired;
    const struct adopted *adopted;
    bool udp; /* look at UDP sockets too: some are planned */
};

/* port 0 = every port; all: also what does not listen. Where the kernel does not tell, `out` is empty and that is warned about: an
 * exclusive bind still finds who is in the way. */
void foreign_read(struct ports *out, uint16_t port, bool all, const struct mine *m);
/* Read all ports now, for the foreign_read of the same old generation within a second: with thousands of sockets that takes milliseconds, in which
 * a planner can be at work. */
void foreign_ahead(const struct mine *m);
#endif
