/* The plan as text and back. One table names every field of a record, so that what is written and what is demanded cannot differ. */
#include "plan/plan.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC     "portreeve-plan 3"
#define NEXT      "[next]"
#define MAX_CERTS 4096u

enum kind { TEXT, ARRAY, NUMBER, FLAG, CHOICE, ADDRESS, PORT };
struct field {
    const char *key;
    enum kind kind;
    size_t at;                  /* offset in the record's struct */
    size_t size;                /* TEXT, one of plan.texts: at most, with its NUL; ARRAY: bytes of it */
    const char *const *choices; /* CHOICE: names of 0, 1, …, NULL at the end */
};

static const char *const schemes[] = {"http", "https", NULL};
static const char *const missing[] = {"refuse", "wait", "freebind", NULL};
static const char *const proxies_out[] = {"off", "v1", "v2", NULL};
static const char *const proxies[] = {"off", "v1", "v2", "any", NULL};
static const char *const restrictions[] = {"none", "grant", "deny", NULL};

#define AT(rec, member) offsetof(struct rec, member)
#define ARRAY_FIELD(rec, key, member)                                                                                                      \
    { key, ARRAY, AT(rec, member), sizeof(((struct rec *)0)->member), NULL }
#define TEXT_FIELD(rec, key, member, most)                                                                                                 \
    { key, TEXT, AT(rec, member), most, NULL }
#define BECAUSE_FIELDS(rec)                                                                                                                \
    TEXT_FIELD(rec, "file", because.file, PLAN_PATH), {"line", NUMBER, AT(rec, because.line), 0, NULL},                                    \
        TEXT_FIELD(rec, "entry", because.entry, PLAN_NAME), TEXT_FIELD(rec, "row", because.row, PLAN_ROW),                                 \
        TEXT_FIELD(rec, "policy", because.policy, PLAN_PATH)

#define RATE_FIELDS(key, i)                                                                                                                \
    {key "_n", NUMBER, AT(plan_socket, rate[i].n), 0, NULL}, {key "_ms", NUMBER, AT(plan_socket, rate[i].ms), 0, NULL}
#define LINE_FIELD(key, which)                                                                                                             \
    { key, NUMBER, AT(plan_socket, limit_line[which]), 0, NULL }

static const struct field socket_fields[] = {
    TEXT_FIELD(plan_socket, "name", name, PLAN_NAME),
    {"address", ADDRESS, AT(plan_socket, at), 0, NULL},
    {"scope", NUMBER, AT(plan_socket, at.scope), 0, NULL},
    {"udp", FLAG, AT(plan_socket, at.udp), 0, NULL},
    {"port", PORT, AT(plan_socket, at.port), 0, NULL},
    {"when_missing", CHOICE, AT(plan_socket, when_missing), 0, missing},
    {"waiting", FLAG, AT(plan_socket, waiting), 0, NULL},
    ARRAY_FIELD(plan_socket, "zone", zone),
    {"v6only", FLAG, AT(plan_socket, v6only), 0, NULL},
    {"scheme", CHOICE, AT(plan_socket, scheme), 0, schemes},
    {"external_tls", FLAG, AT(plan_socket, external_tls), 0, NULL},
    {"proxy", CHOICE, AT(plan_socket, proxy), 0, proxies},
    {"proxy_inside", FLAG, AT(plan_socket, proxy_inside), 0, NULL},
    TEXT_FIELD(plan_socket, "proxy_from", proxy_from, PLAN_NAME),
    {"services", NUMBER, AT(plan_socket, services), 0, NULL},
    TEXT_FIELD(plan_socket, "certificate", certificate, PLAN_NAME),
    {"restriction", CHOICE, AT(plan_socket, restriction), 0, restrictions},
    TEXT_FIELD(plan_socket, "list", list, PLAN_NAME),
    TEXT_FIELD(plan_socket, "script", script, PLAN_NAME),
    {"max_connections", NUMBER, AT(plan_socket, max_connections), 0, NULL},
    {"max_per_address", NUMBER, AT(plan_socket, max_per_address), 0, NULL},
    {"reserve", NUMBER, AT(plan_socket, reserve), 0, NULL},
    {"give_way", FLAG, AT(plan_socket, give_way), 0, NULL},
    RATE_FIELDS("rate_connections", 0), RATE_FIELDS("rate_handshakes", 1), RATE_FIELDS("rate_requests", 2),
    RATE_FIELDS("net_connections", 3), RATE_FIELDS("net_handshakes", 4), RATE_FIELDS("net_requests", 5),
    {"bits4", NUMBER, AT(plan_socket, bits4), 0, NULL},
    {"bits6", NUMBER, AT(plan_socket, bits6), 0, NULL},
    {"net4", NUMBER, AT(plan_socket, net4), 0, NULL},
    {"net6", NUMBER, AT(plan_socket, net6), 0, NULL},
    LINE_FIELD("restriction_line", LIMIT_RESTRICTION), LINE_FIELD("max_connections_line", LIMIT_CONNECTIONS),
    LINE_FIELD("max_per_address_line", LIMIT_PER_ADDRESS), LINE_FIELD("reserve_line", LIMIT_RESERVE),
    LINE_FIELD("rate_connections_line", LIMIT_RATE_CONNECTIONS), LINE_FIELD("rate_handshakes_line", LIMIT_RATE_HANDSHAKES),
    LINE_FIELD("rate_requests_line", LIMIT_RATE_REQUESTS), LINE_FIELD("net_connections_line", LIMIT_NET_CONNECTIONS),
    LINE_FIELD("net_handshakes_line", LIMIT_NET_HANDSHAKES), LINE_FIELD("net_requests_line", LIMIT_NET_REQUESTS),
    TEXT_FIELD(plan_socket, "limit_file", limit_file, PLAN_PATH),
    {"backlog", NUMBER, AT(plan_socket, backlog), 0, NULL},
    TEXT_FIELD(plan_socket, "labels", labels, PLAN_LABELS),
    TEXT_FIELD(plan_socket, "backends", backends, PLAN_NAME),
    {"proxy_out", CHOICE, AT(plan_socket, proxy_out), 0, proxies_out},
    BECAUSE_FIELDS(plan_socket),
};
static const struct field cert_fields[] = {
    ARRAY_FIELD(plan_cert, "name", name),         ARRAY_FIELD(plan_cert, "chain", chain), ARRAY_FIELD(plan_cert, "key", key),
    ARRAY_FIELD(plan_cert, "password", password), ARRAY_FIELD(plan_cert, "names", names), BECAUSE_FIELDS(plan_cert),
};
static const struct field backend_fields[] = {
    ARRAY_FIELD(plan_backend, "set", set), ARRAY_FIELD(plan_backend, "sni", sni), ARRAY_FIELD(plan_backend, "to", to), BECAUSE_FIELDS(plan_backend),
};
static const struct field plan_fields[] = {ARRAY_FIELD(plan, "components", components)};
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- out ---- */
static bool put_text(struct buf *out, const char *s) {
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f || c == '%' ? !buf_fmt(out, "%%%02X", c) : !buf_add(out, s, 1)) return false;
    }
    return true;
}

static bool put_address(struct buf *out, const struct addr *a) {
    char text[INET6_ADDRSTRLEN];
    return inet_ntop(a->family == 6 ? AF_INET6 : AF_INET, a->ip, text, sizeof text) && buf_str(out, text);
}

static bool put_number(struct buf *out, uint32_t v) {
    char digits[10];
    size_t n = sizeof digits;
    do digits[--n] = (char)('0' + v % 10);
    while (v /= 10);
    return buf_add(out, digits + n, sizeof digits - n);
}

static bool put_field(struct buf *out, const struct field *f, const char *rec) {
    const char *p = rec + f->at;
    if (!buf_str(out, f->key) || !buf_add(out, " ", 1)) return false;
    bool good = false;
    switch (f->kind) {
    case TEXT:
        good = put_text(out, *(const char *const *)(const void *)p);
        break;
    case ARRAY:
        good = put_text(out, p);
        break;
    case NUMBER:
        good = put_number(out, *(const uint32_t *)(const void *)p);
        break;
    case PORT:
        good = put_number(out, *(const uint16_t *)(const void *)p);
        break;
    case FLAG:
        good = buf_str(out, *(const bool *)(const void *)p ? "1" : "0");
        break;
    case CHOICE:
        good = buf_str(out, f->choices[*(const unsigned *)(const void *)p]);
        break;
    case ADDRESS:
        good = put_address(out, (const struct addr *)(const void *)p);
        break;
    }
    return good && buf_str(out, "\n");
}

static bool put_record(struct buf *out, const char *what, const struct field *f, size_t nf, const void *rec) {
    if (!buf_fmt(out, "[%s]\n", what)) return false;
    for (size_t i = 0; i < nf; i++)
        if (!put_field(out, &f[i], rec)) return false;
    return true;
}

static bool same_field(const struct field *f, const char *a, const char *b) {
    a += f->at;
    b += f->at;
    switch (f->kind) {
    case TEXT: return strcmp(*(const char *const *)(const void *)a, *(const char *const *)(const void *)b) == 0;
    case ARRAY: return strcmp(a, b) == 0;
    case NUMBER: return memcmp(a, b, sizeof(uint32_t)) == 0;
    case PORT: return memcmp(a, b, sizeof(uint16_t)) == 0;
    case FLAG: return memcmp(a, b, sizeof(bool)) == 0;
    case CHOICE: return memcmp(a, b, sizeof(unsigned)) == 0;
    case ADDRESS: return *a == *b && memcmp(((const struct addr *)(const void *)a)->ip, ((const struct addr *)(const void *)b)->ip, 16) == 0;
    }
    return false;
}

/* Is nothing different but address and port? Bytes that no field names may differ and hide that: then the fields are compared. */
static bool alike(const struct plan_socket *a, const struct plan_socket *b) {
    const size_t at = offsetof(struct plan_socket, at), behind = at + sizeof a->at;
    return memcmp(a, b, at) == 0 && memcmp((const char *)a + behind, (const char *)b + behind, sizeof *a - behind) == 0;
}

static bool same_record(const struct field *f, size_t n, const void *a, const void *b) {
    for (size_t i = 0; i < n; i++)
        if (!same_field(&f[i], a, b)) return false;
    return true;
}

bool plan_socket_equal(const struct plan_socket *a, const struct plan_socket *b) {
    return same_record(socket_fields, COUNT(socket_fields), a, b);
}

bool plan_cert_equal(const struct plan_cert *a, const struct plan_cert *b) {
    return same_record(cert_fields, COUNT(cert_fields), a, b);
}

bool plan_backend_equal(const struct plan_backend *a, const struct plan_backend *b) {
    return same_record(backend_fields, COUNT(backend_fields), a, b);
}

static bool is_place(const struct field *f) {
    return f->at >= offsetof(struct plan_socket, at) && f->at < offsetof(struct plan_socket, at) + sizeof(struct addr);
}

struct places { /* the fields that say where a socket is */
    const struct field *field[COUNT(socket_fields)];
    size_t n;
};

/* Of a socket only what differs from the one before it: thousands of them are mostly alike, and are read twice at every reload. */
static bool put_next(struct buf *out, const struct places *places, const struct plan_socket *s) {
    bool place_only = alike(s - 1, s);
    if (!buf_str(out, NEXT "\n")) return false;
    for (size_t i = 0; i < (place_only ? places->n : COUNT(socket_fields)); i++) {
        const struct field *f = place_only ? places->field[i] : &socket_fields[i];
        if (!same_field(f, (const char *)(s - 1), (const char *)s) && !put_field(out, f, (const char *)s)) return false;
    }
    return true;
}

bool plan_encode(const struct plan *p, struct buf *out) {
    struct plan_settings set = p->set;
    struct places places = {.n = 0};
    for (size_t i = 0; i < COUNT(socket_fields); i++)
        if (is_place(&socket_fields[i])) places.field[places.n++] = &socket_fields[i];
    if (!buf_str(out, MAGIC "\n") || !put_record(out, "plan", plan_fields, COUNT(plan_fields), p)) return false;
    if (!buf_str(out, "[settings]\n")) return false;
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++)
        if (!buf_fmt(out, "%s %" PRId64 "\n", d->field, *plan_setting(&set, d->field))) return false;
    for (uint32_t i = 0; i < p->ncerts; i++)
        if (!put_record(out, "certificate", cert_fields, COUNT(cert_fields), &p->cert[i])) return false;
    for (uint32_t i = 0; i < p->nbackends; i++)
        if (!put_record(out, "backend", backend_fields, COUNT(backend_fields), &p->backend[i])) return false;
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (i ? !put_next(out, &places, &p->socket[i]) : !put_record(out, "socket", socket_fields, COUNT(socket_fields), p->socket)) return false;
    return buf_str(out, "[end]\n");
}

/* ---- in ---- */
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
    case TEXT:
        return get_text(r, s, n, (const char **)(void *)p, f->size);
    case ARRAY:
        return get_array(r, s, n, p, f->size);
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
    case CHOICE:
        return get_choice(r, s, n, f->choices, p);
    case ADDRESS:
        return get_address(r, s, n, (struct addr *)(void *)p);
    }
    return false;
}

static bool get_record(struct reader *r, const char *head, const struct field *f, size_t nf, void *rec) {
    if (!expect_line(r, head)) return false;
    for (size_t i = 0; i < nf; i++)
        if (!get_field(r, &f[i], rec)) return false;
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
    for (size_t i = 0; i < COUNT(socket_fields) && r->p < r->end && *r->p != '['; i++) /* no key begins like a head */
        if (begins(r, socket_fields[i].key) && !get_field(r, &socket_fields[i], (char *)s)) return false;
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
        if (!rec || !get_record(r, "[certificate]", cert_fields, COUNT(cert_fields), rec)) return false;
    }
    while (next_is(r, "[backend]")) {
        void *list = out->backend, *rec = more(r, &list, &out->nbackends, PLAN_MAX_BACKENDS, sizeof *out->backend, "backends");
        out->backend = list;
        if (!rec || !get_record(r, "[backend]", backend_fields, COUNT(backend_fields), rec)) return false;
    }
    while (next_is(r, out->nsockets ? NEXT : "[socket]")) {
        void *list = out->socket, *rec = more(r, &list, &out->nsockets, PLAN_MAX_SOCKETS, sizeof *out->socket, "sockets");
        out->socket = list;
        if (!rec) return false;
        if (out->nsockets > 1 ? !get_next(r, rec) : !get_record(r, "[socket]", socket_fields, COUNT(socket_fields), rec)) return false;
    }
    return true;
}

bool plan_decode(const char *text, size_t n, struct plan *out, struct err *e) {
    struct reader r = {.p = text, .end = text + n, .texts = &out->texts, .e = e};
    memset(out, 0, sizeof *out);
    bool good = expect_line(&r, MAGIC) && get_record(&r, "[plan]", plan_fields, COUNT(plan_fields), out) && get_settings(&r, &out->set) &&
                get_lists(&r, out) && expect_line(&r, "[end]");
    if (good && r.p != r.end) good = refuse(&r, "something follows the end");
    if (!good) plan_finish(out);
    return good;
}
