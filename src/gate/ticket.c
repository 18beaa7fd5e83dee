#include "gate/ticket.h"
#include <string.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIPROUND                                                                                                                           \
    do {                                                                                                                                   \
        v0 += v1, v1 = ROTL(v1, 13), v1 ^= v0, v0 = ROTL(v0, 32);                                                                          \
        v2 += v3, v3 = ROTL(v3, 16), v3 ^= v2;                                                                                             \
        v0 += v3, v3 = ROTL(v3, 21), v3 ^= v0;                                                                                             \
        v2 += v1, v1 = ROTL(v1, 17), v1 ^= v2, v2 = ROTL(v2, 32);                                                                          \
    } while (0)

/* SipHash-1-3 over three words: strangers choose the addresses, so the table's key is secret and random per run. */
static uint64_t hash3(const uint64_t key[2], const uint64_t w[3]) {
    uint64_t v0 = 0x736f6d6570736575ull ^ key[0], v1 = 0x646f72616e646f6dull ^ key[1];
    uint64_t v2 = 0x6c7967656e657261ull ^ key[0], v3 = 0x7465646279746573ull ^ key[1];
    for (int i = 0; i < 3; i++) {
        v3 ^= w[i];
        SIPROUND;
        v0 ^= w[i];
    }
    v3 ^= 24ull << 56;
    SIPROUND;
    v0 ^= 24ull << 56;
    v2 ^= 0xff;
    SIPROUND;
    SIPROUND;
    SIPROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

static uint64_t address_key(const struct counters *c, uint16_t listener_id, const struct addr *a) {
    uint64_t w[3] = {((uint64_t)listener_id << 8) | a->family, 0, 0};
    memcpy(&w[1], a->ip, 8); /* IPv6: the /64; IPv4: all of it, the rest is zero */
    uint64_t key = hash3(c->hash_key, w);
    return key ? key : 1;
}

void ticket_take(struct ticket *t, struct counters *c, struct counters_live *live, uint16_t listener_id, const struct addr *remote,
                 struct ticket_counts *out) {
    t->listener_id = listener_id;
    t->key = address_key(c, listener_id, remote);
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
