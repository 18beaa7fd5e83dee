#include "proto/exchange.h"

static inline char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_nocase(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (lower(a[i]) != lower(b[i])) return false;
    return true;
}

bool slice_is_nocase(struct slice s, const char *text) {
    size_t n = strlen(text);
    return s.n == n && same_nocase(s.p, text, n);
}

const struct field *request_field(const struct request *r, const char *lower_name) {
    size_t n = strlen(lower_name);
    for (unsigned i = 0; i < r->nfields; i++) {
        const struct field *f = &r->field[i];
        if (f->name.n == n && same_nocase(f->name.p, lower_name, n)) return f;
    }
    return NULL;
}
