#include "gate/lists.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct list_hits {
    _Atomic int refs;
    size_t n;
    _Atomic uint32_t *count; /* mapped, so that what is never counted takes no memory */
    _Atomic uint32_t lines;  /* that have a count, for a quick look at whether there is anything to carry */
};

static size_t bytes_of(size_t n) {
    return (n ? n : 1) * sizeof(_Atomic uint32_t);
}

static struct list_hits *hits_create(size_t n) {
    struct list_hits *h = calloc(1, sizeof *h);
    if (!h) return NULL;
    h->refs = 1;
    h->n = n;
    void *p = mmap(NULL, bytes_of(n), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) {
        h->count = p;
        return h;
    }
    free(h);
    return NULL;
}

static void hits_unref(struct list_hits *h) {
    if (!h || atomic_fetch_sub(&h->refs, 1) != 1) return;
    munmap((void *)h->count, bytes_of(h->n));
    free(h);
}

static void add_hits(struct list_hits *h, uint32_t place, uint32_t n) {
    uint32_t had = atomic_load_explicit(&h->count[place], memory_order_relaxed);
    if (had == 0) atomic_fetch_add_explicit(&h->lines, 1, memory_order_relaxed);
    if (had < UINT32_MAX - n && had < UINT32_MAX - 65536) /* far enough from the end for every thread that has looked meanwhile */
        atomic_fetch_add_explicit(&h->count[place], n, memory_order_relaxed);
    else atomic_store_explicit(&h->count[place], UINT32_MAX, memory_order_relaxed);
}

bool lists_add(struct lists *l, const char *name, const struct pset *set, struct err *e) {
    if (l->n == LISTS_MAX) return err_set(e, "%s: more than %u address lists", name, LISTS_MAX);
    struct named_list *more = realloc(l->list, (l->n + 1) * sizeof *more);
    if (!more) return err_set(e, "address list \"%s\": out of memory", name);
    l->list = more;
    more += l->n;
    *more = (struct named_list){.set = set, .hits = hits_create(pset_lines(set))};
    if (!more->hits) return err_set(e, "address list \"%s\": out of memory", name);
    if ((size_t)snprintf(more->name, sizeof more->name, "%s", name) >= sizeof more->name) {
        hits_unref(more->hits);
        return err_set(e, "%s: the name of an address list has at most %d bytes", name, LIST_NAME - 1);
    }
    l->n++;
    return true;
}

void lists_finish(struct lists *l) {
    for (unsigned i = 0; i < l->n; i++) hits_unref(l->list[i].hits);
    free(l->list);
    *l = (struct lists){0};
}

/* ---- from one generation to the next ---- */

static bool same_set(const struct pset *a, const struct pset *b) {
    return pset_bytes(a) == pset_bytes(b) && memcmp(a, b, pset_bytes(a)) == 0;
}

/* Lines that have counts, by what they say: open addressing, at most half full. */
struct counted {
    struct line {
        uint32_t print, place, hits;
    } * line;
    size_t mask;
};

static bool collect(struct counted *c, const struct named_list *old) {
    size_t room = 16;
    while (room < 2 * (size_t)atomic_load(&old->hits->lines)) room *= 2;
    room *= 2; /* more may be counted while we look */
    c->mask = room - 1;
    if (!(c->line = calloc(room, sizeof *c->line))) return false;
    for (uint32_t i = 0, kept = 0; i < old->hits->n && kept < room / 2; i++) {
        uint32_t hits = atomic_load_explicit(&old->hits->count[i], memory_order_relaxed), print = pset_print(old->set, i);
        if (hits == 0 || print == 0) continue;
        size_t at = print & c->mask;
        while (c->line[at].hits) at = (at + 1) & c->mask;
        c->line[at] = (struct line){.print = print, .place = i, .hits = hits};
        kept++;
    }
    return true;
}

static void carry_line(struct counted *c, const struct named_list *now, uint32_t place, const struct named_list *old) {
    uint32_t print = pset_print(now->set, place);
    if (print == 0) return;
    for (size_t at = print & c->mask; c->line[at].hits; at = (at + 1) & c->mask) {
        if (c->line[at].print != print) continue;
        struct pset_hit a = pset_at(now->set, place), b = pset_at(old->set, c->line[at].place);
        if (strcmp(pset_source(now->set, a.source), pset_source(old->set, b.source)) != 0) continue;
        add_hits(now->hits, place, c->line[at].hits);
        c->line[at].print = 0; /* once only, should the line stand there twice now; no line's print is 0 */
        return;
    }
}

/* Where a line stands twice the last one decides, so the lines are gone through backwards. */
static void carry(struct named_list *now, const struct named_list *old) {
    struct counted c;
    if (atomic_load(&old->hits->lines) == 0 || !collect(&c, old)) return;
    for (uint32_t i = (uint32_t)now->hits->n; i-- > 0;) carry_line(&c, now, i, old);
    free(c.line);
}

void lists_carry(struct lists *l, const struct lists *before) {
    for (unsigned i = 0; i < l->n; i++) {
        const struct named_list *old = lists_named(before, l->list[i].name);
        if (!old) continue;
        if (same_set(l->list[i].set, old->set)) {
            hits_unref(l->list[i].hits);
            atomic_fetch_add(&old->hits->refs, 1);
            l->list[i].hits = old->hits;
        } else carry(&l->list[i], old);
    }
}

/* ---- asking ---- */

const struct named_list *lists_named(const struct lists *l, const char *name) {
    for (unsigned i = 0; i < l->n; i++)
        if (strcmp(l->list[i].name, name) == 0) return &l->list[i];
    return NULL;
}

const struct pset *lists_find(const struct lists *l, const char *name) {
    const struct named_list *n = lists_named(l, name);
    return n ? n->set : NULL;
}

void lists_count(const struct lists *l, const struct pset *set, struct pset_hit hit) {
    for (unsigned i = 0; i < l->n; i++) {
        if (l->list[i].set != set) continue;
        add_hits(l->list[i].hits, hit.place, 1);
        return;
    }
}

uint32_t list_hits(const struct named_list *l, uint32_t place) {
    return place < l->hits->n ? atomic_load_explicit(&l->hits->count[place], memory_order_relaxed) : 0;
}

size_t lists_where(const struct pset *s, struct pset_hit hit, char *out, size_t cap) {
    char tail[12]; /* by hand: every refused caller pays for it, and printf costs more than all lookups together */
    size_t at = sizeof tail;
    uint32_t line = hit.line;
    if (line == 0 || cap == 0) return 0;
    for (; line; line /= 10) tail[--at] = (char)('0' + line % 10);
    tail[--at] = ':';
    const char *file = pset_source(s, hit.source);
    size_t n = strnlen(file, cap - 1), k = sizeof tail - at < cap - 1 - n ? sizeof tail - at : cap - 1 - n;
    memcpy(out, file, n);
    memcpy(out + n, tail + at, k);
    out[n + k] = '\0';
    return n + k;
}
