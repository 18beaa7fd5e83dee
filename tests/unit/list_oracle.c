/* Address lists against an oracle (G11, G12, G13, L1, L2, L4, L5): random lists with ranges, networks, exclusions and includes, written as text, read
 * as the planner reads them, moved in memory as the engine gets them, and asked. The oracle knows the items only as numbers, reads no text, and goes
 * through them from the last to the first. Also damaged images: none may be believed that answers from outside of itself. */
#include "base/buf.h"
#include "plan/alist.h"
#include "unit/tap.h"
#include <arpa/inet.h>
#include <stdlib.h>

__extension__ typedef unsigned __int128 number;

#define LISTS 1000u
#define ASKED 10100u /* of each list */
#define FILES 4u
#define LINES 60u
#define ITEMS 4000u

struct item {
    number lo, hi;
    bool v6, in;
    unsigned file, line;
};
struct world {
    struct buf text[FILES];
    unsigned lines[FILES];
    struct item item[FILES][LINES]; /* as they stand in each file; an include has lo > hi, and its file in `line` */
    struct item order[ITEMS];       /* all of them as they are read */
    unsigned n;
    bool hits_limit;
};
static struct world w;
static uint64_t seed;
static const char *const names[FILES] = {"a", "b", "c", "d"};

static uint64_t rnd(void) { /* splitmix64 */
    uint64_t x = seed += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static number top(bool v6) {
    return v6 ? ~(number)0 : UINT32_MAX;
}

/* Near few centres, so that items nest, touch and meet; now and then anywhere, and at the ends of the space. */
static number any(bool v6) {
    static const uint32_t centre[] = {0x0a000000, 0xc0000200, 0x7fffffff, 0x80000000};
    uint64_t r = rnd();
    number v;
    switch (r % 8) {
    case 0: v = (number)rnd() << 64 | rnd(); break;
    case 1: v = (r >> 8) % 4; break;
    case 2: v = top(v6) - (r >> 8) % 4; break;
    default:
        v = v6 ? (number)0x20010db8 << 96 | (number)centre[r >> 8 & 1] << 32 : centre[r >> 8 & 3];
        v += (number)((r >> 16) % (1u << (r >> 4 & 15)));
    }
    v &= top(v6);
    if (v6 && v >> 32 == 0xffff) v += (number)1 << 48; /* those are IPv4 addresses */
    return v;
}

static void put_address(struct buf *b, number v, bool v6, bool mapped) {
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    for (int i = 15; i >= 0; i--, v >>= 8) ip[i] = (uint8_t)v;
    if (!inet_ntop(v6 ? AF_INET6 : AF_INET, v6 ? ip : ip + 12, text, sizeof text)) abort();
    buf_fmt(b, "%s%s", mapped ? "::ffff:" : "", text);
}

static struct item make_item(struct buf *b) {
    struct item it = {.v6 = rnd() % 3 == 0, .in = rnd() % 3 != 0};
    unsigned form = (unsigned)(rnd() % 3), size = it.v6 ? 128 : 32;
    bool mapped = !it.v6 && rnd() % 8 == 0; /* L5 */
    it.lo = it.hi = any(it.v6);
    if (!it.in) buf_str(b, rnd() % 2 ? "!" : "! ");
    if (form == 1) {
        unsigned bits = 1 + (unsigned)(rnd() % size), shift = size - bits;
        number host = shift ? top(it.v6) >> bits : 0;
        it.lo &= ~host & top(it.v6);
        if (it.v6 && it.lo >> 32 == 0xffff) it.lo += (number)1 << 64; /* a network of the mapped block would be one of IPv4 */
        it.lo &= ~host;
        it.hi = it.lo | host;
        put_address(b, it.lo, it.v6, mapped);
        buf_fmt(b, "/%u", mapped ? bits + 96 : bits);
        return it;
    }
    if (form == 2) it.hi = any(it.v6);
    if (it.lo > it.hi) {
        number swap = it.lo;
        it.lo = it.hi;
        it.hi = swap;
    }
    put_address(b, it.lo, it.v6, mapped);
    if (form == 2) buf_str(b, rnd() % 2 ? "-" : " - ");
    if (form == 2) put_address(b, it.hi, it.v6, mapped);
    return it;
}

/* A file includes only later ones, so that there is no circle. */
static void make_file(unsigned f) {
    static const char *const ends[] = {"\n", "\r\n", " ; why\n", "\r", "\t\n"};
    struct buf *b = &w.text[f];
    unsigned n = (unsigned)(rnd() % LINES);
    buf_clear(b);
    for (w.lines[f] = 0; w.lines[f] < n; w.lines[f]++) {
        struct item *it = &w.item[f][w.lines[f]];
        uint64_t r = rnd() % 16;
        if (r == 0) {
            *it = (struct item){.lo = 1, .line = FILES};
            buf_str(b, rnd() % 2 ? "; 10.0.0.1" : "  ");
        } else if (r == 1 && f + 1 < FILES) {
            *it = (struct item){.lo = 1, .line = f + 1 + (unsigned)(rnd() % (FILES - f - 1))};
            buf_fmt(b, "#%s", names[it->line]);
        } else *it = make_item(b);
        buf_str(b, ends[rnd() % 5]);
    }
}

static void flatten(unsigned f) {
    for (unsigned i = 0; i < w.lines[f]; i++) {
        struct item it = w.item[f][i];
        if (it.lo > it.hi) {
            if (it.line < FILES) flatten(it.line);
        } else if (w.n < ITEMS) {
            it.file = f;
            it.line = i + 1;
            w.order[w.n++] = it;
        } else w.hits_limit = true;
    }
}

static bool fetch(void *ctx, const char *name, struct alist_text *out) {
    (void)ctx;
    for (unsigned i = 0; i < FILES; i++)
        if (strcmp(names[i], name) == 0)
            *out = (struct alist_text){.text = w.text[i].n ? w.text[i].p : "", .n = w.text[i].n, .display = names[i]};
    return out->display;
}

static const struct item *oracle(number v, bool v6) {
    for (unsigned i = w.n; i-- > 0;)
        if (w.order[i].v6 == v6 && w.order[i].lo <= v && v <= w.order[i].hi) return &w.order[i];
    return NULL;
}

static struct addr addr_of(number v, bool v6) {
    struct addr a = {.family = v6 ? 6 : 4};
    for (int i = v6 ? 15 : 3; i >= 0; i--, v >>= 8) a.ip[i] = (uint8_t)v;
    return a;
}

/* Half of them at, just below or just above an end of an item. */
static number question(bool *v6) {
    *v6 = rnd() % 3 == 0;
    if (w.n == 0 || rnd() % 2) return any(*v6);
    const struct item *it = &w.order[rnd() % w.n];
    uint64_t r = rnd();
    *v6 = it->v6;
    number v = r & 1 ? it->lo : it->hi;
    return (r >> 1) % 3 == 0 ? v : (v + ((r >> 1) % 3 == 1 ? 1 : top(*v6))) & top(*v6);
}

static unsigned ask(const struct pset *s, unsigned long *asked) {
    unsigned wrong = 0;
    for (unsigned q = 0; q < ASKED; q++) {
        bool v6;
        number v = question(&v6);
        struct addr a = addr_of(v, v6);
        const struct item *want = oracle(v, v6);
        struct pset_hit got = pset_find(s, &a);
        bool same = want ? got.in == want->in && got.line == want->line && strcmp(pset_source(s, got.source), names[want->file]) == 0
                         : !got.in && got.line == 0;
        wrong += !same;
        ++*asked;
    }
    return wrong;
}

/* The image as another process gets it. */
static void *moved(struct pset *s, size_t *n) {
    *n = pset_bytes(s);
    void *copy = malloc(*n);
    if (!copy) abort();
    memcpy(copy, s, *n);
    memset(s, 0xee, *n);
    pset_destroy(s);
    return copy;
}

static void check_answers(void) {
    unsigned wrong = 0, unread = 0, empty = 0;
    unsigned long asked = 0;
    for (unsigned l = 0; l < LISTS; l++) {
        struct err e = {""};
        size_t n;
        for (unsigned f = 0; f < FILES; f++) make_file(f);
        w.n = 0;
        flatten(0);
        struct pset *s = w.hits_limit ? NULL : alist_load("a", fetch, NULL, &e);
        w.hits_limit = false;
        if (!s) {
            unread += e.text[0] != 0;
            if (e.text[0]) printf("# %s\n", e.text);
            continue;
        }
        void *image = moved(s, &n);
        const struct pset *set = pset_check(image, n, "a", &e);
        if (set) wrong += ask(set, &asked);
        else unread++;
        empty += w.n == 0;
        free(image);
    }
    printf("# %lu questions about %u lists, %u of them empty\n", asked, LISTS, empty);
    ok(wrong == 0 && unread == 0 && asked >= 10000000 && empty > 0, "%u answers are not the oracle's, %u lists are not read", wrong,
       unread);
}

/* ---- which lines decide, and which never can ---- */

static bool decides_naively(unsigned i) {
    const struct item *it = &w.order[i];
    number at = it->lo;
    for (;;) { /* the lowest address of the item that no later one speaks of */
        const struct item *over = NULL;
        for (unsigned k = i + 1; k < w.n && !over; k++)
            if (w.order[k].v6 == it->v6 && w.order[k].lo <= at && at <= w.order[k].hi) over = &w.order[k];
        if (!over) return true;
        if (over->hi >= it->hi) return false;
        at = over->hi + 1;
    }
}

static bool named(const struct pset *s, const struct pset_shadow *sh, size_t n, const struct item *it) {
    for (size_t i = 0; i < n; i++) {
        struct pset_hit at = pset_at(s, sh[i].place);
        if (at.line == it->line && strcmp(pset_source(s, at.source), names[it->file]) == 0) return true;
    }
    return false;
}

static void check_shadows(void) {
    unsigned wrong = 0, shadows = 0;
    for (unsigned l = 0; l < 300; l++) {
        for (unsigned f = 0; f < FILES; f++) make_file(f);
        w.lines[0] = w.lines[0] > 40 ? 40 : w.lines[0];
        for (unsigned i = 0; i < w.lines[0]; i++) /* one file, so that no line is read twice */
            if (w.item[0][i].lo > w.item[0][i].hi) w.item[0][i].line = FILES;
        struct buf one = {0};
        for (size_t i = 0; i < w.text[0].n; i++) buf_add(&one, w.text[0].p[i] == '#' ? ";" : w.text[0].p + i, 1);
        struct buf keep = w.text[0];
        w.text[0] = one;
        w.n = 0;
        flatten(0);
        struct pset *s = alist_load("a", fetch, NULL, NULL);
        if (!s) abort();
        size_t n, all, bytes = pset_lines(s) / 8 + 1;
        uint8_t *bits = calloc(bytes, 1);
        pset_deciding(s, bits);
        const struct pset_shadow *sh = pset_shadows(s, &n, &all);
        for (unsigned i = 0; i < w.n; i++) {
            bool can = decides_naively(i), is = named(s, sh, n, &w.order[i]);
            shadows += is;
            /* the text may have more lines than were flattened: those lie behind and may shadow */
            wrong += w.lines[0] < 40 && can == is;
        }
        wrong += n != all;
        free(bits);
        pset_destroy(s);
        buf_free(&one);
        w.text[0] = keep;
    }
    ok(wrong == 0 && shadows > 300, "%u lines can never decide and are named, %u differ from the plain reading", shadows, wrong);
}

/* ---- damage ---- */

/* Every answer, and every report, stays inside: the sanitizer sees what does not. */
static void use(const struct pset *s) {
    size_t n, all;
    for (unsigned q = 0; q < 50; q++) {
        bool v6;
        number v = question(&v6);
        struct addr a = addr_of(v, v6);
        struct pset_hit h = pset_find(s, &a);
        if (h.line && strlen(pset_source(s, h.source)) > pset_bytes(s)) abort();
    }
    uint8_t *bits = calloc(pset_lines(s) / 8 + 1, 1);
    pset_deciding(s, bits);
    const struct pset_shadow *sh = pset_shadows(s, &n, &all);
    for (size_t i = 0; i < n; i++) (void)pset_source(s, pset_at(s, sh[i].place).source);
    free(bits);
}

static void check_damage(void) {
    unsigned believed = 0, refused = 0, cut = 0;
    struct err e;
    for (unsigned l = 0; l < 200; l++) {
        size_t n;
        for (unsigned f = 0; f < FILES; f++) make_file(f);
        struct pset *s = alist_load("a", fetch, NULL, NULL);
        if (!s) continue;
        char *image = moved(s, &n), *bad = malloc(n);
        for (unsigned i = 0; bad && i < 100; i++) {
            memcpy(bad, image, n);
            for (unsigned k = 0; k <= rnd() % 3; k++) bad[rnd() % n] = (char)(rnd() % 4 ? rnd() : 0xff);
            const struct pset *set = pset_check(bad, n, "a", &e);
            if (set) use(set);
            believed += set != NULL;
            refused += set == NULL;
            size_t less = rnd() % n;
            char *part = malloc(less ? less : 1);
            memcpy(part, image, less);
            cut += pset_check(part, less, "a", &e) == NULL;
            free(part);
        }
        free(bad);
        free(image);
    }
    ok(refused > 3000 && cut == believed + refused, "a damaged image is refused (%u) or answers within itself (%u); a cut one is refused",
       refused, believed);
    ok(strstr(e.text, "a is") || strstr(e.text, "damaged"), "and the message says so: %.200s", e.text);
}

/* ---- lists within an entry ---- */

static void check_inline(void) {
    struct err e = {""};
    static const char text[] = "10.0.0.0/8, !10.1.0.0/16,10.1.2.3 , 2001:db8::/32,192.0.2.1-192.0.2.9";
    struct pset *s = alist_inline(text, strlen(text), "conf/listeners.ini", 12, NULL, &e);
    struct addr in = {.family = 4, .ip = {10, 1, 2, 3}}, out = {.family = 4, .ip = {10, 1, 2, 4}}, other = {.family = 4, .ip = {11}};
    ok(s && pset_find(s, &in).in && !pset_find(s, &out).in && pset_find(s, &out).line == 12 && pset_find(s, &other).line == 0 &&
           strcmp(pset_source(s, 0), "conf/listeners.ini") == 0,
       "L1 L2: a list within an entry, by the entry's line");
    pset_destroy(s);
    static const char *const bad[][2] = {{"10.0.0.1,,10.0.0.2", "missing"},
                                         {"", "missing"},
                                         {"#clients", "no other list"},
                                         {"10.0.0.1/8", "first 8"},
                                         {"here.there", "not an IPv4"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(!alist_inline(bad[i][0], strlen(bad[i][0]), "l.ini", 3, NULL, &e) && strstr(e.text, bad[i][1]) &&
               strncmp(e.text, "l.ini:3: ", 9) == 0,
           "L3: \"%s\" is refused: %.200s", bad[i][0], e.text);
}

int main(void) {
    const char *given = getenv("SEED");
    seed = given ? strtoull(given, NULL, 10) : 20261122;
    printf("# SEED=%llu\n", (unsigned long long)seed);
    check_answers();
    check_shadows();
    check_damage();
    check_inline();
    for (unsigned i = 0; i < FILES; i++) buf_free(&w.text[i]);
    return tap_end();
}
