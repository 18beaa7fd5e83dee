#include "base/pset_i.h"

static uint64_t take(uint64_t *at, uint64_t n, size_t size) {
    uint64_t here = *at;
    *at = here + n * size;
    return here;
}

/* By falling alignment, so that nothing needs padding. */
void pset_lay(struct pset *h) {
    uint64_t at = sizeof *h;
    h->f[SIX].lo = take(&at, h->f[SIX].n, sizeof(struct wide));
    h->f[SIX].end = take(&at, h->f[SIX].nwide, sizeof(struct wide));
    h->file = take(&at, h->nfiles, sizeof(struct pset_file));
    h->f[FOUR].lo = take(&at, h->f[FOUR].n, sizeof(uint32_t));
    h->f[FOUR].end = take(&at, h->f[FOUR].nwide, sizeof(uint32_t));
    for (int v6 = 0; v6 < 2; v6++) {
        h->f[v6].who = take(&at, h->f[v6].n, sizeof(uint32_t));
        h->f[v6].wide = take(&at, h->f[v6].nwide, sizeof(uint32_t));
    }
    h->shadow = take(&at, h->nshadows, sizeof(struct pset_shadow));
    h->run = take(&at, h->nruns, sizeof(struct pset_run));
    h->print = take(&at, h->nlines, sizeof(uint32_t));
    for (int v6 = 0; v6 < 2; v6++) h->f[v6].bits = take(&at, h->f[v6].n, 1);
    h->names = at;
}

static const void *in(const struct pset *s, uint64_t offset) {
    return (const char *)s + offset;
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
    const struct wide *p = lo;
    while (n > 1) {
        size_t half = n / 2;
        p += key_get(p, true, half) <= key ? half : 0;
        n -= half;
    }
    return (size_t)(p - lo) + (n == 1 && key_get(p, true, 0) <= key);
}

u128 pset_end(const struct pset *s, bool v6, size_t i) {
    const struct pset_family *f = &s->f[v6];
    unsigned bits = ((const uint8_t *)in(s, f->bits))[i];
    if (bits != PSET_WIDE) return key_get(in(s, f->lo), v6, i) | pset_host(v6, bits);
    size_t at = behind4(in(s, f->wide), f->nwide, (uint32_t)i);
    return key_get(in(s, f->end), v6, at - 1);
}

struct pset_hit pset_at(const struct pset *s, uint32_t place) {
    const struct pset_run *r = in(s, s->run);
    size_t from = 0, n = s->nruns;
    while (n > 1) {
        size_t half = n / 2;
        from += r[from + half].place <= place ? half : 0;
        n -= half;
    }
    return (struct pset_hit){.source = (uint16_t)r[from].source, .line = r[from].line + (place - r[from].place), .place = place};
}

struct pset_hit pset_find(const struct pset *s, const struct addr *a) {
    bool v6 = a->family == 6;
    const struct pset_family *f = &s->f[v6];
    if (f->n == 0 || (a->family != 4 && !v6)) return (struct pset_hit){0};
    u128 key = key_of(a);
    size_t i = v6 ? behind6(in(s, f->lo), f->n, key) : behind4(in(s, f->lo), f->n, (uint32_t)key);
    if (i == 0 || pset_end(s, v6, i - 1) < key) return (struct pset_hit){0};
    uint32_t who = ((const uint32_t *)in(s, f->who))[i - 1];
    struct pset_hit hit = pset_at(s, who & ~PSET_IN);
    hit.in = who & PSET_IN;
    return hit;
}

static struct addr addr_of(u128 key, bool v6) {
    struct addr a = {.family = v6 ? 6 : 4};
    for (int i = v6 ? 15 : 3; i >= 0; i--, key >>= 8) a.ip[i] = (uint8_t)key;
    return a;
}

static bool each_of(const struct pset *s, bool v6, bool (*each)(void *ctx, const struct addr *lo, const struct addr *hi), void *ctx) {
    const struct pset_family *f = &s->f[v6];
    const void *lo = in(s, f->lo);
    const uint32_t *who = in(s, f->who);
    for (size_t i = 0, last; i < f->n; i = last + 1) {
        last = i;
        if (!(who[i] & PSET_IN)) continue;
        while (last + 1 < f->n && who[last + 1] & PSET_IN && key_get(lo, v6, last + 1) == pset_end(s, v6, last) + 1) last++;
        struct addr a = addr_of(key_get(lo, v6, i), v6), b = addr_of(pset_end(s, v6, last), v6);
        if (!each(ctx, &a, &b)) return false;
    }
    return true;
}

void pset_each(const struct pset *s, bool (*each)(void *ctx, const struct addr *lo, const struct addr *hi), void *ctx) {
    if (each_of(s, false, each, ctx)) each_of(s, true, each, ctx);
}

void pset_edges(const struct pset *s, const struct addr *lo, const struct addr *hi, bool (*each)(void *ctx, const struct addr *edge),
                void *ctx) {
    bool v6 = lo->family == 6;
    const struct pset_family *f = &s->f[v6];
    u128 from = key_of(lo), to = key_of(hi), last = from;
    size_t i = f->n == 0 ? 0 : v6 ? behind6(in(s, f->lo), f->n, from) : behind4(in(s, f->lo), f->n, (uint32_t)from);
    for (i -= i > 0; i < f->n && last < to; i++) {
        u128 begins = key_get(in(s, f->lo), v6, i), ends = pset_end(s, v6, i);
        if (begins > to) return;
        for (int k = 0; k < 2; k++) {
            if (k && ends == to) return;
            u128 edge = k ? ends + 1 : begins;
            if (edge <= last || edge > to) continue;
            last = edge;
            struct addr a = addr_of(edge, v6);
            if (!each(ctx, &a)) return;
        }
    }
}

/* ---- what it is made of ---- */

const char *pset_source(const struct pset *s, unsigned source) {
    const struct pset_file *f = in(s, s->file);
    return source < s->nfiles ? in(s, f[source].name) : "";
}

const uint8_t *pset_source_hash(const struct pset *s, unsigned source) {
    const struct pset_file *f = in(s, s->file);
    return f[source].hash;
}

size_t pset_sources(const struct pset *s) {
    return s->nfiles;
}

size_t pset_bytes(const struct pset *s) {
    return s->bytes;
}

size_t pset_spans(const struct pset *s) {
    return (size_t)s->f[FOUR].n + s->f[SIX].n;
}

size_t pset_lines(const struct pset *s) {
    return s->nlines;
}

uint32_t pset_print(const struct pset *s, uint32_t place) {
    return place < s->nlines ? ((const uint32_t *)in(s, s->print))[place] : 0;
}

void pset_deciding(const struct pset *s, uint8_t *bits) {
    for (int v6 = 0; v6 < 2; v6++) {
        const uint32_t *who = in(s, s->f[v6].who);
        for (uint32_t i = 0; i < s->f[v6].n; i++) bits[(who[i] & ~PSET_IN) / 8] |= (uint8_t)(1u << (who[i] % 8));
    }
}

const struct pset_shadow *pset_shadows(const struct pset *s, size_t *n, size_t *all) {
    *n = s->nshadows;
    *all = s->all_shadows;
    return in(s, s->shadow);
}
