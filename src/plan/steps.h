/* How the sockets of one plan become those of another: every step in order, with its reason, computed before the kernel is asked.
 * The supervisor carries out exactly this list; `portreeve plan` can show it. Plain data, no I/O.
 *
 *   before the offer    keep, open, join    new sockets take no callers yet: a change that fails has hurt nobody
 *   before the commit   listen              from here on callers may queue in new sockets
 *                       commit              the workers take up the new plan, each at a turn of its loop
 *   after it            deafen, close       old sockets take no new callers, finish what is queued, and close */
#ifndef PORTREEVE_PLAN_STEPS_H
#define PORTREEVE_PLAN_STEPS_H
#include "plan/plan.h"

enum step_kind {
    STEP_KEEP,   /* both plans have this address and port: the sockets stay as they are */
    STEP_OPEN,   /* bind alone: nobody may have any of it, and nobody will come to share it */
    STEP_JOIN,   /* bind beside a living socket of ours that overlaps (wildcard and specific), which the kernel allows with SO_REUSEPORT */
    STEP_LISTEN, /* take callers */
    STEP_COMMIT,
    STEP_DEAFEN, /* take no new callers, but keep those in the queue and in a handshake */
    STEP_CLOSE   /* once these have been accepted */
};

struct step {
    enum step_kind kind;
    int32_t now, old; /* index in the new and the old plan; -1 = none. JOIN: old is one that it stands beside */
    const char *why;  /* a literal */
};

struct steps {
    struct step *step;
    uint32_t n;
};

/* old NULL: a start. old_port: the ports really bound, one per socket of old, 0 = this one is not open. Sockets of `now` that wait for
 * their address have no step. False: out of memory. */
bool steps_make(const struct plan *old, const uint16_t *old_port, const struct plan *now, struct steps *out);
void steps_finish(struct steps *s);
const char *step_name(enum step_kind kind);
/* "join 192.0.2.1:80 (http): beside 0.0.0.0:80, which serves until the commit" */
bool step_text(const struct step *s, const struct plan *old, const uint16_t *old_port, const struct plan *now, struct buf *out);
/* A numbered line for each. */
bool steps_text(const struct steps *s, const struct plan *old, const uint16_t *old_port, const struct plan *now, struct buf *out);
#endif
