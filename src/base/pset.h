/* Prefix set: an immutable, flat, position-independent map from address to (in | out, source line).
 * Built once from lines in order (a later line overrides what earlier ones said about the same addresses, L2), then mapped and shared
 * read-only by every thread. A lookup is a binary search over sorted disjoint spans; it never allocates. n lines make at most 2n - 1 spans.
 * A span that is one address or one network costs 9 bytes (IPv4) or 21 (IPv6), any other 8 or 20 more; a line costs 4 bytes besides.
 * Zones and ports of addresses are ignored. Three files: pset_build.c makes, pset.c asks, pset_check.c distrusts. */
#ifndef PORTREEVE_BASE_PSET_H
#define PORTREEVE_BASE_PSET_H
#include "base/addr.h"

struct pset; /* one block; pset_bytes() of it may be copied or mapped as it is (aligned to 8, on a machine of the same byte order) */

#define PSET_SHADOWS 65536u /* of the lines that can never decide, so many are named; all are counted */

struct pset_hit {
    bool in;         /* true: the address is in the set */
    uint16_t source; /* index of the list file (pset_source) of the line that decided; meaningless when line is 0 */
    uint32_t line;   /* line that decided, in or out; 0 = no line speaks of this address (then in is false) */
    uint32_t place;  /* of that line among all lines of all sources, in the order of reading: below pset_lines */
};

struct pset_builder; /* growing array of lines */
struct pset_builder *pset_builder_create(void);
void pset_builder_destroy(struct pset_builder *b); /* NULL is legal */
/* Name a list file; the returned index goes into pset_add (the same path gives the same index again). hash: SHA-256 of its text, NULL =
 * nobody will ask. Returns -1 past 65,535 files or on ENOMEM. */
int pset_builder_source(struct pset_builder *b, const char *display_path, const uint8_t hash[32]);
/* Add the inclusive range lo..hi (same family, lo <= hi) as in or out; lines in the order of reading. false on ENOMEM, past 2^26 ranges of
 * a family, and past 2^31 lines altogether. */
bool pset_add(struct pset_builder *b, const struct addr *lo, const struct addr *hi, bool in, unsigned source, unsigned line);
/* Build; the builder stays usable. NULL on ENOMEM. Cost O(n log n). */
struct pset *pset_build(const struct pset_builder *b);
void pset_destroy(struct pset *s); /* of what pset_build made; NULL is legal */

/* May these n bytes (aligned to 8) be asked as a set? Checks every offset, order and index, so that no question can leave them. Returns p as a
 * set that lives as long as p does, or NULL with e, which names `what`. */
const struct pset *pset_check(const void *p, size_t n, const char *what, struct err *e);

struct pset_hit pset_find(const struct pset *s, const struct addr *a);
/* Every range of addresses that are in, in order, IPv4 first; neighbours are one range. each() returning false ends it. */
void pset_each(const struct pset *s, bool (*each)(void *ctx, const struct addr *lo, const struct addr *hi), void *ctx);
/* Every address of lo+1..hi (one family) before which another line, or none, decides; rising. each() returning false ends it. */
void pset_edges(const struct pset *s, const struct addr *lo, const struct addr *hi, bool (*each)(void *ctx, const struct addr *edge),
                void *ctx);
const char *pset_source(const struct pset *s, unsigned source);         /* display path of a list file */
const uint8_t *pset_source_hash(const struct pset *s, unsigned source); /* 32 bytes */
size_t pset_sources(const struct pset *s);
size_t pset_bytes(const struct pset *s);
size_t pset_spans(const struct pset *s);

/* ---- its lines, for counts and reports; a place is an index below pset_lines ---- */
size_t pset_lines(const struct pset *s);
struct pset_hit pset_at(const struct pset *s, uint32_t place); /* source and line of a place */
/* What a line says, as a number: the same wherever the same item stands, 0 = a blank line, a comment or an include. */
uint32_t pset_print(const struct pset *s, uint32_t place);
/* Set the bit of every place that decides about some address; bits is (pset_lines + 7) / 8 bytes, zeroed by the caller. */
void pset_deciding(const struct pset *s, uint8_t *bits);
/* Lines that can never decide, because later ones speak of all their addresses; *n of them are named in rising order, *all = how many there
 * are. A file that is included twice does not shadow itself. */
struct pset_shadow {
    uint32_t place, by; /* by: who speaks of its first address instead */
};
const struct pset_shadow *pset_shadows(const struct pset *s, size_t *n, size_t *all);
#endif
