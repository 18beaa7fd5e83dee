#include "base/pset.h"
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define PSET_LINES_MAX   (1u << 26) /* a family; also keeps every span count within 32 bits */
#define PSET_SOURCES_MAX 65535u

struct meta { /* what a line says, 8 bytes */
    uint32_t line;
    uint16_t source;
    uint8_t in;
    uint8_t pad;
};
struct wide {
    uint64_t hi, lo;
};

/* Keys of one family side by side: uint32_t for IPv4 and struct wide for IPv6. A span costs 16 and 40 bytes. */
struct spans {
    void *lo, *hi;
    struct meta *meta;
    size_t n, cap;
    bool v6;
};

struct pset_builder {
    struct spans v4, v6;
    char **source;
    size_t nsources;
};

/* The image: this head, then for IPv6 and for IPv4 the arrays lo, hi, meta, then nsources offsets of names, then the names. Offsets, never
 * pointers, so that it may lie anywhere. */
struct pset {
    uint64_t bytes;
    uint64_t at6, at4, at_source;
    uint32_t n6, n4, nsources;
    uint32_t pad;
};

static size_t key_size(bool v6) {
    return v6 ? sizeof(struct wide) : sizeof(uint32_t);
}

static u128 key_get(const void *a, bool v6, size_t i) {
    if (!v6) return ((const uint32_t *)a)[i];
    const struct wide *w = (const struct wide *)a + i;
    return (u128)w->hi << 64 | w->lo;
}

static void key_put(void *a, bool v6, size_t i, u128 k) {
    if (v6)
        ((struct wide *)a)[i] = (struct wide){.hi = (uint64_t)(k >> 64), .lo = (uint64_t)k};
    else
        ((uint32_t *)a)[i] = (uint32_t)k;
}

static u128 key_of(const struct addr *a) {
    u128 k = 0;
    for (int i = 0; i < (a->family == 4 ? 4 : 16); i++) k = k << 8 | a->ip[i];
    return k;
}

struct pset_builder *pset_builder_create(void) {
    struct pset_builder *b = calloc(1, sizeof *b);
    if (b) b->v6.v6 = true;
    return b;
}

static void spans_finish(struct spans *s) {
    free(s->lo);
    free(s->hi);
    free(s->meta);
}

void pset_builder_destroy(struct pset_builder *b) {
    if (!b) return;
    for (size_t i = 0; i < b->nsources; i++) free(b->source[i]);
    free(b->source);
    spans_finish(&b->v4);
    spans_finish(&b->v6);
    free(b);
}

int pset_builder_source(struct pset_builder *b, const char *display_path) {
    for (size_t i = b->nsources; i-- > 0;)
        if (strcmp(b->source[i], display_path) == 0) return (int)i;
    if (b->nsources >= PSET_SOURCES_MAX) return -1;
    char **more = realloc(b->source, (b->nsources + 1) * sizeof *more);
    if (!more) return -1;
    b->source = more;
    char *name = strdup(display_path);
    if (!name) return -1;
    b->source[b->nsources] = name;
    return (int)b->nsources++;
}

static bool grow_array(void **a, size_t n, size_t size) {
    void *more = realloc(*a, n * size);
    if (more) *a = more;
    return more != NULL;
}

static bool spans_grow(struct spans *s) {
    size_t cap = s->cap ? s->cap * 2 : 64;
    void *meta = s->meta;
    if (s->n >= PSET_LINES_MAX) return false;
    if (!grow_array(&s->lo, cap, key_size(s->v6)) || !grow_array(&s->hi, cap, key_size(s->v6))) return false;
    if (!grow_array(&meta, cap, sizeof *s->meta)) return false;
    s->meta = meta;
    s->cap = cap;
    return true;
}

bool pset_add(struct pset_builder *b, const struct addr *lo, const struct addr *hi, bool in, unsigned source, unsigned line) {
    if (lo->family != hi->family || (lo->family != 4 && lo->family != 6)) return false;
    struct spans *s = lo->family == 4 ? &b->v4 : &b->v6;
    if (s->n == s->cap && !spans_grow(s)) return false;
    key_put(s->lo, s->v6, s->n, key_of(lo));
    key_put(s->hi, s->v6, s->n, key_of(hi));
    s->meta[s->n++] = (struct meta){.line = line, .source = (uint16_t)source, .in = in};
    return true;
}

/* ---- building: lines in order become disjoint spans, each with the last line that covers it ---- */

/* Indices of the lines by rising lo, by a byte-wise radix sort; tmp is as long as order. Bytes that are equal everywhere cost one look. */
static void sort_lines(const struct spans *s, uint32_t *order, uint32_t *tmp) {
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

/* Append lo..hi as line `who` says; continues the last span where it is the same line's. Only counts while out->lo is NULL. */
static void emit(struct spans *out, uint32_t *last, u128 *last_hi, u128 lo, u128 hi, uint32_t who, const struct spans *in) {
    bool joins = out->n > 0 && *last == who && *last_hi + 1 == lo;
    if (!joins) out->n++;
    *last = who;
    *last_hi = hi;
    if (!out->lo) return;
    if (!joins) {
        key_put(out->lo, in->v6, out->n - 1, lo);
        out->meta[out->n - 1] = in->meta[who];
    }
    key_put(out->hi, in->v6, out->n - 1, hi);
}

/* Walk the address line upwards. The heap holds the lines that cover the place we are at; the latest of them speaks. */
static void sweep(const struct spans *s, const uint32_t *order, uint32_t *heap, struct spans *out) {
    const u128 top = s->v6 ? ~(u128)0 : UINT32_MAX;
    size_t i = 0, nheap = 0;
    uint32_t last = 0;
    u128 at = 0, last_hi = 0;
    for (;;) {
        if (nheap == 0) {
            if (i == s->n) return;
            at = key_get(s->lo, s->v6, order[i]);
        }
        while (i < s->n && key_get(s->lo, s->v6, order[i]) <= at) heap_push(heap, nheap++, order[i++]);
        while (nheap > 0 && key_get(s->hi, s->v6, heap[0]) < at) heap_pop(heap, nheap--);
        if (nheap == 0) continue;
        u128 end = key_get(s->hi, s->v6, heap[0]);
        if (i < s->n && key_get(s->lo, s->v6, order[i]) <= end) end = key_get(s->lo, s->v6, order[i]) - 1;
        emit(out, &last, &last_hi, at, end, heap[0], s);
        if (end == top) return;
        at = end + 1;
    }
}

static void place(struct spans *out, char *base, size_t n, bool v6) {
    out->lo = base;
    out->hi = base + n * key_size(v6);
    out->meta = (struct meta *)(void *)(base + 2 * n * key_size(v6));
    out->n = 0;
}

static size_t spans_bytes(size_t n, bool v6) {
    return n * (2 * key_size(v6) + sizeof(struct meta));
}

static void put_sources(const struct pset_builder *b, struct pset *s) {
    char *base = (char *)s;
    uint64_t *offset = (uint64_t *)(void *)(base + s->at_source);
    size_t at = s->at_source + b->nsources * sizeof *offset;
    for (size_t i = 0; i < b->nsources; i++) {
        size_t n = strlen(b->source[i]) + 1;
        memcpy(base + at, b->source[i], n);
        offset[i] = at;
        at += n;
    }
}

static struct pset *image_create(const struct pset_builder *b, size_t n6, size_t n4) {
    struct pset head = {.n6 = (uint32_t)n6, .n4 = (uint32_t)n4, .nsources = (uint32_t)b->nsources};
    head.at6 = sizeof head;
    head.at4 = head.at6 + spans_bytes(n6, true);
    head.at_source = head.at4 + spans_bytes(n4, false);
    head.bytes = head.at_source + b->nsources * sizeof(uint64_t);
    for (size_t i = 0; i < b->nsources; i++) head.bytes += strlen(b->source[i]) + 1;
    struct pset *s = malloc(head.bytes);
    if (s) *s = head;
    return s;
}

struct pset *pset_build(const struct pset_builder *b) {
    size_t most = (b->v4.n > b->v6.n ? b->v4.n : b->v6.n) + 1;
    uint32_t *o4 = malloc((b->v4.n + 1) * sizeof *o4), *o6 = malloc((b->v6.n + 1) * sizeof *o6);
    uint32_t *heap = malloc(most * sizeof *heap);
    struct spans out4 = {0}, out6 = {0};
    struct pset *s = NULL;
    if (o4 && o6 && heap) {
        sort_lines(&b->v4, o4, heap);
        sort_lines(&b->v6, o6, heap);
        sweep(&b->v4, o4, heap, &out4);
        sweep(&b->v6, o6, heap, &out6);
        s = image_create(b, out6.n, out4.n);
    }
    if (s) {
        place(&out6, (char *)s + s->at6, s->n6, true);
        place(&out4, (char *)s + s->at4, s->n4, false);
        sweep(&b->v6, o6, heap, &out6);
        sweep(&b->v4, o4, heap, &out4);
        put_sources(b, s);
    }
    free(heap);
    free(o6);
    free(o4);
    return s;
}

void pset_destroy(struct pset *s) {
    free(s);
}

/* ---- looking up ---- */

/* Index behind the last span whose lo is at most key. The loop has no branch that depends on the data. */
static size_t behind4(const uint32_t *lo, size_t n, uint32_t key) {
    const uint32_t *p = lo;
    while (n > 1) {
        size_t half = n / 2;
        p += p[half] <= key ? half : 0;
        n -= half;
    }
    return (size_t)(p - lo) + (n == 1 && *p <= key);
}

static size_t behind6(const struct wide *lo, size_t n, u128 key) {
    size_t from = 0;
    while (from < n) {
        size_t mid = from + (n - from) / 2;
        if (key_get(lo, true, mid) <= key)
            from = mid + 1;
        else
            n = mid;
    }
    return from;
}

struct pset_hit pset_find(const struct pset *s, const struct addr *a) {
    bool v6 = a->family == 6;
    size_t n = v6 ? s->n6 : s->n4;
    if (n == 0 || (a->family != 4 && !v6)) return (struct pset_hit){0};
    const char *lo = (const char *)s + (v6 ? s->at6 : s->at4), *hi = lo + n * key_size(v6);
    u128 key = key_of(a);
    size_t i = v6 ? behind6((const void *)lo, n, key) : behind4((const void *)lo, n, (uint32_t)key);
    if (i == 0 || key_get(hi, v6, i - 1) < key) return (struct pset_hit){0};
    const struct meta *m = (const struct meta *)(const void *)(hi + n * key_size(v6)) + i - 1;
    return (struct pset_hit){.in = m->in, .source = m->source, .line = m->line};
}

static struct addr addr_of(u128 key, bool v6) {
    struct addr a = {.family = v6 ? 6 : 4};
    for (int i = v6 ? 15 : 3; i >= 0; i--, key >>= 8) a.ip[i] = (uint8_t)key;
    return a;
}

static bool each_of(const struct pset *s, bool v6, bool (*each)(void *ctx, const struct addr *lo, const struct addr *hi), void *ctx) {
    size_t n = v6 ? s->n6 : s->n4;
    const char *lo = (const char *)s + (v6 ? s->at6 : s->at4), *hi = lo + n * key_size(v6);
    const struct meta *m = (const struct meta *)(const void *)(hi + n * key_size(v6));
    for (size_t i = 0, last; i < n; i = last + 1) {
        last = i;
        if (!m[i].in) continue;
        while (last + 1 < n && m[last + 1].in && key_get(lo, v6, last + 1) == key_get(hi, v6, last) + 1) last++;
        struct addr a = addr_of(key_get(lo, v6, i), v6), b = addr_of(key_get(hi, v6, last), v6);
        if (!each(ctx, &a, &b)) return false;
    }
    return true;
}

void pset_each(const struct pset *s, bool (*each)(void *ctx, const struct addr *lo, const struct addr *hi), void *ctx) {
    if (each_of(s, false, each, ctx)) each_of(s, true, each, ctx);
}

const char *pset_source(const struct pset *s, unsigned source) {
    const uint64_t *offset = (const uint64_t *)(const void *)((const char *)s + s->at_source);
    return source < s->nsources ? (const char *)s + offset[source] : "";
}

size_t pset_bytes(const struct pset *s) {
    return s->bytes;
}

size_t pset_spans(const struct pset *s) {
    return (size_t)s->n6 + s->n4;
}
