/* After a change: callers whose handshake with a retired socket is still under way. Its last packet must find that socket, or the kernel
 * answers it with a reset; so retired sockets, deaf already, stay until these have come through, or have had time enough. */
#ifndef PORTREEVE_SUPER_SETTLE_H
#define PORTREEVE_SUPER_SETTLE_H
#include "base/addr.h"

#define SETTLE_FIRST_MS 5 /* a handshake that began when the socket was deafened is listed by then */
#define SETTLE_TICK_MS  20
#define SETTLE_MOST_MS  1500 /* a lost packet of a handshake is sent again after one second */
#define SETTLE_CALLERS  256u /* that are waited for one by one; where there are more (a flood), the whole time is waited */

struct settle {        /* all zero = nothing to wait for */
    struct addr *gone; /* where the retired sockets listened */
    uint32_t ngone;
    struct settle_caller {
        struct addr at, peer;
        bool still;
    } * caller;
    uint32_t n, more;
    bool listed;
    int64_t until, next; /* CLOCK_MONOTONIC ms */
};

struct generation;
/* `old` gives way to `now`, whose steps say which of its sockets go. */
void settle_begin(struct settle *s, const struct generation *old, const struct generation *now, int64_t ms);
/* Is it over? Also frees then. */
bool settle_over(struct settle *s, int64_t now);
void settle_finish(struct settle *s);
#endif
