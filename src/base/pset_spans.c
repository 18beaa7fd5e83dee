#include "base/pset_i.h"
#include <stdlib.h>
#include <string.h>

bool pset_grow(void *array, size_t *cap, size_t need, size_t size) {
    size_t more = *cap ? *cap : 64;
    while (more < need) more *= 2;
    if (more == *cap) return true;
    void **at = array, *p = realloc(*at, more * size);
    if (!p) return false;
    *at = p;
    *cap = more;
    return true;
}

/* One half of a key and whose it is: what a pass of the sort reads lies side by side. */
struct item {
    uint64_t key;
    uint32_t at;
};

/* Byte-wise radix sort that keeps equals in their order; bytes that are equal everywhere cost one look. Returns where the result lies: a or b. */
static struct item *sort_items(struct item *a, struct item *b, size_t n) {
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t start[256] = {0}, at = 0;
        for (size_t i = 0; i < n; i++) start[(uint8_t)(a[i].key >> shift)]++;
        if (start[(uint8_t)(a[0].key >> shift)] == n) continue;
        for (size_t v = 0; v < 256; v++) {
            size_t count = start[v];
            start[v] = at;
            at += count;
        }
        for (size_t i = 0; i < n; i++) b[start[(uint8_t)(a[i].key >> shift)]++] = a[i];
        struct item *swap = a;
        a = b;
        b = swap;
    }
    return a;
}

#define FEW 32u /* so many are sorted by putting each in its place */
static struct item *sort_few(struct item *a, struct item *b, size_t n) {
    if (n > FEW) return sort_items(a, b, n);
    for (size_t i = 1; i < n; i++) {
        struct item one = a[i];
        size_t k = i;
        for (; k > 0 && a[k - 1].key > one.key; k--) a[k] = a[k - 1];
        a[k] = one;
    }
    return a;
}

/* Indices of the ranges by rising lo. IPv6: by the upper half first, then those that share it by the lower. false: out of memory. */
static bool sort_ranges(const struct ranges *s, uint32_t *order) {
    size_t sorted = 1, n = s->n;
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    while (sorted < n && key_get(s->lo, s->v6, sorted - 1) <= key_get(s->lo, s->v6, sorted)) sorted++;
    if (sorted >= n) return true;
    struct item *room = reallocarray(NULL, 2 * n, sizeof *room);
    if (!room) return false;
    for (size_t i = 0; i < n; i++)
        room[i] = (struct item){.key = s->v6 ? ((struct wide *)s->lo)[i].hi : ((uint32_t *)s->lo)[i], .at = (uint32_t)i};
    struct item *by = sort_items(room, room + n, n), *spare = by == room ? room + n : room;
    for (size_t i = 0, end; s->v6 && i < n; i = end) {
        for (end = i + 1; end < n && by[end].key == by[i].key;) end++;
        if (end - i == 1) continue;
        for (size_t k = i; k < end; k++) by[k].key = ((struct wide *)s->lo)[by[k].at].lo;
        struct item *run = sort_few(by + i, spare + i, end - i);
        if (run != by + i) memcpy(by + i, run, (end - i) * sizeof *run);
    }
    for (size_t i = 0; i < n; i++) order[i] = by[i].at;
    free(room);
    return true;
}

static void heap_push(uint32_t *h, size_t n, uint32_t v) {
    while (n > 0 && h[(n - 1) / 2] < v) {
        h[n] = h[(n - 1) / 2];
        n = (n - 1) / 2;
    }
    h[n] = v;
}

/* Take the greatest away; n = count before. */
static void heap_pop(uint32_t *h, size_t n) {
    uint32_t v = h[--n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && h[child + 1] > h[child]) child++;
        if (h[child] <= v) break;
        h[i] = h[child];
    }
    h[i] = v;
}

/* The span that may still grow: it is written when the next begins. */
struct open_span {
    bool open;
    uint32_t who;
    u128 lo, hi;
};

/* A span's length as a prefix, or PSET_WIDE. */
static unsigned bits_of(u128 lo, u128 hi, bool v6) {
    u128 host = hi - lo;
    if ((host & (host + 1)) != 0 || (lo & host) != 0) return PSET_WIDE;
    unsigned bits = v6 ? 128 : 32;
    for (; host; host >>= 1) bits--;
    return bits;
}

static bool room_for_one(struct spans *s, bool v6, bool wide) {
    size_t cap = s->cap, same = cap, third = cap, ends = s->wide_cap, same_ends = ends;
    if (s->n == cap) {
        if (!pset_grow(&s->lo, &cap, s->n + 1, key_size(v6)) || !pset_grow(&s->who, &same, s->n + 1, sizeof *s->who)) return false;
        if (!pset_grow(&s->bits, &third, s->n + 1, sizeof *s->bits)) return false;
        s->cap = third;
    }
    if (wide && s->nwide == ends) {
        if (!pset_grow(&s->end, &ends, s->nwide + 1, key_size(v6))) return false;
        if (!pset_grow(&s->wide, &same_ends, s->nwide + 1, sizeof *s->wide)) return false;
        s->wide_cap = same_ends;
    }
    return true;
}

static bool close_span(struct spans *s, struct open_span *o, bool v6) {
    if (!o->open) return true;
    unsigned bits = bits_of(o->lo, o->hi, v6);
    if (!room_for_one(s, v6, bits == PSET_WIDE)) return false;
    key_put(s->lo, v6, s->n, o->lo);
    s->who[s->n] = o->who;
    s->bits[s->n] = (uint8_t)bits;
    if (bits == PSET_WIDE) {
        key_put(s->end, v6, s->nwide, o->hi);
        s->wide[s->nwide++] = (uint32_t)s->n;
    }
    s->n++;
    o->open = false;
    return true;
}

static bool emit(struct spans *s, struct open_span *o, bool v6, u128 lo, u128 hi, uint32_t who) {
    if (!o->open || o->who != who || o->hi + 1 != lo) {
        if (!close_span(s, o, v6)) return false;
        *o = (struct open_span){.open = true, .who = who, .lo = lo};
    }
    o->hi = hi;
    return true;
}

/* Walk the address line upwards. The heap holds the ranges that cover the place we are at; the latest of them speaks. */
static bool sweep(const struct ranges *s, const uint32_t *order, uint32_t *heap, struct spans *out) {
    const u128 top = s->v6 ? ~(u128)0 : UINT32_MAX;
    size_t i = 0, nheap = 0;
    u128 at = 0;
    struct open_span o = {0};
    for (;;) {
        if (nheap == 0) {
            if (i == s->n) break;
            at = key_get(s->lo, s->v6, order[i]);
        }
        while (i < s->n && key_get(s->lo, s->v6, order[i]) <= at) heap_push(heap, nheap++, order[i++]);
        while (nheap > 0 && key_get(s->hi, s->v6, heap[0]) < at) heap_pop(heap, nheap--);
        if (nheap == 0) continue;
        u128 end = key_get(s->hi, s->v6, heap[0]);
        if (i < s->n && key_get(s->lo, s->v6, order[i]) <= end) end = key_get(s->lo, s->v6, order[i]) - 1;
        if (!emit(out, &o, s->v6, at, end, s->who[heap[0]])) return false;
        if (end == top) break;
        at = end + 1;
    }
    return close_span(out, &o, s->v6);
}

bool spans_make(struct spans *out, const struct ranges *r) {
    *out = (struct spans){0};
    if (!r->n) return true;
    uint32_t *order = reallocarray(NULL, r->n, sizeof *order), *heap = reallocarray(NULL, r->n, sizeof *heap);
    bool good = order && heap && sort_ranges(r, order) && sweep(r, order, heap, out);
    free(heap);
    free(order);
    return good;
}

void spans_free(struct spans *s) {
    free(s->lo);
    free(s->end);
    free(s->who);
    free(s->wide);
    free(s->bits);
}
