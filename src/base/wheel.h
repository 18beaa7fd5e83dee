/* Deadlines of many connections: a hashed timer wheel, one per loop, not thread-safe. Moving a deadline later costs nothing
 * (the node is looked at again when its old slot comes round); moving it earlier relinks it. Resolution WHEEL_TICK_MS. */
#ifndef PORTREEVE_BASE_WHEEL_H
#define PORTREEVE_BASE_WHEEL_H
#include <stdint.h>

#define WHEEL_SLOTS   512u
#define WHEEL_TICK_MS 100

struct wheel_node {
    struct wheel_node *prev, *next; /* NULL = not in the wheel */
    int64_t due, slot_at;           /* monotonic ms */
};
struct wheel {
    int64_t tick; /* last tick that was run */
    struct wheel_node slot[WHEEL_SLOTS];
};
void wheel_init(struct wheel *w, int64_t now_ms);
void wheel_set(struct wheel *w, struct wheel_node *n, int64_t due_ms);
void wheel_clear(struct wheel_node *n); /* idempotent; n must be zeroed before first use */
/* Call fire for every node due by now; fire may set, clear or free its own node. */
void wheel_run(struct wheel *w, int64_t now_ms, void (*fire)(struct wheel_node *n, void *ctx), void *ctx);
#endif
