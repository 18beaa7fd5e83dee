/* Nanoseconds a question to an address list takes: `lookup FILE QUESTIONS`. Half of the addresses asked are in the list, at random places. */
#include "base/file.h"
#include "plan/alist.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct buf text;

static bool fetch(void *ctx, const char *name, struct alist_text *out) {
    (void)ctx;
    *out = (struct alist_text){.text = text.p, .n = text.n, .display = name};
    return true;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static bool take(void *ctx, const struct addr *lo, const struct addr *hi) {
    struct addr **at = ctx;
    (void)hi;
    *(*at)++ = *lo;
    return true;
}

int main(int argc, char **argv) {
    struct err e;
    if (argc != 3 || !file_read(argv[1], 1u << 30, &text, &e)) return 2;
    double start = now();
    struct pset *s = alist_load(argv[1], fetch, NULL, &e);
    if (!s) return fprintf(stderr, "%s\n", e.text), 1;
    double made = now();
    size_t n = pset_spans(s), questions = strtoul(argv[2], NULL, 10), in = 0;
    struct addr *known = calloc(n + 1, sizeof *known), *end = known, *ask = calloc(questions, sizeof *ask);
    pset_each(s, take, &end);
    n = (size_t)(end - known);
    srandom(1);
    for (size_t i = 0; i < questions; i++) {
        ask[i] = known[(size_t)random() % n];
        if (i % 2) ask[i].ip[2] ^= (uint8_t)(1 + random() % 255);
    }
    double from = now();
    for (size_t i = 0; i < questions; i++) in += pset_find(s, &ask[i]).in;
    printf("%.1f %.1f %zu %zu\n", (now() - from) / (double)questions, (made - start) / 1e6, pset_bytes(s), in);
    return 0;
}
