/* Guards: a ban or a reload that would shut out the machine itself (127.0.0.1, ::1), a recent administrator of the hub or a member of
 * lists/cluster.list is refused unless it is forced; the words name who would be shut out, and by which line. A reload is asked about the
 * services one administers, watches or joins by (GUARDED_SERVICES): to keep this machine out of the tracker or a tunnel is nobody's accident. */
#ifndef PORTREEVE_ENGINE_GUARDS_H
#define PORTREEVE_ENGINE_GUARDS_H
#include "engine/generation.h"

/* Whom a ban of lo..hi would shut out. true: nobody of these. Any thread. */
bool guards_ban(struct engine *eng, const struct addr *lo, const struct addr *hi, struct err *e);

#define GUARDED_SERVICES ((uint32_t)(SVC_HUB | SVC_OPS | SVC_INTERNAL | SVC_TRANSFER))
#define GUARDED_MOST 1024u /* addresses that a generation knows by heart; where the cluster and the lists about it make more, the first ones, and a warning */
struct guarded {
    struct addr address;
    uint32_t services; /* that some socket offered it when its generation was prepared */
};
/* Control: g has been prepared and its hooks belong to no worker yet. Fills g->guarded; with `old`, whom g would shut out that old let in is refused.
 * Lists decide alike from one of their edges to the next, so a range of the cluster is asked about at its first address and at every edge that some list
 * has inside it. Judged as if each were alone, and without bans: those have a guard of their own. */
bool guards_reload(struct engine *eng, struct generation *g, const struct generation *old, struct err *e);
#endif
