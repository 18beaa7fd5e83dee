/* Everything that can be known to be wrong with a plan before the kernel is asked. Runs in the planner and again in the supervisor:
 * duplicates, conflicts (wildcard against specific of one port, G4), service and scheme ranges, HTTPS without certificate, names. */
#ifndef PORTREEVE_PLAN_PLAN_CHECK_H
#define PORTREEVE_PLAN_PLAN_CHECK_H
#include "plan/plan.h"

bool plan_check(const struct plan *p, struct err *e); /* first fault found, with the because of the socket(s) */
/* Every fault: each socket's first, and where those are good every conflict, naming both sockets and what can be done. */
bool plan_check_each(const struct plan *p, void (*say)(void *ctx, const char *text), void *ctx);
/* Does a tunnel lead back to itself, by however many steps? here: is this an address of this machine (what a wildcard socket stands for)? NULL: only
 * loopback addresses and those that the plan itself binds are taken for such. Part of plan_check with NULL; the planner asks again. */
bool plan_check_loops(const struct plan *p, bool (*here)(void *ctx, const struct addr *a), void *ctx, struct err *e);
/* How a new plan's sockets relate to the old one's. keep[i] = index in old of the socket that new socket i takes over
 * (same name is not required: same address, port, v6only), or -1 = new. One that waits and one that is bound are no match: that is a
 * change; two that wait are (there is no socket to keep). Both arrays are the caller's, sized by nsockets.
 * bound: ports really bound by old (0 = not bound), or NULL; a plan that names the port which the kernel chose before still means the
 * socket that is there. false on ENOMEM. */
bool plan_match(const struct plan *old, const uint16_t *bound, const struct plan *now, int32_t *keep, bool *old_used);
/* Order by family, TCP before UDP, port, address (the wildcard leads), scope. */
int plan_by_place(const struct addr *x, const struct addr *y);
/* Nothing to be done to get from one to the other: the same sockets in any order, certificates and settings. false on ENOMEM, too. */
bool plan_same(const struct plan *a, const struct plan *b);
#endif
