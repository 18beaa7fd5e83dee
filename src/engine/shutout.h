/* Whom the next rules would shut out that those of before let in: this machine (127.0.0.1, ::1), recent administrators of the hub, members of
 * lists/cluster.list. Asked by the engine before it takes a generation, and by `portreeve check` about files; both sides are judged now, so that what
 * depends on the hour is no difference. Lists decide alike from one of their edges to the next, so a range of the cluster is asked about at its first
 * address and at every edge that a list of either side has inside it: 1,024 addresses in all. Each is judged as if alone, at peer, without a certificate,
 * and without bans: those have a guard of their own. Every socket is judged by its own row of its listener, and only those count that the address can
 * call, as far as the plan tells (not one that waits, speaks the other IP version, or listens on the loopback for who calls from elsewhere). Of services one administers, watches or joins by only (GUARDED_SERVICES): to keep this machine out
 * of the tracker or a tunnel is nobody's accident. */
#ifndef PORTREEVE_ENGINE_SHUTOUT_H
#define PORTREEVE_ENGINE_SHUTOUT_H
#include "gate/admins.h"
#include "script/hooks.h"

#define GUARDED_SERVICES ((uint32_t)(SVC_HUB | SVC_OPS | SVC_INTERNAL | SVC_TRANSFER))
#define SHUTOUT_MS       2000 /* then the rest is not asked about */
#define SHUTOUT_OWN      2u

struct shutout_side { /* rules; what is pointed to is borrowed */
    const struct plan *plan;
    const struct lists *lists;
    struct hooks *hooks; /* used by the calling thread alone; NULL: made when there is need, as `make` says */
    const struct hooks_config *make;
};
/* true: nobody is shut out, as far as was asked: *partly is NULL, or says in words what was not. false: e names who, the reason and the line (or memory
 * is out). */
bool shutout_spares(const struct shutout_side *next, const struct shutout_side *old, const struct admin *admin, unsigned nadmins,
                    const char **partly, struct err *e);

void shutout_self(struct addr out[SHUTOUT_OWN]);
void shutout_ago(int64_t ms, char out[32]);                                                   /* "40 s", "12 min" */
void shutout_member(const struct pset *cluster, const struct addr *a, char *out, size_t cap); /* the line that makes it one */
#endif
