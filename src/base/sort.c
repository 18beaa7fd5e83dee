#include "base/sort.h"
#include <stdlib.h>
#include <string.h>

struct sorting {
    char *from, *to;
    size_t n, size;
    int (*compare)(const void *, const void *);
};

/* The end of the run that begins at element i. */
static size_t run_end(const struct sorting *s, size_t i) {
    while (++i < s->n && s->compare(s->from + (i - 1) * s->size, s->from + i * s->size) <= 0) continue;
    return i < s->n ? i : s->n;
}

static void merge(const struct sorting *s, size_t a, size_t b, size_t end) {
    char *out = s->to + a * s->size;
    size_t i = a, j = b;
    while (i < b && j < end) {
        size_t *next = s->compare(s->from + i * s->size, s->from + j * s->size) <= 0 ? &i : &j;
        memcpy(out, s->from + (*next)++ * s->size, s->size);
        out += s->size;
    }
    memcpy(out, s->from + i * s->size, (b - i) * s->size);
    memcpy(out + (b - i) * s->size, s->from + j * s->size, (end - j) * s->size);
}

void sort_runs(void *base, size_t n, size_t size, int (*compare)(const void *, const void *)) {
    struct sorting s = {.from = base, .n = n, .size = size, .compare = compare};
    if (n < 2 || run_end(&s, 0) == n) return;
    char *copy = reallocarray(NULL, n, size);
    if (!copy) {
        qsort(base, n, size, compare);
        return;
    }
    s.to = copy;
    for (size_t runs = 2; runs > 1;) { /* neighbouring runs become one, over and back again */
        runs = 0;
        for (size_t a = 0, end; a < n; a = end, runs++) {
            size_t b = run_end(&s, a);
            end = b < n ? run_end(&s, b) : n;
            merge(&s, a, b, end);
        }
        char *swap = s.from;
        s.from = s.to;
        s.to = swap;
    }
    if (s.from != base) memcpy(base, s.from, n * size);
    free(copy);
}
