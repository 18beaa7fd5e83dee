/* Who has used the hub lately, by address: what guards ask before somebody shuts himself out. In the supervisor's memory, so that a new engine knows
 * it too. Bounded: where it is full, the address longest not seen goes. */
#ifndef PORTREEVE_GATE_ADMINS_H
#define PORTREEVE_GATE_ADMINS_H
#include "base/addr.h"
#include "gate/hold.h"

#define ADMINS_MAX       256u
#define ADMINS_LATELY_MS 3600000

struct admin {
    struct addr address;
    int64_t last_ms; /* monotonic; 0 = free */
};
struct admins {
    struct hold lock;
    struct admin slot[ADMINS_MAX];
};
void admins_seen(struct admins *t, struct holder_id id, const struct addr *a, int64_t now_ms);
/* Those of the last hour; returns how many (at most ADMINS_MAX). */
unsigned admins_lately(struct admins *t, struct holder_id id, int64_t now_ms, struct admin out[ADMINS_MAX]);
unsigned admins_list(const struct admins *t, int64_t now_ms, struct admin out[ADMINS_MAX]); /* the same of a copy that nobody writes to */
#endif
