/* How a generation's admission policy is doing at run time. Its workers share one: errors are counted over a minute, and where there are too many
 * the Lua rules are suspended for the built-in ones until the next reload. */
#ifndef PORTREEVE_SCRIPT_HEALTH_H
#define PORTREEVE_SCRIPT_HEALTH_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HEALTH_MINUTE_MS 60000

struct policy_health {
    _Atomic int64_t minute_ms; /* monotonic: when the minute began in which errors are counted */
    _Atomic uint32_t errors;   /* in it */
    _Atomic uint64_t errors_total;
    _Atomic bool suspended;
    _Atomic int64_t suspended_ms; /* unix; 0 = never */
};
/* Count an error. true: with this one the limit (0 = none) is reached and the Lua rules are suspended. */
bool health_error(struct policy_health *h, uint32_t limit);
static inline bool health_suspended(const struct policy_health *h) {
    return atomic_load_explicit(&h->suspended, memory_order_relaxed);
}
#endif
