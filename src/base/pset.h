/* Prefix set: an immutable, flat, position-independent map from address to (in | out, source line).
 * Built once from lines in order (a later line overrides what earlier ones said about the same addresses, L2), then shared
 * read-only by every thread. A lookup is a binary search over sorted disjoint spans; it never allocates. A span costs 16 bytes (IPv4) or
 * 40 (IPv6), n lines make at most 2n - 1 spans. Zones and ports of addresses are ignored. */
#ifndef PORTREEVE_BASE_PSET_H
#define PORTREEVE_BASE_PSET_H
#include "base/addr.h"

struct pset; /* one malloc'ed block; pset_bytes() of it may be copied or mapped as it is (aligned to 8, on a machine of the same byte order)
              */

struct pset_hit {
    bool in;         /* true: the address is in the set */
    uint16_t source; /* index of the list file (pset_source) of the line that decided; meaningless when line is 0 */
    uint32_t line;   /* line that decided, in or out; 0 = no line speaks of this address (then in is false) */
};

struct pset_builder; /* growing array of lines */
struct pset_builder *pset_builder_create(void);
void pset_builder_destroy(struct pset_builder *b); /* NULL is legal */
/* Name a list file; the returned index goes into pset_add (the same path gives the same index again). Returns -1 past 65,535 files or on
 * ENOMEM. */
int pset_builder_source(struct pset_builder *b, const char *display_path);
/* Add the inclusive range lo..hi (same family, lo <= hi) as in or out. false on ENOMEM and past 2^26 lines of a family. */
bool pset_add(struct pset_builder *b, const struct addr *lo, const struct addr *hi, bool in, unsigned source, unsigned line);
/* Build; the builder stays usable. NULL on ENOMEM. Cost O(n log n). */
struct pset *pset_build(const struct pset_builder *b);
void pset_destroy(struct pset *s); /* NULL is legal */

struct pset_hit pset_find(const struct pset *s, const struct addr *a);
/* Every range of addresses that are in, in order, IPv4 first; neighbours are one range. each() returning false ends it. */
void pset_each(const struct pset *s, bool (*each)(void *ctx, const struct addr *lo, const struct addr *hi), void *ctx);
const char *pset_source(const struct pset *s, unsigned source); /* display path of a list file */
size_t pset_bytes(const struct pset *s);
size_t pset_spans(const struct pset *s);
#endif
