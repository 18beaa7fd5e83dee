#include "gate/ticket.h"
#include "gate/hash.h"

static uint64_t address_key(const struct counters *c, uint16_t listener_id, const struct addr *a, unsigned bits) {
    uint64_t w[3] = {((uint64_t)listener_id << 8) | a->family, 0, 0};
    hash_prefix(a, bits, &w[1]);
    return hash_words(c->hash_key, w, 3);
}

void ticket_take(struct ticket *t, struct counters *c, struct counters_live *live, uint16_t listener_id, const struct addr *remote,
                 unsigned bits, struct ticket_counts *out) {
    t->listener_id = listener_id;
    t->key = address_key(c, listener_id, remote, bits);
    t->held = true;
    out->active = atomic_fetch_add_explicit(&live->listener[listener_id], 1, memory_order_relaxed) + 1;
    uint32_t n = live_take(live, t->key);
    t->counted = n != 0;
    out->from_address = n ? n : UINT32_MAX;
}

void ticket_give(struct ticket *t, struct counters_live *live) {
    if (!t->held) return;
    t->held = false;
    atomic_fetch_sub_explicit(&live->listener[t->listener_id], 1, memory_order_relaxed);
    if (t->counted) live_give(live, t->key);
}
