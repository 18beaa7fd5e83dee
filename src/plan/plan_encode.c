/* The plan as text: plan_fields.c says which fields, plan_decode.c reads it. */
#include "plan/format.h"
#include "plan/plan_code_i.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

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
    case TEXT: good = put_text(out, *(const char *const *)(const void *)p); break;
    case ARRAY: good = put_text(out, p); break;
    case NUMBER: good = put_number(out, *(const uint32_t *)(const void *)p); break;
    case PORT: good = put_number(out, *(const uint16_t *)(const void *)p); break;
    case FLAG: good = buf_str(out, *(const bool *)(const void *)p ? "1" : "0"); break;
    case CHOICE: good = buf_str(out, f->choices[*(const unsigned *)(const void *)p]); break;
    case ADDRESS: good = put_address(out, (const struct addr *)(const void *)p); break;
    }
    return good && buf_str(out, "\n");
}

static bool put_record(struct buf *out, const char *what, const struct fields *f, const void *rec) {
    if (!buf_fmt(out, "[%s]\n", what)) return false;
    for (size_t i = 0; i < f->n; i++)
        if (!put_field(out, &f->of[i], rec)) return false;
    return true;
}

/* Is nothing different but address and port? Bytes that no field names may differ and hide that: then the fields are compared. */
static bool alike(const struct plan_socket *a, const struct plan_socket *b) {
    const size_t at = offsetof(struct plan_socket, at), behind = at + sizeof a->at;
    return memcmp(a, b, at) == 0 && memcmp((const char *)a + behind, (const char *)b + behind, sizeof *a - behind) == 0;
}

static bool is_place(const struct field *f) {
    return f->at >= offsetof(struct plan_socket, at) && f->at < offsetof(struct plan_socket, at) + sizeof(struct addr);
}

struct places { /* the fields that say where a socket is */
    const struct field *field[SOCKET_FIELDS_MOST];
    size_t n;
};

/* Of a socket only what differs from the one before it: thousands of them are mostly alike, and are read twice at every reload. */
static bool put_next(struct buf *out, const struct places *places, const struct plan_socket *s) {
    bool place_only = alike(s - 1, s);
    if (!buf_str(out, NEXT "\n")) return false;
    for (size_t i = 0; i < (place_only ? places->n : plan_socket_fields.n); i++) {
        const struct field *f = place_only ? places->field[i] : &plan_socket_fields.of[i];
        if (!plan_field_same(f, (const char *)(s - 1), (const char *)s) && !put_field(out, f, (const char *)s)) return false;
    }
    return true;
}

bool plan_encode(const struct plan *p, struct buf *out) {
    struct plan_settings set = p->set;
    struct places places = {.n = 0};
    for (size_t i = 0; i < plan_socket_fields.n; i++)
        if (is_place(&plan_socket_fields.of[i])) places.field[places.n++] = &plan_socket_fields.of[i];
    if (!buf_str(out, format_head) || !buf_str(out, "\n") || !put_record(out, "plan", &plan_fields, p)) return false;
    if (!buf_str(out, "[settings]\n")) return false;
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++)
        if (!buf_fmt(out, "%s %" PRId64 "\n", d->field, *plan_setting(&set, d->field))) return false;
    for (uint32_t i = 0; i < p->ncerts; i++)
        if (!put_record(out, "certificate", &plan_cert_fields, &p->cert[i])) return false;
    for (uint32_t i = 0; i < p->nbackends; i++)
        if (!put_record(out, "backend", &plan_backend_fields, &p->backend[i])) return false;
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (i ? !put_next(out, &places, &p->socket[i]) : !put_record(out, "socket", &plan_socket_fields, p->socket)) return false;
    return buf_str(out, "[end]\n");
}
