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

void ticket_look(struct ticket *t, const struct counters *c, struct counters_live *live, uint16_t listener_id, const struct addr *remote,
                 unsigned bits, struct ticket_counts *out) {
    t->listener_id = listener_id;
    t->key = address_key(c, listener_id, remote, bits);
    out->active = atomic_load_explicit(&live->listener[listener_id], memory_order_relaxed) + 1;
    out->from_address = live_peek(live, t->key) + 1;
}

bool ticket_take_within(struct ticket *t, struct counters_live *live, uint32_t most, uint32_t most_from, struct ticket_counts *out) {
    t->held = live_take_within(live, t->listener_id, t->key, most, most_from, &out->active, &out->from_address);
    t->counted = t->held && out->from_address != UINT32_MAX;
    return t->held;
}

void ticket_give(struct ticket *t, struct counters_live *live) {
    if (!t->held) return;
    t->held = false;
    atomic_fetch_sub_explicit(&live->listener[t->listener_id], 1, memory_order_relaxed);
    if (t->counted) live_give(live, t->key);
}
