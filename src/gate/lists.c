#include "gate/lists.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct pset *lists_find(const struct lists *l, const char *name) {
    for (unsigned i = 0; i < l->n; i++)
        if (strcmp(l->list[i].name, name) == 0) return l->list[i].set;
    return NULL;
}

size_t lists_where(const struct pset *s, struct pset_hit hit, char *out, size_t cap) {
    if (hit.line == 0) return 0;
    int n = snprintf(out, cap, "%s:%u", pset_source(s, hit.source), hit.line);
    return n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}

void lists_finish(struct lists *l) {
    for (unsigned i = 0; i < l->n; i++) pset_destroy(l->list[i].set);
    free(l->list);
    *l = (struct lists){0};
}
