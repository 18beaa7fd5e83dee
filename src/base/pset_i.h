/* The image of a prefix set, for its files. Offsets, never pointers, so that it may lie anywhere. */
#ifndef PORTREEVE_BASE_PSET_I_H
#define PORTREEVE_BASE_PSET_I_H
#include "base/pset.h"
#include <stddef.h>

__extension__ typedef unsigned __int128 u128;

#define PSET_RANGES_MAX  (1u << 26) /* a family; also keeps every span count within 32 bits */
#define PSET_LINES_MAX   (1u << 31)
#define PSET_SOURCES_MAX 65535u
#define PSET_WIDE        255u       /* in place of a prefix length: the span is no network, its end stands in `wide` */
#define PSET_IN          (1u << 31) /* in `who`, beside the line's place */

struct wide {
    uint64_t hi, lo;
};

enum { FOUR, SIX };
struct pset_family {
    uint64_t lo;   /* n keys: the first address of each span (uint32_t, or struct wide for IPv6) */
    uint64_t end;  /* nwide keys: the last address of each span that is no network */
    uint64_t who;  /* n uint32_t: PSET_IN | place of the line */
    uint64_t wide; /* nwide uint32_t: which spans those are, rising */
    uint64_t bits; /* n uint8_t: prefix length, or PSET_WIDE */
    uint32_t n, nwide;
};
struct pset_run { /* lines that stand one behind the other in a source */
    uint32_t place, line, source;
};
struct pset_file {
    uint8_t hash[32];
    uint64_t name; /* offset of its text */
};

struct pset {
    char magic[8];
    uint64_t bytes;
    struct pset_family f[2];
    uint64_t file, shadow, print, run, names; /* offsets: nfiles, nshadows, nlines (uint32_t), nruns, texts up to the end */
    uint32_t nfiles, nshadows, all_shadows, nlines, nruns, pad;
};
#define PSET_MAGIC "PRPSET2"

static inline size_t key_size(bool v6) {
    return v6 ? sizeof(struct wide) : sizeof(uint32_t);
}

static inline u128 key_get(const void *a, bool v6, size_t i) {
    if (!v6) return ((const uint32_t *)a)[i];
    const struct wide *w = (const struct wide *)a + i;
    return (u128)w->hi << 64 | w->lo;
}

static inline void key_put(void *a, bool v6, size_t i, u128 k) {
    if (v6) ((struct wide *)a)[i] = (struct wide){.hi = (uint64_t)(k >> 64), .lo = (uint64_t)k};
    else ((uint32_t *)a)[i] = (uint32_t)k;
}

static inline u128 key_of(const struct addr *a) {
    uint64_t w[2] = {0};
    if (a->family == 4) return (u128)((uint32_t)a->ip[0] << 24 | (uint32_t)a->ip[1] << 16 | (uint32_t)a->ip[2] << 8 | a->ip[3]);
    __builtin_memcpy(w, a->ip, sizeof w);
    return (u128)__builtin_bswap64(w[0]) << 64 | __builtin_bswap64(w[1]);
}

/* Everything but the addresses of a network of `bits`: 0 for a whole prefix. */
static inline u128 pset_host(bool v6, unsigned bits) {
    unsigned size = v6 ? 128 : 32;
    return bits == 0 ? (v6 ? ~(u128)0 : UINT32_MAX) : ((u128)1 << (size - bits)) - 1;
}

/* Puts every offset where the counts say; head.names is where the texts begin. Used to make and to check. */
void pset_lay(struct pset *head);
u128 pset_end(const struct pset *s, bool v6, size_t i); /* last address of span i */

/* What was added, side by side: uint32_t keys for IPv4 and struct wide for IPv6; place = PSET_IN | place of the line. */
struct ranges {
    void *lo, *hi;
    uint32_t *who;
    size_t n, cap;
    bool v6;
};
/* What it means: disjoint spans by rising address, each with the last line that covers it; the arrays are those of struct pset_family. */
struct spans {
    void *lo, *end;
    uint32_t *who, *wide;
    uint8_t *bits;
    size_t n, nwide, cap, wide_cap;
};
/* false: out of memory. spans_free in any case. */
bool spans_make(struct spans *out, const struct ranges *r);
void spans_free(struct spans *s);
/* Room for `need` elements in *(void **)array. false: out of memory, and what was there is there still. */
bool pset_grow(void *array, size_t *cap, size_t need, size_t size);
#endif
