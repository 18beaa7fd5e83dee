/* The address lists of a generation, by name. Immutable once built; shared by every thread. */
#ifndef PORTREEVE_GATE_LISTS_H
#define PORTREEVE_GATE_LISTS_H
#include "base/pset.h"

#define LISTS_MAX 1024u

struct lists {
    unsigned n;
    struct named_list {
        char name[64];
        struct pset *set;
    } *list;
};
/* NULL = no list of that name. */
const struct pset *lists_find(const struct lists *l, const char *name);
/* "conf/lists/denied.list:7" of a hit; returns its length, 0 where no line decided. */
size_t lists_where(const struct pset *s, struct pset_hit hit, char *out, size_t cap);
void lists_finish(struct lists *l);
#endif
