/* Fuzz target: address lists. The input is up to four lists, a to d, with a byte 1 between them. Where a set is made, a decision's line
 * must really hold the address: that line alone, as a list of its own, has it. And the image must answer the same from another place in
 * memory. */
#include "plan/alist.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LISTS 4
struct lists {
    const char *text[LISTS];
    size_t n[LISTS];
    unsigned count;
};

static void must(bool fine) {
    if (!fine) abort();
}

static bool fetch(void *ctx, const char *name, struct alist_text *out) {
    static const char *const names[LISTS] = {"a", "b", "c", "d"};
    const struct lists *l = ctx;
    for (unsigned i = 0; i < l->count; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (struct alist_text){.text = l->text[i], .n = l->n[i], .display = names[i]};
        return true;
    }
    return false;
}

/* Line `want` of a text, by counting ends. */
static struct lists line_of(const char *s, size_t n, uint32_t want) {
    struct lists one = {.count = 1};
    size_t i = 0;
    for (uint32_t line = 1;; line++) {
        size_t from = i;
        while (i < n && s[i] != '\n' && s[i] != '\r') i++;
        if (line == want) {
            one.text[0] = s + from;
            one.n[0] = i - from;
            return one;
        }
        must(i < n);
        i += s[i] == '\r' && i + 1 < n && s[i + 1] == '\n' ? 2 : 1;
    }
}

static void check_answer(const struct lists *l, const struct pset *s, const struct pset *moved, const struct addr *a) {
    struct pset_hit h = pset_find(s, a), m = pset_find(moved, a);
    char item[4096];
    must(h.line == m.line && h.in == m.in && h.source == m.source);
    must(h.line > 0 || !h.in);
    if (h.line == 0) return;
    unsigned which = (unsigned)(pset_source(s, h.source)[0] - 'a');
    must(which < l->count);
    struct lists one = line_of(l->text[which], l->n[which], h.line);
    if (one.n[0] >= sizeof item) return;
    memcpy(item, one.text[0], one.n[0]);
    char *not = memchr(item, '!', one.n[0]), *comment = memchr(item, ';', one.n[0]);
    bool out = not &&(!comment || not < comment);
    must(out == !h.in);
    if (out) *not = ' ';
    one.text[0] = item;
    struct pset *alone = alist_load("a", fetch, &one, NULL);
    must(alone && pset_find(alone, a).in && pset_find(alone, a).line == 1);
    pset_destroy(alone);
}

static struct addr address_from(const uint8_t *p, size_t n) {
    struct addr a = {.family = n > 0 && p[0] % 2 ? 4 : 6};
    for (size_t i = 0; i < (a.family == 4 ? 4 : 16) && i + 1 < n; i++) a.ip[i] = p[i + 1];
    return a;
}

/* Addresses written in the input itself meet the lines far more often than random ones. */
static void check_written(const struct lists *l, const struct pset *s, const struct pset *moved, const char *p, size_t n) {
    unsigned asked = 0;
    for (size_t i = 0; i < n && asked < 24; i++) {
        size_t len = strspn(p + i, "0123456789abcdefABCDEF:.");
        struct addr a;
        if (len == 0 || !addr_parse_ip(p + i, len, &a, NULL)) continue;
        check_answer(l, s, moved, &a);
        a.ip[a.family == 4 ? 3 : 15] ^= 1;
        check_answer(l, s, moved, &a);
        asked++;
        i += len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct lists l = {0};
    struct err e = {""};
    char *copy = calloc(1, size + 1);
    if (!copy) return 0;
    memcpy(copy, data, size);
    for (size_t at = 0; l.count < LISTS && at <= size; l.count++) {
        const char *end = memchr(copy + at, 1, size - at);
        l.text[l.count] = copy + at;
        l.n[l.count] = end ? (size_t)(end - copy) - at : size - at;
        at += l.n[l.count] + 1;
    }
    struct pset *s = alist_load("a", fetch, &l, &e);
    must((s != NULL) != (e.text[0] != 0));
    if (s) {
        struct pset *moved = malloc(pset_bytes(s));
        must(moved != NULL);
        memcpy(moved, s, pset_bytes(s));
        must(pset_check(moved, pset_bytes(s), "a", NULL) == moved);
        for (size_t i = 0; i < size && i < 64; i += 4) {
            struct addr a = address_from(data + i, size - i);
            check_answer(&l, s, moved, &a);
        }
        check_written(&l, s, moved, copy, size);
        free(moved);
    }
    pset_destroy(s);
    free(copy);
    return 0;
}
