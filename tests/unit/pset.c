/* Prefix sets against the plain reading of rule L2: go through the lines from the last to the first, the first that holds the address
 * decides. */
#include "base/pset.h"
#include "base/clock.h"
#include "unit/tap.h"
#include <stdlib.h>

#define LINES_MAX 400
#define ROUNDS    60
#define QUERIES   4000

struct line {
    struct addr lo, hi;
    bool in;
    unsigned source;
};
static struct line lines[LINES_MAX];
static uint64_t seed = 20261121;

static uint32_t rnd(uint32_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 3; i >= 0; i--, v >>= 8) p[i] = (uint8_t)v;
}

/* Few bits vary, so that ranges meet, nest and touch; now and then the ends of the space. */
static struct addr any(uint8_t family, uint32_t space) {
    struct addr a = {.family = family};
    uint32_t v = rnd(space);
    if (family == 4) {
        put32(a.ip, rnd(2) ? v : UINT32_MAX - v);
        return a;
    }
    if (rnd(2)) memset(a.ip, 0xff, 16);
    put32(a.ip + (rnd(2) ? 12 : 6), rnd(2) ? v : UINT32_MAX - v);
    return a;
}

static struct line any_line(uint8_t family, uint32_t space) {
    struct line l = {.lo = any(family, space), .in = rnd(3) != 0, .source = rnd(3)};
    l.hi = rnd(3) ? any(family, space) : l.lo;
    if (memcmp(l.lo.ip, l.hi.ip, 16) > 0) {
        struct addr swap = l.lo;
        l.lo = l.hi;
        l.hi = swap;
    }
    return l;
}

static struct pset_hit naive(unsigned n, const struct addr *a) {
    for (unsigned i = n; i-- > 0;) {
        const struct line *l = &lines[i];
        if (l->lo.family == a->family && memcmp(l->lo.ip, a->ip, 16) <= 0 && memcmp(a->ip, l->hi.ip, 16) <= 0)
            return (struct pset_hit){.in = l->in, .source = (uint16_t)l->source, .line = i + 1};
    }
    return (struct pset_hit){0};
}

/* A random address, or one at, just below or just above an end of a line. */
static struct addr question(unsigned n, uint32_t space) {
    struct addr a = any(rnd(2) ? 4 : 6, space);
    if (n == 0 || rnd(2)) return a;
    const struct line *l = &lines[rnd(n)];
    a = rnd(2) ? l->lo : l->hi;
    uint32_t step = rnd(3);
    for (int i = a.family == 4 ? 3 : 15; step && i >= 0; i--) {
        a.ip[i] = (uint8_t)(step == 1 ? a.ip[i] + 1 : a.ip[i] - 1);
        if (a.ip[i] != (step == 1 ? 0 : 255)) break;
    }
    return a;
}

struct walk {
    const struct pset *s;
    uint32_t at; /* of lo, all addresses before it are done */
    uint32_t n;  /* lines */
    unsigned wrong, edges;
    bool v6;
};

static struct addr low(bool v6, uint32_t v) {
    struct addr a = {.family = v6 ? 6 : 4};
    put32(a.ip + (v6 ? 12 : 0), v);
    return a;
}

/* Up to the edge nothing changes, at the edge something does. */
static bool at_edge(void *ctx, const struct addr *edge) {
    struct walk *w = ctx;
    for (;; w->at++) {
        struct addr a = low(w->v6, w->at), b = low(w->v6, w->at + 1);
        bool changes = naive(w->n, &b).line != naive(w->n, &a).line, here = memcmp(b.ip, edge->ip, 16) == 0;
        if (changes != here) w->wrong++;
        if (here) break;
        if (changes || w->at > 500) return false;
    }
    w->at++;
    w->edges++;
    return true;
}

static unsigned edges_of(const struct pset *s, unsigned n, uint32_t space, unsigned *edges) {
    unsigned wrong = 0;
    for (int k = 0; k < 64 && space <= 300; k++) {
        uint32_t lo = rnd(space), hi = lo + rnd(space);
        struct walk w = {s, lo, n, 0, 0, k & 1};
        struct addr a = low(w.v6, lo), b = low(w.v6, hi);
        pset_edges(s, &a, &b, at_edge, &w);
        for (; w.at < hi; w.at++) {
            a = low(w.v6, w.at), b = low(w.v6, w.at + 1);
            if (naive(n, &a).line != naive(n, &b).line) w.wrong++;
        }
        wrong += w.wrong + (w.at > hi);
        *edges += w.edges;
    }
    return wrong;
}

static unsigned round_of(unsigned n, uint32_t space, unsigned long *asked, unsigned *edges) {
    static const char *const names[] = {"conf/lists/a.list", "b", "c"};
    struct pset_builder *b = pset_builder_create();
    unsigned wrong = 0;
    for (int i = 0; i < 3; i++) pset_builder_source(b, names[i], NULL);
    for (unsigned i = 0; i < n; i++) {
        lines[i] = any_line(rnd(2) ? 4 : 6, space);
        pset_add(b, &lines[i].lo, &lines[i].hi, lines[i].in, lines[i].source, i + 1);
    }
    struct pset *made = pset_build(b);
    struct pset *s = malloc(pset_bytes(made)); /* elsewhere: position independent */
    memcpy(s, made, pset_bytes(made));
    memset(made, 0xee, pset_bytes(made));
    pset_destroy(made);
    pset_builder_destroy(b);
    if (pset_spans(s) > 4 * (size_t)n) wrong++;
    for (unsigned q = 0; q < QUERIES; q++) {
        struct addr a = question(n, space);
        struct pset_hit want = naive(n, &a), got = pset_find(s, &a);
        (*asked)++;
        if (got.line != want.line || got.in != want.in || (want.line && strcmp(pset_source(s, got.source), names[want.source]) != 0))
            wrong++;
    }
    wrong += edges_of(s, n, space, edges);
    free(s);
    return wrong;
}

static void check_against_naive(void) {
    static const uint32_t space[] = {8, 40, 300, 100000, 0x7fffffff};
    unsigned wrong = 0, edges = 0;
    unsigned long asked = 0;
    for (unsigned r = 0; r < ROUNDS; r++) wrong += round_of(r == 0 ? 0 : 1 + rnd(LINES_MAX - 1), space[r % 5], &asked, &edges);
    ok(wrong == 0 && asked >= 200000 && edges > 1000,
       "L1 L2: %lu questions and %u edges as line by line from the last to the first, %u wrong", asked, edges, wrong);
}

static void check_edges(void) {
    struct pset_builder *b = pset_builder_create();
    struct addr zero = {.family = 4}, top = {.family = 4, .ip = {255, 255, 255, 255}}, zero6 = {.family = 6}, top6 = {.family = 6},
                none = {0};
    memset(top6.ip, 255, 16);
    struct pset *s = pset_build(b);
    ok(s && pset_spans(s) == 0 && pset_find(s, &zero).line == 0 && pset_find(s, &zero6).line == 0, "an empty set knows nobody");
    ok(strcmp(pset_source(s, 0), "") == 0, "and no file");
    pset_destroy(s);
    ok(pset_builder_source(b, "x.list", NULL) == 0 && pset_builder_source(b, "y.list", NULL) == 1 &&
           pset_builder_source(b, "x.list", NULL) == 0,
       "one index a file");
    ok(!pset_add(b, &zero, &top6, true, 0, 1) && !pset_add(b, &none, &none, true, 0, 1), "mixed families are refused");
    pset_add(b, &zero, &top, true, 0, 7);
    pset_add(b, &zero6, &top6, false, 1, 9);
    pset_add(b, &top, &top, false, 1, 3);
    s = pset_build(b);
    ok(pset_find(s, &zero).in && pset_find(s, &zero).line == 7, "all of IPv4, lower end");
    ok(!pset_find(s, &top).in && pset_find(s, &top).line == 3, "upper end taken out by a later line");
    ok(!pset_find(s, &top6).in && pset_find(s, &top6).line == 9 && pset_find(s, &zero6).line == 9, "all of IPv6, both ends");
    ok(pset_find(s, &none).line == 0, "no address is in no set");
    ok(pset_spans(s) == 3, "three spans");
    pset_destroy(s);
    s = pset_build(b);
    ok(s && pset_spans(s) == 3, "the builder stays usable");
    pset_destroy(s);
    pset_destroy(NULL);
    pset_builder_destroy(b);
    pset_builder_destroy(NULL);
}

/* Nested n deep, widest last and widest first: the heap's worst cases. */
static void check_nested(void) {
    for (int widest_last = 0; widest_last < 2; widest_last++) {
        struct pset_builder *b = pset_builder_create();
        unsigned n = 50000;
        for (unsigned i = 0; i < n; i++) {
            struct addr lo = {.family = 4}, hi = {.family = 4};
            unsigned k = widest_last ? n - 1 - i : i;
            put32(lo.ip, k);
            put32(hi.ip, 200000 - k);
            pset_add(b, &lo, &hi, i % 2, 0, i + 1);
        }
        struct pset *s = pset_build(b);
        struct addr mid = {.family = 4};
        put32(mid.ip, 100000);
        ok(pset_spans(s) == (widest_last ? 1 : 2 * n - 1) && pset_find(s, &mid).line == n, "%u nested ranges", n);
        pset_destroy(s);
        pset_builder_destroy(b);
    }
}

static void check_size(void) {
    struct pset_builder *b = pset_builder_create();
    unsigned n = 1000000;
    pset_builder_source(b, "big.list", NULL);
    for (unsigned i = 0; i < n; i++) {
        struct addr a = {.family = 4};
        put32(a.ip, i * 2654435761u);
        pset_add(b, &a, &a, true, 0, i + 1);
    }
    int64_t start = clock_mono_ms();
    struct pset *s = pset_build(b);
    int64_t took = clock_mono_ms() - start;
    unsigned wrong = 0;
    for (unsigned i = 0; i < n; i++) {
        struct addr a = {.family = 4};
        put32(a.ip, i * 2654435761u);
        if (pset_find(s, &a).line != i + 1) wrong++;
    }
    printf("# built in %lld ms, %zu bytes\n", (long long)took, pset_bytes(s));
    ok(wrong == 0, "L6: of 1,000,000 lines each is named");
    ok(pset_bytes(s) <= 16 * (size_t)n + 4096, "L6: at most 16 bytes a span");
    pset_destroy(s);
    pset_builder_destroy(b);
}

/* IPv6 is put in order by its upper half first: a third of these share all of it, a third in threes, a third not at all. */
static struct addr scattered(uint32_t i) {
    struct addr a = {.family = 6, .ip = {0x20, 0x01, 0x0d, 0xb8}};
    uint32_t mixed = i * 2654435761u;
    put32(a.ip + 4, i % 3 == 0 ? 7 : i % 3 == 1 ? 1000 + (i / 3 % 7001) : 100000 + mixed / 4);
    put32(a.ip + 12, mixed);
    return a;
}

static void check_halves(void) {
    struct pset_builder *b = pset_builder_create();
    unsigned n = 63000, wrong = 0;
    pset_builder_source(b, "six.list", NULL);
    for (unsigned i = 0; i < n; i++) {
        struct addr a = scattered(i);
        pset_add(b, &a, &a, true, 0, i + 1);
    }
    struct pset *s = pset_build(b);
    for (unsigned i = 0; i < n; i++) {
        struct addr a = scattered(i);
        wrong += pset_find(s, &a).line != i + 1;
        a.ip[11] ^= 1;
        wrong += pset_find(s, &a).line != 0;
    }
    ok(pset_spans(s) == n && wrong == 0,
       "L6: IPv6 addresses that share their upper half, many, few and none: each is named, their neighbours are not");
    pset_destroy(s);
    pset_builder_destroy(b);
}

int main(void) {
    check_edges();
    check_against_naive();
    check_nested();
    check_halves();
    check_size();
    return tap_end();
}
