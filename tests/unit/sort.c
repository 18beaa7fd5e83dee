/* sort_runs beside qsort: random lists, lists of runs, equal elements in their order. */
#include "base/sort.h"
#include "unit/tap.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MOST 3000u

struct item {
    int key;
    unsigned place;
};
static unsigned long asked;

static int by_key(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    asked++;
    return (x->key > y->key) - (x->key < y->key);
}

static int by_key_and_place(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    int c = by_key(a, b);
    return c ? c : (x->place > y->place) - (x->place < y->place);
}

static unsigned next(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

/* n elements with keys below `keys`, in runs of at most `run`. */
static bool same_as_qsort(unsigned n, unsigned keys, unsigned run, unsigned *seed) {
    static struct item a[MOST], b[MOST];
    for (unsigned i = 0; i < n; i++) a[i] = (struct item){.key = (int)(next(seed) % keys), .place = i};
    for (unsigned i = 0; i < n; i += run) qsort(a + i, n - i < run ? n - i : run, sizeof *a, by_key);
    for (unsigned i = 0; i < n; i++) a[i].place = i;
    memcpy(b, a, sizeof a);
    sort_runs(a, n, sizeof *a, by_key);
    qsort(b, n, sizeof *b, by_key_and_place);
    return memcmp(a, b, n * sizeof *a) == 0;
}

int main(void) {
    unsigned seed = 4711, bad = 0;
    for (unsigned i = 0; i < 500; i++) bad += !same_as_qsort(next(&seed) % MOST, 1 + next(&seed) % 4000, 1 + next(&seed) % 500, &seed);
    ok(bad == 0, "500 random lists come out as from qsort, equal elements in their order (seed 4711)");
    ok(same_as_qsort(0, 1, 1, &seed) && same_as_qsort(1, 1, 1, &seed) && same_as_qsort(2, 2, 1, &seed), "none, one, two");
    static struct item list[MOST];
    for (unsigned i = 0; i < MOST; i++) list[i].key = (int)i;
    asked = 0;
    sort_runs(list, MOST, sizeof *list, by_key);
    ok(asked < MOST, "a list in order costs a comparison an element (%lu)", asked);
    for (unsigned i = 0; i < MOST; i++) list[i].key = (int)((i + MOST / 3) % MOST);
    asked = 0;
    sort_runs(list, MOST, sizeof *list, by_key);
    ok(asked < 4 * MOST && list[0].key == 0 && list[MOST - 1].key == (int)MOST - 1, "two runs cost a few (%lu)", asked);
    return tap_end();
}
