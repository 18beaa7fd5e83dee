/* The text of a plan back into one: what plan_encode.c writes, and nothing else. */
#include "plan/format.h"
#include "plan/plan_code_i.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CERTS 4096u

struct reader {
    const char *p, *end;
    unsigned line;
    struct texts *texts;
    struct err *e;
};

#define refuse(r, ...) err_at((r)->e, "plan", (r)->line, __VA_ARGS__)

/* The next line without its LF; false at the end of the text or on a line without LF. */
static bool next_line(struct reader *r, const char **s, size_t *n) {
    const char *lf = r->p < r->end ? memchr(r->p, '\n', (size_t)(r->end - r->p)) : NULL;
    r->line++;
    if (!lf) return refuse(r, "the plan ends in the middle");
    *s = r->p;
    *n = (size_t)(lf - r->p);
    r->p = lf + 1;
    return true;
}

static bool next_is(const struct reader *r, const char *text) {
    size_t n = strlen(text);
    return (size_t)(r->end - r->p) > n && memcmp(r->p, text, n) == 0 && r->p[n] == '\n';
}

static bool expect_line(struct reader *r, const char *text) {
    const char *s;
    size_t n;
    if (!next_line(r, &s, &n)) return false;
    return (n == strlen(text) && memcmp(s, text, n) == 0) || refuse(r, "expected \"%s\"", text);
}

/* A line "key value": keys come in the table's order, so a missing, repeated or unknown key is the same fault: not the one expected. */
static bool key_line(struct reader *r, const char *key, const char **value, size_t *n) {
    const char *s;
    size_t len, k = strlen(key);
    if (!next_line(r, &s, &len)) return false;
    if (len <= k || memcmp(s, key, k) != 0 || s[k] != ' ')
        return refuse(r, "expected key \"%s\", found \"%.*s\"", key, (int)(len > 80 ? 80 : len), s);
    *value = s + k + 1;
    *n = len - k - 1;
    return true;
}

static bool get_number(struct reader *r, const char *s, size_t n, int64_t least, int64_t most, int64_t *out) {
    bool negative = n > 0 && s[0] == '-';
    int64_t v = 0;
    size_t i = negative ? 1 : 0;
    if (n == i || n > 18 || (s[i] == '0' && n > 1)) return refuse(r, "not a number: \"%.*s\"", (int)(n > 40 ? 40 : n), s);
    for (; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return refuse(r, "not a number: \"%.*s\"", (int)n, s);
        v = v * 10 + (s[i] - '0'); /* at most 18 digits: cannot overflow */
    }
    if (negative) v = -v;
    if (v < least || v > most) return refuse(r, "%" PRId64 " is not between %" PRId64 " and %" PRId64, v, least, most);
    *out = v;
    return true;
}

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool get_array(struct reader *r, const char *s, size_t n, char *out, size_t cap) {
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            if (i + 2 >= n || hex(s[i + 1]) < 0 || hex(s[i + 2]) < 0) return refuse(r, "bad escape");
            c = hex(s[i + 1]) * 16 + hex(s[i + 2]);
            i += 2;
            if (c == 0) return refuse(r, "a NUL in a text");
        } else if (c < 0x20 || c == 0x7f) {
            return refuse(r, "a control character that is not escaped");
        }
        if (o + 1 >= cap) return refuse(r, "text longer than %zu bytes", cap - 1);
        out[o++] = (char)c;
    }
    memset(out + o, 0, cap - o); /* whatever the record before it had there */
    return true;
}

static bool get_text(struct reader *r, const char *s, size_t n, const char **out, size_t cap) {
    char text[PLAN_PATH > PLAN_LABELS ? PLAN_PATH : PLAN_LABELS]; /* the longest there is */
    if (!get_array(r, s, n, text, cap)) return false;
    *out = texts_add(r->texts, text, strlen(text));
    return *out || refuse(r, "out of memory");
}

static bool get_address(struct reader *r, const char *s, size_t n, struct addr *a) {
    char text[INET6_ADDRSTRLEN];
    if (n >= sizeof text) return refuse(r, "not an address");
    memcpy(text, s, n);
    text[n] = '\0';
    a->family = memchr(text, ':', n) ? 6 : 4;
    memset(a->ip, 0, sizeof a->ip);
    if (strlen(text) != n || inet_pton(a->family == 6 ? AF_INET6 : AF_INET, text, a->ip) != 1)
        return refuse(r, "not an address: \"%s\"", text);
    return true;
}

static bool get_choice(struct reader *r, const char *s, size_t n, const char *const *choices, void *out) {
    for (unsigned i = 0; choices[i]; i++)
        if (strlen(choices[i]) == n && memcmp(choices[i], s, n) == 0) {
            memcpy(out, &i, sizeof i);
            return true;
        }
    return refuse(r, "unknown word \"%.*s\"", (int)(n > 40 ? 40 : n), s);
}

_Static_assert(sizeof(enum plan_scheme) == sizeof(unsigned) && sizeof(enum plan_restriction) == sizeof(unsigned) &&
                   sizeof(enum plan_missing) == sizeof(unsigned) && sizeof(enum plan_proxy_out) == sizeof(unsigned) &&
                   sizeof(enum plan_proxy) == sizeof(unsigned),
               "CHOICE stores unsigned");

static bool get_field(struct reader *r, const struct field *f, char *rec) {
    const char *s;
    size_t n;
    int64_t v = 0;
    char *p = rec + f->at;
    if (!key_line(r, f->key, &s, &n)) return false;
    switch (f->kind) {
    case TEXT: return get_text(r, s, n, (const char **)(void *)p, f->size);
    case ARRAY: return get_array(r, s, n, p, f->size);
    case NUMBER:
        if (!get_number(r, s, n, 0, UINT32_MAX, &v)) return false;
        *(uint32_t *)(void *)p = (uint32_t)v;
        return true;
    case PORT:
        if (!get_number(r, s, n, 0, UINT16_MAX, &v)) return false;
        *(uint16_t *)(void *)p = (uint16_t)v;
        return true;
    case FLAG:
        if (!get_number(r, s, n, 0, 1, &v)) return false;
        *(bool *)(void *)p = v == 1;
        return true;
    case CHOICE: return get_choice(r, s, n, f->choices, p);
    case ADDRESS: return get_address(r, s, n, (struct addr *)(void *)p);
    }
    return false;
}

static bool get_record(struct reader *r, const char *head, const struct fields *f, void *rec) {
    if (!expect_line(r, head)) return false;
    for (size_t i = 0; i < f->n; i++)
        if (!get_field(r, &f->of[i], rec)) return false;
    return true;
}

static bool begins(const struct reader *r, const char *key) {
    if (r->p == r->end || *r->p != *key) return false; /* tells most keys apart */
    size_t n = strlen(key);
    return (size_t)(r->end - r->p) > n && memcmp(r->p, key, n) == 0 && r->p[n] == ' ';
}

/* A socket like the one before it but for the fields that follow, in the table's order: an unknown or repeated key meets the next head. */
static bool get_next(struct reader *r, struct plan_socket *s) {
    if (!expect_line(r, NEXT)) return false;
    *s = s[-1];
    for (size_t i = 0; i < plan_socket_fields.n && r->p < r->end && *r->p != '['; i++) /* no key begins like a head */
        if (begins(r, plan_socket_fields.of[i].key) && !get_field(r, &plan_socket_fields.of[i], (char *)s)) return false;
    return true;
}

static bool get_settings(struct reader *r, struct plan_settings *set) {
    if (!expect_line(r, "[settings]")) return false;
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) {
        const char *s;
        size_t n;
        if (!key_line(r, d->field, &s, &n) || !get_number(r, s, n, d->least, d->most, plan_setting(set, d->field))) return false;
    }
    return true;
}

/* Room for one more element of `size` bytes: grows by doubling, the new one zeroed. NULL past `most` or without memory. */
static void *more(struct reader *r, void **list, uint32_t *n, uint32_t most, size_t size, const char *what) {
    if (*n == most) {
        refuse(r, "more than %u %s", most, what);
        return NULL;
    }
    if ((*n & (*n - 1)) == 0) { /* 0 or a power of two: full */
        void *p = reallocarray(*list, *n ? (size_t)*n * 2 : 1, size);
        if (!p) {
            refuse(r, "out of memory");
            return NULL;
        }
        *list = p;
    }
    void *slot = (char *)*list + (size_t)*n * size;
    memset(slot, 0, size);
    ++*n;
    return slot;
}

static bool get_lists(struct reader *r, struct plan *out) {
    while (next_is(r, "[certificate]")) {
        void *list = out->cert, *rec = more(r, &list, &out->ncerts, MAX_CERTS, sizeof *out->cert, "certificates");
        out->cert = list;
        if (!rec || !get_record(r, "[certificate]", &plan_cert_fields, rec)) return false;
    }
    while (next_is(r, "[backend]")) {
        void *list = out->backend, *rec = more(r, &list, &out->nbackends, PLAN_MAX_BACKENDS, sizeof *out->backend, "backends");
        out->backend = list;
        if (!rec || !get_record(r, "[backend]", &plan_backend_fields, rec)) return false;
    }
    while (next_is(r, out->nsockets ? NEXT : "[socket]")) {
        void *list = out->socket, *rec = more(r, &list, &out->nsockets, PLAN_MAX_SOCKETS, sizeof *out->socket, "sockets");
        out->socket = list;
        if (!rec) return false;
        if (out->nsockets > 1 ? !get_next(r, rec) : !get_record(r, "[socket]", &plan_socket_fields, rec)) return false;
    }
    return true;
}

/* First of all, so that another version's plan is named by its number and not by the first field that is new. */
static bool of_this_format(struct reader *r) {
    if (!next_is(r, format_head)) return format_differs(r->p, (size_t)(r->end - r->p), r->e);
    return expect_line(r, format_head);
}

bool plan_decode(const char *text, size_t n, struct plan *out, struct err *e) {
    struct reader r = {.p = text, .end = text + n, .texts = &out->texts, .e = e};
    memset(out, 0, sizeof *out);
    bool good = of_this_format(&r) && get_record(&r, "[plan]", &plan_fields, out) && get_settings(&r, &out->set) && get_lists(&r, out) &&
                expect_line(&r, "[end]");
    if (good && r.p != r.end) good = refuse(&r, "something follows the end");
    if (!good) plan_finish(out);
    return good;
}
