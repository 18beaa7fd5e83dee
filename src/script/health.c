#include "script/health.h"
#include "base/clock.h"

bool health_error(struct policy_health *h, uint32_t limit) {
    atomic_fetch_add_explicit(&h->errors_total, 1, memory_order_relaxed);
    int64_t now = clock_mono_ms(), began = atomic_load_explicit(&h->minute_ms, memory_order_relaxed);
    if (now - began >= HEALTH_MINUTE_MS && atomic_compare_exchange_strong(&h->minute_ms, &began, now)) atomic_store(&h->errors, 0);
    uint32_t n = atomic_fetch_add(&h->errors, 1) + 1;
    if (limit == 0 || n < limit || atomic_exchange(&h->suspended, true)) return false;
    atomic_store(&h->suspended_ms, clock_real_ms());
    return true;
}
