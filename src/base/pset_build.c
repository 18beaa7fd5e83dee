#include "base/pset_i.h"
#include <stdlib.h>
#include <string.h>

/* What was added, side by side: uint32_t keys for IPv4 and struct wide for IPv6; place = PSET_IN | place of the line. */
struct ranges {
    void *lo, *hi;
    uint32_t *who;
    size_t n, cap;
    bool v6;
};

struct source {
    uint8_t hash[32];
    char name[];
};

struct pset_builder {
    struct ranges r[2];
    struct source **source;
    size_t nsources;
    struct pset_run *run;
    size_t nruns, runs_cap;
    uint32_t *print;
    size_t prints_cap;
    uint32_t nlines;
    uint32_t line; /* of the last range that was added */
};

static void key_put(void *a, bool v6, size_t i, u128 k) {
    if (v6) ((struct wide *)a)[i] = (struct wide){.hi = (uint64_t)(k >> 64), .lo = (uint64_t)k};
    else ((uint32_t *)a)[i] = (uint32_t)k;
}

struct pset_builder *pset_builder_create(void) {
    struct pset_builder *b = calloc(1, sizeof *b);
    if (b) b->r[SIX].v6 = true;
    return b;
}

void pset_builder_destroy(struct pset_builder *b) {
    if (!b) return;
    for (size_t i = 0; i < b->nsources; i++) free(b->source[i]);
    free(b->source);
    for (int v6 = 0; v6 < 2; v6++) {
        free(b->r[v6].lo);
        free(b->r[v6].hi);
        free(b->r[v6].who);
    }
    free(b->run);
    free(b->print);
    free(b);
}

int pset_builder_source(struct pset_builder *b, const char *display_path, const uint8_t hash[32]) {
    for (size_t i = b->nsources; i-- > 0;)
        if (strcmp(b->source[i]->name, display_path) == 0) return (int)i;
    if (b->nsources >= PSET_SOURCES_MAX) return -1;
    struct source **more = realloc(b->source, (b->nsources + 1) * sizeof *more);
    if (!more) return -1;
    b->source = more;
    size_t n = strlen(display_path) + 1;
    struct source *s = calloc(1, sizeof *s + n);
    if (!s) return -1;
    memcpy(s->name, display_path, n);
    if (hash) memcpy(s->hash, hash, sizeof s->hash);
    b->source[b->nsources] = s;
    return (int)b->nsources++;
}

static bool grow(void *array, size_t *cap, size_t need, size_t size) {
    size_t more = *cap ? *cap : 64;
    while (more < need) more *= 2;
    if (more == *cap) return true;
    void **at = array, *p = realloc(*at, more * size);
    if (!p) return false;
    *at = p;
    *cap = more;
    return true;
}

static bool ranges_grow(struct ranges *r) {
    size_t cap = r->cap, same = cap, third = cap;
    if (r->n < r->cap) return true;
    if (r->n >= PSET_RANGES_MAX) return false;
    if (!grow(&r->lo, &cap, r->n + 1, key_size(r->v6)) || !grow(&r->hi, &same, r->n + 1, key_size(r->v6))) return false;
    if (!grow(&r->who, &third, r->n + 1, sizeof *r->who)) return false;
    r->cap = third;
    return true;
}

/* A line is found again by its place: lines that follow each other in a source share a run. Blank lines take up places too, which keeps the
 * runs few. */
static bool place_of(struct pset_builder *b, unsigned source, unsigned line, uint32_t *place) {
    const struct pset_run *last = b->nruns ? &b->run[b->nruns - 1] : NULL;
    bool goes_on = last && last->source == source && line >= b->line;
    uint64_t at = goes_on ? last->place + (uint64_t)(line - last->line) : b->nlines;
    if (line == 0 || line > PSET_LINES_MAX || at >= PSET_LINES_MAX) return false;
    if (!goes_on && !grow(&b->run, &b->runs_cap, b->nruns + 1, sizeof *b->run)) return false;
    if (!grow(&b->print, &b->prints_cap, at + 1, sizeof *b->print)) return false;
    if (!goes_on) b->run[b->nruns++] = (struct pset_run){.place = (uint32_t)at, .line = line, .source = source};
    while (b->nlines <= at) b->print[b->nlines++] = 0;
    b->line = line;
    *place = (uint32_t)at;
    return true;
}

/* splitmix64's last step: every bit of a line's meaning reaches every bit of its number. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint32_t print_of(uint32_t before, u128 lo, u128 hi, bool in, bool v6) {
    uint64_t x = mix(before ^ (uint64_t)lo ^ (uint64_t)in << 62 ^ (uint64_t)v6 << 61);
    x = mix(x ^ (uint64_t)(lo >> 64));
    x = mix(mix(x ^ (uint64_t)hi) ^ (uint64_t)(hi >> 64));
    return (uint32_t)x | 1;
}

bool pset_add(struct pset_builder *b, const struct addr *lo, const struct addr *hi, bool in, unsigned source, unsigned line) {
    if (lo->family != hi->family || (lo->family != 4 && lo->family != 6)) return false;
    struct ranges *r = &b->r[lo->family == 6];
    uint32_t place;
    if (!ranges_grow(r) || !place_of(b, source, line, &place)) return false;
    u128 from = key_of(lo), to = key_of(hi);
    key_put(r->lo, r->v6, r->n, from);
    key_put(r->hi, r->v6, r->n, to);
    r->who[r->n++] = place | (in ? PSET_IN : 0);
    b->print[place] = print_of(b->print[place], from, to, in, r->v6);
    return true;
}

/* ---- building: ranges in order become disjoint spans, each with the last line that covers it ---- */

/* Indices of the ranges by rising lo, by a byte-wise radix sort; tmp is as long as order. Bytes that are equal everywhere cost one look. */
static void sort_ranges(const struct ranges *s, uint32_t *order, uint32_t *tmp) {
    size_t sorted = 1;
    for (size_t i = 0; i < s->n; i++) order[i] = (uint32_t)i;
    while (sorted < s->n && key_get(s->lo, s->v6, sorted - 1) <= key_get(s->lo, s->v6, sorted)) sorted++;
    if (sorted >= s->n) return;
    uint32_t *from = order, *to = tmp;
    for (unsigned shift = 0; shift < key_size(s->v6) * 8; shift += 8) {
        size_t start[256] = {0}, at = 0;
        for (size_t i = 0; i < s->n; i++) start[(uint8_t)(key_get(s->lo, s->v6, i) >> shift)]++;
        if (start[(uint8_t)(key_get(s->lo, s->v6, 0) >> shift)] == s->n) continue;
        for (size_t v = 0; v < 256; v++) {
            size_t n = start[v];
            start[v] = at;
            at += n;
        }
        for (size_t i = 0; i < s->n; i++) to[start[(uint8_t)(key_get(s->lo, s->v6, from[i]) >> shift)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order) memcpy(order, from, s->n * sizeof *order);
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

/* Spans as they come; without an image they are only counted. The last one may still grow, so it is written when the next begins. */
struct out {
    char *image;
    struct pset_family f; /* n, nwide: so far; offsets: where to write */
    bool v6, open;
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

static void close_span(struct out *o) {
    if (!o->open) return;
    unsigned bits = bits_of(o->lo, o->hi, o->v6);
    if (o->image) {
        key_put(o->image + o->f.lo, o->v6, o->f.n, o->lo);
        ((uint32_t *)(void *)(o->image + o->f.who))[o->f.n] = o->who;
        ((uint8_t *)o->image + o->f.bits)[o->f.n] = (uint8_t)bits;
        if (bits == PSET_WIDE) {
            key_put(o->image + o->f.end, o->v6, o->f.nwide, o->hi);
            ((uint32_t *)(void *)(o->image + o->f.wide))[o->f.nwide] = o->f.n;
        }
    }
    o->f.n++;
    o->f.nwide += bits == PSET_WIDE;
    o->open = false;
}

static void emit(struct out *o, u128 lo, u128 hi, uint32_t who) {
    if (!o->open || o->who != who || o->hi + 1 != lo) {
        close_span(o);
        o->open = true;
        o->who = who;
        o->lo = lo;
    }
    o->hi = hi;
}

/* Walk the address line upwards. The heap holds the ranges that cover the place we are at; the latest of them speaks. */
static void sweep(const struct ranges *s, const uint32_t *order, uint32_t *heap, struct out *out) {
    const u128 top = s->v6 ? ~(u128)0 : UINT32_MAX;
    size_t i = 0, nheap = 0;
    u128 at = 0;
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
        emit(out, at, end, s->who[heap[0]]);
        if (end == top) break;
        at = end + 1;
    }
    close_span(out);
}

static void put_names(const struct pset_builder *b, struct pset *s) {
    char *base = (char *)s;
    struct pset_file *file = (struct pset_file *)(void *)(base + s->file);
    uint64_t at = s->names;
    for (size_t i = 0; i < b->nsources; i++) {
        size_t n = strlen(b->source[i]->name) + 1;
        memcpy(base + at, b->source[i]->name, n);
        file[i].name = at;
        memcpy(file[i].hash, b->source[i]->hash, sizeof file[i].hash);
        at += n;
    }
}

/* ---- lines that never decide ---- */

struct shadows {
    struct pset_shadow *list; /* NULL: only counted; PSET_SHADOWS of them at most */
    uint32_t n, all;
};

static struct addr addr_of(u128 key, bool v6) {
    struct addr a = {.family = v6 ? 6 : 4};
    for (int i = v6 ? 15 : 3; i >= 0; i--, key >>= 8) a.ip[i] = (uint8_t)key;
    return a;
}

static int by_place(const void *a, const void *b) {
    uint32_t x = ((const struct pset_shadow *)a)->place, y = ((const struct pset_shadow *)b)->place;
    return (x > y) - (x < y);
}

static bool has(const uint8_t *bits, uint32_t place) {
    return bits[place / 8] >> (place % 8) & 1;
}

/* s is finished but for its shadows. Places that are done are set in `bits`, which begins with those that decide. */
static void find_shadows(const struct pset_builder *b, const struct pset *s, uint8_t *bits, struct shadows *out) {
    for (int v6 = 0; v6 < 2; v6++) {
        const struct ranges *r = &b->r[v6];
        for (size_t i = 0; i < r->n; i++) {
            uint32_t place = r->who[i] & ~PSET_IN;
            if (has(bits, place)) continue;
            bits[place / 8] |= (uint8_t)(1u << (place % 8));
            struct addr first = addr_of(key_get(r->lo, r->v6, i), r->v6);
            struct pset_hit by = pset_find(s, &first), me = pset_at(s, place);
            if (by.source == me.source && by.line == me.line) continue;
            if (out->n < PSET_SHADOWS) out->list[out->n++] = (struct pset_shadow){.place = place, .by = by.place};
            out->all++;
        }
    }
    qsort(out->list, out->n, sizeof *out->list, by_place);
}

/* ---- the image ---- */

struct work {
    uint32_t *order[2], *heap;
    uint8_t *bits;
    struct shadows shadows;
};

static struct pset *image_create(const struct pset_builder *b, struct pset head) {
    memcpy(head.magic, PSET_MAGIC, sizeof head.magic);
    head.nfiles = (uint32_t)b->nsources;
    head.nlines = b->nlines;
    head.nruns = (uint32_t)b->nruns;
    pset_lay(&head);
    head.bytes = head.names;
    for (size_t i = 0; i < b->nsources; i++) head.bytes += strlen(b->source[i]->name) + 1;
    struct pset *s = malloc(head.bytes);
    if (s) *s = head;
    return s;
}

static void fill(const struct pset_builder *b, struct work *w, struct pset *s) {
    char *base = (char *)s;
    for (int v6 = 0; v6 < 2; v6++) {
        struct out out = {.image = base, .f = s->f[v6], .v6 = v6};
        out.f.n = out.f.nwide = 0;
        sweep(&b->r[v6], w->order[v6], w->heap, &out);
    }
    if (b->nruns) memcpy(base + s->run, b->run, b->nruns * sizeof *b->run);
    if (b->nlines) memcpy(base + s->print, b->print, b->nlines * sizeof *b->print);
    put_names(b, s);
}

/* Shadows are known when everything else is, and lie before other parts: the image is laid out anew where there are some. */
static struct pset *with_shadows(const struct pset_builder *b, struct work *w, struct pset *s) {
    pset_deciding(s, w->bits);
    find_shadows(b, s, w->bits, &w->shadows);
    if (w->shadows.n == 0) return s;
    struct pset head = *s;
    head.nshadows = w->shadows.n;
    head.all_shadows = w->shadows.all;
    struct pset *whole = image_create(b, head);
    if (whole) fill(b, w, whole);
    if (whole) memcpy((char *)whole + whole->shadow, w->shadows.list, w->shadows.n * sizeof *w->shadows.list);
    free(s);
    return whole;
}

struct pset *pset_build(const struct pset_builder *b) {
    size_t n4 = b->r[FOUR].n + 1, n6 = b->r[SIX].n + 1, places = (size_t)b->nlines / 8 + 1;
    size_t shadows = b->nlines < PSET_SHADOWS ? b->nlines : PSET_SHADOWS;
    struct work w = {.order = {malloc(n4 * sizeof(uint32_t)), malloc(n6 * sizeof(uint32_t))},
                     .heap = malloc((n4 > n6 ? n4 : n6) * sizeof(uint32_t)),
                     .bits = calloc(places, 1),
                     .shadows = {.list = calloc(shadows + 1, sizeof *w.shadows.list)}};
    struct pset *s = NULL;
    if (w.order[FOUR] && w.order[SIX] && w.heap && w.bits && w.shadows.list) {
        struct pset head = {0};
        for (int v6 = 0; v6 < 2; v6++) {
            struct out out = {.v6 = v6};
            sort_ranges(&b->r[v6], w.order[v6], w.heap);
            sweep(&b->r[v6], w.order[v6], w.heap, &out);
            head.f[v6].n = out.f.n;
            head.f[v6].nwide = out.f.nwide;
        }
        s = image_create(b, head);
        if (s) fill(b, &w, s);
        if (s) s = with_shadows(b, &w, s);
    }
    free(w.shadows.list);
    free(w.bits);
    free(w.heap);
    free(w.order[SIX]);
    free(w.order[FOUR]);
    return s;
}

void pset_destroy(struct pset *s) {
    free(s);
}
