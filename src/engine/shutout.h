/* Whom a set of rules would shut out that the one before lets in: this machine (127.0.0.1, ::1), recent administrators of the hub, members of
 * lists/cluster.list. Asked by the engine before it takes a generation, and by `portreeve check` about files. Lists decide alike from one of their edges
 * to the next, so a range of the cluster is asked about at its first address and at every edge that some list has inside it. Each is judged as if alone,
 * at peer, and without bans: those have a guard of their own. Of services one administers, watches or joins by only (GUARDED_SERVICES): to keep this
 * machine out of the tracker or a tunnel is nobody's accident. */
#ifndef PORTREEVE_ENGINE_SHUTOUT_H
#define PORTREEVE_ENGINE_SHUTOUT_H
#include "gate/admins.h"
#include "script/hooks.h"

#define GUARDED_SERVICES ((uint32_t)(SVC_HUB | SVC_OPS | SVC_INTERNAL | SVC_TRANSFER))
#define GUARDED_MOST 1024u /* addresses known by heart; where the cluster and the lists about it make more, the first ones, and a warning */
#define GUARDED_OWN  2u

struct guarded {
    struct addr address;
    uint32_t services; /* that some socket offers it */
};
struct shutout {       /* rules, and whom they let in; what is pointed to is borrowed but for `guarded` */
    const struct plan *plan;
    const struct lists *lists;
    struct hooks *hooks; /* used by the calling thread alone */
    struct guarded *guarded;
    uint32_t n;
    bool full;           /* there are more */
};
/* Fill s->guarded, of s->lists and by s->hooks. false: out of memory. */
bool shutout_learn(struct shutout *s, struct err *e);
void shutout_forget(struct shutout *s); /* frees; legal on a zeroed one */
/* Would `next` (learned too) shut out somebody whom `old` lets in, or an administrator of `admin`? true: nobody; false: e names him, reason and line.
 * old->hooks are not asked. now_ms: monotonic. */
bool shutout_spares(struct shutout *next, const struct shutout *old, const struct admin *admin, unsigned nadmins, int64_t now_ms, struct err *e);

void shutout_self(struct addr out[GUARDED_OWN]);
void shutout_ago(int64_t ms, char out[32]); /* "40 s", "12 min" */
void shutout_member(const struct pset *cluster, const struct addr *a, char *out, size_t cap); /* the line that makes it one */
#endif
