/* Sorting what is mostly in order already. */
#ifndef PORTREEVE_BASE_SORT_H
#define PORTREEVE_BASE_SORT_H
#include <stddef.h>

/* Like qsort, and stable: runs that are in order are found and merged, so a list of a few runs costs a few comparisons an element. Without
 * memory for a copy it is qsort, which is not stable. */
void sort_runs(void *base, size_t n, size_t size, int (*compare)(const void *, const void *));
#endif
