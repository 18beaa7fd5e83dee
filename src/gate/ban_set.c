/* The set that workers ask, and the words about a ban. */
#include "gate/bans.h"
#include "plan/alist.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct ban_set {
    _Atomic int refs;
    uint64_t version;
    struct bans *table; /* NULL: it has gone */
    struct pset *set;   /* the line that decides is the place in `ban`, plus one */
    uint32_t n;
    struct ban_copy *ban; /* in the order of their end */
};

static int by_end(const void *a, const void *b) {
    const struct ban *x = &((const struct ban_copy *)a)->ban, *y = &((const struct ban_copy *)b)->ban;
    if (x->expires_ms != y->expires_ms) return x->expires_ms < y->expires_ms ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool gather(struct ban_set *s, struct holder_id id, int64_t now_ms) {
    for (uint32_t room = atomic_load(&s->table->top) + 1;; room = s->n) { /* others may add while we make room */
        struct ban_copy *more = reallocarray(s->ban, room, sizeof *more);
        if (!more) return false;
        s->ban = more;
        s->n = bans_copy(s->table, id, now_ms, s->ban, room, &s->version);
        if (s->n <= room) break;
    }
    qsort(s->ban, s->n, sizeof *s->ban, by_end);
    return true;
}

/* A later line decides (L2), so the last to end comes last. */
static bool build(struct ban_set *s) {
    struct pset_builder *b = pset_builder_create();
    bool good = b && pset_builder_source(b, "bans", NULL) == 0;
    for (uint32_t i = 0; good && i < s->n; i++) good = pset_add(b, &s->ban[i].ban.lo, &s->ban[i].ban.hi, true, 0, i + 1);
    s->set = good ? pset_build(b) : NULL;
    pset_builder_destroy(b);
    return s->set != NULL;
}

struct ban_set *ban_set_create(struct bans *t, struct holder_id id, int64_t now_ms) {
    struct ban_set *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    atomic_store(&s->refs, 1);
    s->table = t;
    if (gather(s, id, now_ms) && build(s)) return s;
    ban_set_unref(s);
    return NULL;
}

void ban_set_alone(struct ban_set *s) {
    s->table = NULL;
}

struct ban_set *ban_set_ref(struct ban_set *s) {
    if (s) atomic_fetch_add(&s->refs, 1);
    return s;
}

void ban_set_unref(struct ban_set *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1) return;
    pset_destroy(s->set);
    free(s->ban);
    free(s);
}

bool ban_set_stale(const struct ban_set *s) {
    return s && s->table && atomic_load_explicit(&s->table->version, memory_order_acquire) != s->version;
}

uint32_t ban_set_count(const struct ban_set *s) {
    return s ? s->n : 0;
}

const struct ban *ban_set_at(const struct ban_set *s, uint32_t i) {
    return &s->ban[i].ban;
}

const struct ban *ban_set_find(const struct ban_set *s, const struct addr *a, int64_t now_ms) {
    if (!s || s->n == 0) return NULL;
    struct pset_hit hit = pset_find(s->set, a);
    if (!hit.in) return NULL;
    const struct ban *b = &s->ban[hit.line - 1].ban;
    return now_ms < b->expires_ms ? b : NULL;
}

static struct ban_slot *slot_of(const struct ban_set *s, const struct ban *b) {
    if (!s->table) return NULL;
    const struct ban_copy *c = (const struct ban_copy *)(const void *)b; /* its first member */
    return &s->table->slot[c->slot];
}

void ban_set_hit(const struct ban_set *s, const struct ban *b) {
    struct ban_slot *slot = slot_of(s, b);
    if (slot && atomic_load_explicit(&slot->id, memory_order_relaxed) == b->id)
        atomic_fetch_add_explicit(&slot->hits, 1, memory_order_relaxed);
}

uint64_t ban_set_hits(const struct ban_set *s, const struct ban *b) {
    struct ban_slot *slot = slot_of(s, b);
    return slot && atomic_load(&slot->id) == b->id ? atomic_load(&slot->hits) : 0;
}

/* ---- words ---- */

struct range {
    struct addr *lo, *hi;
};

static bool take_range(void *ctx, const struct addr *lo, const struct addr *hi) {
    struct range *r = ctx;
    *r->lo = *lo;
    *r->hi = *hi;
    return false;
}

bool bans_parse(const char *text, size_t n, struct addr *lo, struct addr *hi, struct err *e) {
    static const char wanted[] = "an address, a prefix like 203.0.113.0/24 or a range like 10.0.0.5-10.0.0.9 is wanted";
    struct range r = {lo, hi};
    lo->family = 0;
    for (size_t i = 0; i < n; i++)
        if (strchr("!#;,\n\r", text[i])) return err_set(e, wanted);
    struct pset *set = alist_inline(text, n, "address", 1, NULL, e);
    if (!set) return false;
    pset_each(set, take_range, &r);
    pset_destroy(set);
    return lo->family || err_set(e, wanted);
}

/* Bits of the prefix that lo..hi is, or -1. */
static int prefix_bits(const struct addr *lo, const struct addr *hi) {
    int most = lo->family == 4 ? 32 : 128, bits = 0;
    while (bits < most && ((lo->ip[bits / 8] ^ hi->ip[bits / 8]) >> (7 - bits % 8) & 1) == 0) bits++;
    for (int i = bits; i < most; i++) {
        int shift = 7 - i % 8;
        if ((lo->ip[i / 8] >> shift & 1) != 0 || (hi->ip[i / 8] >> shift & 1) != 1) return -1;
    }
    return bits;
}

void bans_range_text(const struct addr *lo, const struct addr *hi, char out[BANS_RANGE]) {
    char a[ADDR_TEXT], b[ADDR_TEXT];
    int bits = prefix_bits(lo, hi);
    addr_format_ip(lo, a);
    addr_format_ip(hi, b);
    if (addr_same_ip(lo, hi)) snprintf(out, BANS_RANGE, "%.46s", a);
    else if (bits > 0) snprintf(out, BANS_RANGE, "%.46s/%d", a, bits);
    else snprintf(out, BANS_RANGE, "%.46s-%.46s", a, b);
}

size_t bans_because(const struct ban *b, char *out, size_t cap) {
    char range[BANS_RANGE], until[40] = "for ever";
    time_t t = (time_t)(b->until_ms / 1000);
    struct tm tm;
    bans_range_text(&b->lo, &b->hi, range);
    if (b->until_ms && gmtime_r(&t, &tm)) strftime(until, sizeof until, "until %Y-%m-%d %H:%M:%SZ", &tm);
    int n = snprintf(out, cap, "ban %s %s by %.99s%s%.99s", range, until, b->who, b->reason[0] ? ": " : "", b->reason);
    return n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}
