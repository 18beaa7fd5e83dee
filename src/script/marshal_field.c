/* The fields of a socket and of a backend in bind.lua's plan: their names, and how each is read. */
#include "script/marshal_i.h"
#include "script/marshal_limits.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { TEXT, PLACE, ARRAY, INTEGER, PORT, FLAG, CHOICE, ADDRESS, TRANSPORT, SERVICES, BECAUSE, ADDRESSES, RATES, BITS, LINES };
struct field {
    const char *name;
    enum kind kind;
    size_t at, size; /* TEXT and PLACE, of plan.texts: at most, with its NUL; a longer PLACE loses its beginning; ARRAY: bytes of it */
    bool needed;
    const char *const *words; /* CHOICE: names of 0, 1, … */
};

#define SOCKET_TEXT(name, member, most, needed) \
    { name, TEXT, offsetof(struct plan_socket, member), most, needed, NULL }
#define SOCKET_INT(name, member) \
    { name, INTEGER, offsetof(struct plan_socket, member), 0, false, NULL }
#define SOCKET_WORD(name, member, words, needed) \
    { name, CHOICE, offsetof(struct plan_socket, member), 0, needed, words }
static const struct field socket_fields[] = {
    SOCKET_TEXT("name", name, PLAN_NAME, true),
    {"address", ADDRESS, 0, 0, false, NULL},
    {"addresses", ADDRESSES, 0, 0, false, NULL}, /* instead of it: as many sockets, alike in everything else */
    {"port", PORT, 0, 0, true, NULL},
    {"transport", TRANSPORT, 0, 0, false, NULL},
    SOCKET_WORD("scheme", scheme, plan_scheme_words, true),
    {"services", SERVICES, 0, 0, true, NULL},
    {"because", BECAUSE, offsetof(struct plan_socket, because), 0, true, NULL},
    SOCKET_TEXT("certificate", certificate, PLAN_NAME, false),
    {"external", FLAG, offsetof(struct plan_socket, external_tls), 0, false, NULL},
    SOCKET_WORD("proxy", proxy, plan_proxy_words, false),
    {"proxy_inside", FLAG, offsetof(struct plan_socket, proxy_inside), 0, false, NULL},
    SOCKET_TEXT("proxy_from", proxy_from, PLAN_NAME, false),
    SOCKET_WORD("client", client, plan_client_words, false),
    SOCKET_TEXT("client_ca", client_ca, PLAN_PATH, false),
    SOCKET_WORD("restriction", restriction, plan_restriction_words, false),
    SOCKET_TEXT("list", list, PLAN_NAME, false),
    SOCKET_TEXT("script", script, PLAN_NAME, false),
    SOCKET_INT("max_connections", max_connections),
    SOCKET_INT("max_per_address", max_per_address),
    SOCKET_INT("reserve", reserve),
    {"give_way", FLAG, offsetof(struct plan_socket, give_way), 0, false, NULL},
    {"rates", RATES, 0, 0, false, NULL},
    {"bits", BITS, 0, 0, false, NULL},
    {"limit_lines", LINES, 0, 0, false, NULL},
    {"limit_file", PLACE, offsetof(struct plan_socket, limit_file), PLAN_PATH, false, NULL},
    SOCKET_INT("backlog", backlog),
    SOCKET_TEXT("labels", labels, PLAN_LABELS, false),
    SOCKET_WORD("when_missing", when_missing, plan_missing_words, false),
    SOCKET_TEXT("backends", backends, PLAN_NAME, false),
    SOCKET_WORD("proxy_out", proxy_out, plan_proxy_out_words, false),
    {"waiting", FLAG, offsetof(struct plan_socket, waiting), 0, false, NULL},
    {NULL, TEXT, 0, 0, false, NULL},
};
#define BECAUSE_TEXT(member, kind, most) \
    { #member, kind, offsetof(struct plan_because, member), most, false, NULL }
static const struct field because_fields[] = {
    BECAUSE_TEXT(file, PLACE, PLAN_PATH),   {"line", INTEGER, offsetof(struct plan_because, line), 0, false, NULL},
    BECAUSE_TEXT(entry, TEXT, PLAN_NAME),   BECAUSE_TEXT(row, TEXT, PLAN_ROW),
    BECAUSE_TEXT(policy, PLACE, PLAN_PATH), {NULL, TEXT, 0, 0, false, NULL},
};
#define BACKEND_TEXT(member, needed) \
    { #member, ARRAY, offsetof(struct plan_backend, member), sizeof(((struct plan_backend *)0)->member), needed, NULL }
static const struct field backend_fields[] = {
    BACKEND_TEXT(set, true),         BACKEND_TEXT(sni, false),
    BACKEND_TEXT(to, true),          {"because", BECAUSE, offsetof(struct plan_backend, because), 0, true, NULL},
    {NULL, TEXT, 0, 0, false, NULL},
};

const char *marshal_text(lua_State *L, size_t *n) {
    if (lua_type(L, -1) != LUA_TSTRING) return NULL;
    const char *s = lua_tolstring(L, -1, n);
    return strlen(s) == *n ? s : NULL;
}

static bool read_text(struct reader *r, const struct field *f) {
    size_t n;
    const char *s = marshal_text(r->L, &n);
    if (!s) return refuse(r, f->name, "must be a string, it is a %s", lua_typename(r->L, lua_type(r->L, -1)));
    if (n >= f->size && f->kind != PLACE) return refuse(r, f->name, "is longer than %zu bytes", f->size - 1);
    if (n >= f->size) { /* places are for people: the end of a long path tells most */
        s += n - f->size + 1;
        n = f->size - 1;
    }
    if (f->kind == ARRAY) {
        memcpy(r->rec + f->at, s, n + 1);
        return true;
    }
    const char *kept = texts_add(r->texts, s, n);
    *(const char **)(void *)(r->rec + f->at) = kept;
    return kept || err_set(r->e, "out of memory for the texts of a plan");
}

static bool read_integer(struct reader *r, const char *name, int64_t most, int64_t *out) {
    if (!lua_isinteger(r->L, -1)) return refuse(r, name, "must be a whole number, it is a %s", lua_typename(r->L, lua_type(r->L, -1)));
    int64_t v = lua_tointeger(r->L, -1);
    if (v < 0 || v > most) return refuse(r, name, "is %" PRId64 ", not between 0 and %" PRId64, v, most);
    *out = v;
    return true;
}

static bool read_word(struct reader *r, const char *name, const char *const *words, unsigned *out) {
    size_t n;
    const char *s = marshal_text(r->L, &n);
    for (unsigned i = 0; s && words[i]; i++)
        if (strcmp(words[i], s) == 0) {
            *out = i;
            return true;
        }
    return refuse(r, name, "is \"%.40s\", which is none of its words", s ? s : "no string");
}

/* fe80::1%eth7 where there is no eth7: such a socket can wait for its interface. */
static bool read_zone(struct reader *r, const char *s, size_t n, const struct err *why) {
    const char *zone = memchr(s, '%', n);
    size_t len = zone ? n - (size_t)(zone + 1 - s) : 0;
    if (len == 0 || len >= PLAN_ZONE || !addr_parse_ip(s, n - len - 1, &r->s->at, NULL) || !addr_is_link_local(&r->s->at)) return false;
    memcpy(r->s->zone, zone + 1, len + 1);
    snprintf(r->no_zone, sizeof r->no_zone, "%.250s", why->text);
    return true;
}

bool marshal_address(struct reader *r, const char *name) {
    size_t n;
    struct err why = {""};
    const char *s = marshal_text(r->L, &n);
    const struct addr before = r->s->at; /* the order of keys is Lua's: port and transport may have come first */
    if (!s) return refuse(r, name, "must be a string, it is a %s", lua_typename(r->L, lua_type(r->L, -1)));
    if (!addr_parse_ip(s, n, &r->s->at, &why) && !read_zone(r, s, n, &why)) return refuse(r, name, "is no address: %.300s", why.text);
    r->s->at.port = before.port;
    r->s->at.udp = before.udp;
    r->s->v6only = r->s->at.family == 6;
    return true;
}

static bool read_services(struct reader *r, const char *name) {
    lua_State *L = r->L;
    if (!lua_istable(L, -1)) return refuse(r, name, "must be a list, it is a %s", lua_typename(L, lua_type(L, -1)));
    lua_Unsigned n = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        size_t len;
        const char *s = marshal_text(L, &len);
        uint32_t bit = s ? plan_service_bit(s) : 0;
        n++;
        if (!bit || !lua_isinteger(L, -2)) {
            refuse(r, name, "holds \"%.40s\", which is no service", s ? s : "no string");
            lua_pop(L, 2);
            return false;
        }
        r->s->services |= bit;
        lua_pop(L, 1);
    }
    return n == lua_rawlen(L, -1) || refuse(r, name, "must be a list without holes (%d)", (int)n);
}

static bool read_limits(struct reader *r, const char *name, enum marshal_limits_kind kind) {
    const char *bad = "";
    int top = lua_gettop(r->L);
    bool good = marshal_limits(r->L, r->s, kind, &bad);
    if (!good) refuse(r, name, "holds something that is not as it must be: %.60s", bad);
    lua_settop(r->L, top);
    return good;
}

static bool read_table(struct reader *r, const struct field *fields);

static bool read_because(struct reader *r, const struct field *f) {
    if (!lua_istable(r->L, -1)) return refuse(r, f->name, "must be a table, it is a %s", lua_typename(r->L, lua_type(r->L, -1)));
    char *rec = r->rec;
    r->rec += f->at;
    bool good = read_table(r, because_fields);
    r->rec = rec;
    return good;
}

static bool read_field(struct reader *r, const struct field *f) {
    static const char *const transports[] = {"tcp", "udp", NULL};
    int64_t v = 0;
    unsigned word = 0;
    switch (f->kind) {
    case TEXT:
    case PLACE:
    case ARRAY: return read_text(r, f);
    case CHOICE:
        if (!read_word(r, f->name, f->words, &word)) return false;
        memcpy(r->rec + f->at, &word, sizeof word); /* an enum, which is as large */
        return true;
    case INTEGER:
        if (!read_integer(r, f->name, UINT32_MAX, &v)) return false;
        *(uint32_t *)(void *)(r->rec + f->at) = (uint32_t)v;
        return true;
    case PORT:
        if (!read_integer(r, f->name, UINT16_MAX, &v)) return false;
        r->s->at.port = (uint16_t)v;
        return true;
    case FLAG:
        if (!lua_isboolean(r->L, -1))
            return refuse(r, f->name, "must be true or false, it is a %s", lua_typename(r->L, lua_type(r->L, -1)));
        *(bool *)(r->rec + f->at) = lua_toboolean(r->L, -1);
        return true;
    case ADDRESS: return marshal_address(r, f->name);
    case TRANSPORT:
        if (!read_word(r, f->name, transports, &word)) return false;
        r->s->at.udp = word == 1;
        return true;
    case SERVICES: return read_services(r, f->name);
    case ADDRESSES:
        r->several = lua_istable(r->L, -1) && lua_rawlen(r->L, -1) > 0;
        return r->several || refuse(r, f->name, "must be a list of addresses%s", "");
    case RATES: return read_limits(r, f->name, MARSHAL_RATES);
    case BITS: return read_limits(r, f->name, MARSHAL_BITS);
    case LINES: return read_limits(r, f->name, MARSHAL_LINES);
    case BECAUSE: return read_because(r, f);
    }
    return false;
}

/* The table on top by its list of fields. */
static bool read_table(struct reader *r, const struct field *fields) {
    lua_State *L = r->L;
    uint64_t seen = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(not a name)";
        unsigned i = 0;
        while (fields[i].name && strcmp(fields[i].name, key) != 0) i++;
        bool good = fields[i].name ? read_field(r, &fields[i]) : refuse(r, key, "is unknown%s", "");
        if (!good) {
            lua_pop(L, 2);
            return false;
        }
        seen |= 1ull << i;
        lua_pop(L, 1);
    }
    for (unsigned i = 0; fields[i].name; i++)
        if (fields[i].needed && !(seen & 1ull << i)) return refuse(r, fields[i].name, "is missing%s", "");
    return true;
}

bool marshal_socket(struct reader *r) {
    return read_table(r, socket_fields);
}

bool marshal_backend(struct reader *r) {
    return read_table(r, backend_fields);
}
