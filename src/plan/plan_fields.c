/* One table names every field of a record of the plan's text, so that what is written, what is demanded and what is compared cannot differ. */
#include "plan/plan_code_i.h"
#include <stddef.h>
#include <string.h>

#define AT(rec, member) offsetof(struct rec, member)
#define ARRAY_FIELD(rec, key, member) \
    { key, ARRAY, AT(rec, member), sizeof(((struct rec *)0)->member), NULL }
#define TEXT_FIELD(rec, key, member, most) \
    { key, TEXT, AT(rec, member), most, NULL }
#define BECAUSE_FIELDS(rec)                                                                                \
    TEXT_FIELD(rec, "file", because.file, PLAN_PATH), {"line", NUMBER, AT(rec, because.line), 0, NULL},    \
        TEXT_FIELD(rec, "entry", because.entry, PLAN_NAME), TEXT_FIELD(rec, "row", because.row, PLAN_ROW), \
        TEXT_FIELD(rec, "policy", because.policy, PLAN_PATH)

#define RATE_FIELDS(key, i)                                     \
    {key "_n", NUMBER, AT(plan_socket, rate[i].n), 0, NULL}, {  \
        key "_ms", NUMBER, AT(plan_socket, rate[i].ms), 0, NULL \
    }
#define LINE_FIELD(key, which) \
    { key, NUMBER, AT(plan_socket, limit_line[which]), 0, NULL }

static const struct field socket_field[] = {
    TEXT_FIELD(plan_socket, "name", name, PLAN_NAME),
    {"address", ADDRESS, AT(plan_socket, at), 0, NULL},
    {"scope", NUMBER, AT(plan_socket, at.scope), 0, NULL},
    {"udp", FLAG, AT(plan_socket, at.udp), 0, NULL},
    {"port", PORT, AT(plan_socket, at.port), 0, NULL},
    {"when_missing", CHOICE, AT(plan_socket, when_missing), 0, plan_missing_words},
    {"waiting", FLAG, AT(plan_socket, waiting), 0, NULL},
    ARRAY_FIELD(plan_socket, "zone", zone),
    {"v6only", FLAG, AT(plan_socket, v6only), 0, NULL},
    {"scheme", CHOICE, AT(plan_socket, scheme), 0, plan_scheme_words},
    {"external_tls", FLAG, AT(plan_socket, external_tls), 0, NULL},
    {"proxy", CHOICE, AT(plan_socket, proxy), 0, plan_proxy_words},
    {"proxy_inside", FLAG, AT(plan_socket, proxy_inside), 0, NULL},
    TEXT_FIELD(plan_socket, "proxy_from", proxy_from, PLAN_NAME),
    {"services", NUMBER, AT(plan_socket, services), 0, NULL},
    TEXT_FIELD(plan_socket, "certificate", certificate, PLAN_NAME),
    {"client", CHOICE, AT(plan_socket, client), 0, plan_client_words},
    TEXT_FIELD(plan_socket, "client_ca", client_ca, PLAN_PATH),
    {"restriction", CHOICE, AT(plan_socket, restriction), 0, plan_restriction_words},
    TEXT_FIELD(plan_socket, "list", list, PLAN_NAME),
    TEXT_FIELD(plan_socket, "script", script, PLAN_NAME),
    {"max_connections", NUMBER, AT(plan_socket, max_connections), 0, NULL},
    {"max_per_address", NUMBER, AT(plan_socket, max_per_address), 0, NULL},
    {"reserve", NUMBER, AT(plan_socket, reserve), 0, NULL},
    {"give_way", FLAG, AT(plan_socket, give_way), 0, NULL},
    RATE_FIELDS("rate_connections", 0),
    RATE_FIELDS("rate_handshakes", 1),
    RATE_FIELDS("rate_requests", 2),
    RATE_FIELDS("net_connections", 3),
    RATE_FIELDS("net_handshakes", 4),
    RATE_FIELDS("net_requests", 5),
    {"bits4", NUMBER, AT(plan_socket, bits4), 0, NULL},
    {"bits6", NUMBER, AT(plan_socket, bits6), 0, NULL},
    {"net4", NUMBER, AT(plan_socket, net4), 0, NULL},
    {"net6", NUMBER, AT(plan_socket, net6), 0, NULL},
    LINE_FIELD("list_line", LIMIT_LIST),
    LINE_FIELD("max_connections_line", LIMIT_CONNECTIONS),
    LINE_FIELD("max_per_address_line", LIMIT_PER_ADDRESS),
    LINE_FIELD("reserve_line", LIMIT_RESERVE),
    LINE_FIELD("rate_connections_line", LIMIT_RATE_CONNECTIONS),
    LINE_FIELD("rate_handshakes_line", LIMIT_RATE_HANDSHAKES),
    LINE_FIELD("rate_requests_line", LIMIT_RATE_REQUESTS),
    LINE_FIELD("net_connections_line", LIMIT_NET_CONNECTIONS),
    LINE_FIELD("net_handshakes_line", LIMIT_NET_HANDSHAKES),
    LINE_FIELD("net_requests_line", LIMIT_NET_REQUESTS),
    LINE_FIELD("proxy_line", LIMIT_PROXY),
    LINE_FIELD("proxy_from_line", LIMIT_PROXY_FROM),
    LINE_FIELD("client_line", LIMIT_CLIENT),
    LINE_FIELD("client_ca_line", LIMIT_CLIENT_CA),
    TEXT_FIELD(plan_socket, "limit_file", limit_file, PLAN_PATH),
    {"backlog", NUMBER, AT(plan_socket, backlog), 0, NULL},
    TEXT_FIELD(plan_socket, "labels", labels, PLAN_LABELS),
    TEXT_FIELD(plan_socket, "backends", backends, PLAN_NAME),
    {"proxy_out", CHOICE, AT(plan_socket, proxy_out), 0, plan_proxy_out_words},
    BECAUSE_FIELDS(plan_socket),
};
static const struct field cert_field[] = {
    ARRAY_FIELD(plan_cert, "name", name),         ARRAY_FIELD(plan_cert, "chain", chain), ARRAY_FIELD(plan_cert, "key", key),
    ARRAY_FIELD(plan_cert, "password", password), ARRAY_FIELD(plan_cert, "names", names), BECAUSE_FIELDS(plan_cert),
};
static const struct field backend_field[] = {
    ARRAY_FIELD(plan_backend, "set", set),
    ARRAY_FIELD(plan_backend, "sni", sni),
    ARRAY_FIELD(plan_backend, "to", to),
    BECAUSE_FIELDS(plan_backend),
};
static const struct field plan_field[] = {ARRAY_FIELD(plan, "components", components)};

#define FIELDS(a) \
    { a, sizeof(a) / sizeof *(a) }
_Static_assert(sizeof socket_field / sizeof *socket_field <= SOCKET_FIELDS_MOST, "more fields than plan_encode has room for");
const struct fields plan_socket_fields = FIELDS(socket_field), plan_cert_fields = FIELDS(cert_field),
                    plan_backend_fields = FIELDS(backend_field), plan_fields = FIELDS(plan_field);

bool plan_field_same(const struct field *f, const char *a, const char *b) {
    a += f->at;
    b += f->at;
    switch (f->kind) {
    case TEXT: return strcmp(*(const char *const *)(const void *)a, *(const char *const *)(const void *)b) == 0;
    case ARRAY: return strcmp(a, b) == 0;
    case NUMBER: return memcmp(a, b, sizeof(uint32_t)) == 0;
    case PORT: return memcmp(a, b, sizeof(uint16_t)) == 0;
    case FLAG: return memcmp(a, b, sizeof(bool)) == 0;
    case CHOICE: return memcmp(a, b, sizeof(unsigned)) == 0;
    case ADDRESS:
        return *a == *b && memcmp(((const struct addr *)(const void *)a)->ip, ((const struct addr *)(const void *)b)->ip, 16) == 0;
    }
    return false;
}

static bool same_record(const struct fields *f, const void *a, const void *b) {
    for (size_t i = 0; i < f->n; i++)
        if (!plan_field_same(&f->of[i], a, b)) return false;
    return true;
}

bool plan_socket_equal(const struct plan_socket *a, const struct plan_socket *b) {
    return same_record(&plan_socket_fields, a, b);
}

bool plan_cert_equal(const struct plan_cert *a, const struct plan_cert *b) {
    return same_record(&plan_cert_fields, a, b);
}

bool plan_backend_equal(const struct plan_backend *a, const struct plan_backend *b) {
    return same_record(&plan_backend_fields, a, b);
}
