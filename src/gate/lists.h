/* The address lists of a generation, by name: prefix sets that lie in its bundle, and how often each of their lines has decided. The sets are
 * immutable and shared by every thread; the counts are relaxed atomics, shared with the generation before where the list is the same. */
#ifndef PORTREEVE_GATE_LISTS_H
#define PORTREEVE_GATE_LISTS_H
#include "base/pset.h"
#include <stdatomic.h>

#define LISTS_MAX 1024u
#define LIST_NAME 96

/* 4 bytes a line, of which only pages that hold a count take up memory. Stops at 4,294,967,295. Made when a list is added; destroyed with the
 * last generation that has it. */
struct list_hits;

struct named_list {
    char name[LIST_NAME];
    const struct pset *set; /* the bundle's */
    struct list_hits *hits;
};
struct lists {
    unsigned n;
    struct named_list *list;
};
/* set stays the caller's and must outlive l. */
bool lists_add(struct lists *l, const char *name, const struct pset *set, struct err *e);
void lists_finish(struct lists *l);
/* Counts of the generation before: all of them where a list is the same, else those of lines that say the same in a file of the same name.
 * What is counted there afterwards is lost for lists that have changed. Before l is asked by anybody. */
void lists_carry(struct lists *l, const struct lists *before);

/* NULL = no list of that name. */
const struct named_list *lists_named(const struct lists *l, const char *name);
const struct pset *lists_find(const struct lists *l, const char *name); /* the set alone */
/* The line of `set`, one of l's, has decided (hit.line != 0). Rules ask by facts_ask (gate/facts.h), which counts. */
void lists_count(const struct lists *l, const struct pset *set, struct pset_hit hit);
uint32_t list_hits(const struct named_list *l, uint32_t place); /* of the line at a place (base/pset.h) */
/* "conf/lists/denied.list:7" of a hit; returns its length, 0 where no line decided. */
size_t lists_where(const struct pset *s, struct pset_hit hit, char *out, size_t cap);
#endif
