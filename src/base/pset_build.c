#include "base/pset_i.h"
#include <stdlib.h>
#include <string.h>

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

static bool ranges_grow(struct ranges *r) {
    size_t cap = r->cap, same = cap, third = cap;
    if (r->n < r->cap) return true;
    if (r->n >= PSET_RANGES_MAX) return false;
    if (!pset_grow(&r->lo, &cap, r->n + 1, key_size(r->v6)) || !pset_grow(&r->hi, &same, r->n + 1, key_size(r->v6))) return false;
    if (!pset_grow(&r->who, &third, r->n + 1, sizeof *r->who)) return false;
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
    if (!goes_on && !pset_grow(&b->run, &b->runs_cap, b->nruns + 1, sizeof *b->run)) return false;
    if (!pset_grow(&b->print, &b->prints_cap, at + 1, sizeof *b->print)) return false;
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
    struct spans spans[2];
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

static void fill(const struct pset_builder *b, const struct work *w, struct pset *s) {
    char *base = (char *)s;
    for (int v6 = 0; v6 < 2; v6++) {
        const struct spans *from = &w->spans[v6];
        const struct pset_family *f = &s->f[v6];
        if (!from->n) continue;
        memcpy(base + f->lo, from->lo, from->n * key_size(v6));
        memcpy(base + f->who, from->who, from->n * sizeof *from->who);
        memcpy(base + f->bits, from->bits, from->n);
        if (!from->nwide) continue;
        memcpy(base + f->end, from->end, from->nwide * key_size(v6));
        memcpy(base + f->wide, from->wide, from->nwide * sizeof *from->wide);
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
    size_t places = (size_t)b->nlines / 8 + 1, shadows = b->nlines < PSET_SHADOWS ? b->nlines : PSET_SHADOWS;
    struct work w = {.bits = calloc(places, 1), .shadows = {.list = calloc(shadows + 1, sizeof *w.shadows.list)}};
    struct pset *s = NULL, head = {0};
    if (w.bits && w.shadows.list && spans_make(&w.spans[FOUR], &b->r[FOUR]) && spans_make(&w.spans[SIX], &b->r[SIX])) {
        for (int v6 = 0; v6 < 2; v6++) {
            head.f[v6].n = (uint32_t)w.spans[v6].n;
            head.f[v6].nwide = (uint32_t)w.spans[v6].nwide;
        }
        s = image_create(b, head);
        if (s) fill(b, &w, s);
        if (s) s = with_shadows(b, &w, s);
    }
    spans_free(&w.spans[SIX]);
    spans_free(&w.spans[FOUR]);
    free(w.shadows.list);
    free(w.bits);
    return s;
}

void pset_destroy(struct pset *s) {
    free(s);
}
