#include "gate/hold.h"
#include <sched.h>

#define SPINS 200 /* about the time a holder needs; after that it is probably not running */

static bool lives(const struct hold_roll *r, uint32_t number) {
    return atomic_load(&r->living[0]) == number || atomic_load(&r->living[1]) == number;
}

void hold_take(struct hold *h, struct holder_id id) {
    for (unsigned spins = 1;; spins++) {
        uint32_t by = 0;
        if (atomic_compare_exchange_weak_explicit(&h->by, &by, id.me, memory_order_acquire, memory_order_relaxed)) return;
        if (by == 0 || spins % SPINS != 0) continue;
        if (!lives(id.roll, by) && atomic_compare_exchange_strong(&h->by, &by, id.me)) return;
        sched_yield();
    }
}

void hold_give(struct hold *h) {
    atomic_store_explicit(&h->by, 0, memory_order_release);
}

uint32_t hold_begins(struct hold_roll *r, unsigned instance) {
    uint32_t number = atomic_fetch_add(&r->numbered, 1) + 1;
    atomic_store(&r->living[instance & 1], number);
    return number;
}

void hold_ended(struct hold_roll *r, unsigned instance) {
    atomic_store(&r->living[instance & 1], 0);
}
