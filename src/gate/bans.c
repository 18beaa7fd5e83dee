#include "gate/bans.h"
#include "base/clock.h"
#include <string.h>

static bool holds(const struct ban_slot *s, int64_t now_ms) {
    return atomic_load_explicit(&s->id, memory_order_relaxed) != 0 && now_ms < s->ban.expires_ms;
}

static bool same_range(const struct ban *b, const struct addr *lo, const struct addr *hi) {
    return addr_same_ip(&b->lo, lo) && addr_same_ip(&b->hi, hi);
}

/* Engines share the table, so its bound is the word of another program. */
static uint32_t top_of(struct bans *t) {
    uint32_t top = atomic_load(&t->top);
    return top < BANS_MAX ? top : BANS_MAX;
}

static struct ban_slot *find_slot(struct bans *t, const struct addr *lo, const struct addr *hi, int64_t now_ms) {
    uint32_t top = top_of(t);
    for (uint32_t i = 0; i < top; i++)
        if (holds(&t->slot[i], now_ms) && same_range(&t->slot[i].ban, lo, hi)) return &t->slot[i];
    return NULL;
}

static struct ban_slot *free_slot(struct bans *t, int64_t now_ms) {
    uint32_t top = top_of(t);
    for (uint32_t i = 0; i < top; i++)
        if (!holds(&t->slot[i], now_ms)) return &t->slot[i];
    if (top == BANS_MAX) return NULL;
    atomic_store(&t->top, top + 1);
    return &t->slot[top];
}

enum bans_done bans_add(struct bans *t, struct holder_id id, struct ban *b, int64_t now_ms) {
    hold_take(&t->lock, id);
    struct ban_slot *old = find_slot(t, &b->lo, &b->hi, now_ms), *to = old ? old : free_slot(t, now_ms);
    if (to) {
        b->id = ++t->ids;
        b->made_ms = clock_real_ms();
        atomic_store(&to->id, 0); /* whoever is killed in the middle leaves a free slot */
        if (!old) atomic_store(&to->hits, 0);
        to->ban = *b;
        atomic_store(&to->id, b->id);
        atomic_fetch_add(&t->version, 1);
    }
    hold_give(&t->lock);
    return !to ? BANS_FULL : old ? BANS_CHANGED : BANS_ADDED;
}

bool bans_remove(struct bans *t, struct holder_id id, const struct addr *lo, const struct addr *hi, int64_t now_ms, struct ban *was) {
    hold_take(&t->lock, id);
    struct ban_slot *s = find_slot(t, lo, hi, now_ms);
    if (s) {
        *was = s->ban;
        atomic_store(&s->id, 0);
        atomic_fetch_add(&t->version, 1);
    }
    hold_give(&t->lock);
    return s != NULL;
}

uint32_t bans_copy(struct bans *t, struct holder_id id, int64_t now_ms, struct ban_copy *out, uint32_t cap, uint64_t *version) {
    uint32_t n = 0;
    hold_take(&t->lock, id);
    *version = atomic_load(&t->version);
    uint32_t top = top_of(t);
    for (uint32_t i = 0; i < top; i++) {
        if (!holds(&t->slot[i], now_ms)) continue;
        if (n < cap) out[n] = (struct ban_copy){.ban = t->slot[i].ban, .slot = i};
        n++;
    }
    hold_give(&t->lock);
    return n;
}
