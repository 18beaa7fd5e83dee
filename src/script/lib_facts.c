#include "script/lib_facts.h"
#include "gate/rule_counts.h"
#include "proto/exchange.h"
#include <lua5.4/lauxlib.h>
#include <string.h>

enum fact {
    F_STAGE = 1,
    F_ADDRESS,
    F_PORT,
    F_LOCAL_ADDRESS,
    F_LOCAL_PORT,
    F_LISTENER,
    F_SERVICES,
    F_RESTRICTION,
    F_LIST,
    F_ACTIVE,
    F_MAXIMUM,
    F_RESERVE,
    F_FROM_ADDRESS,
    F_PER_ADDRESS,
    F_SECURE,
    F_VIA,
    F_LABEL,
    F_NOW,
    F_SNI,
    F_ALPN,
    F_JA4,
    F_TLS,
    F_CIPHER,
    F_CERTIFICATE,
    F_CERT_ISSUER,
    F_CERT_NAMES,
    F_CERT_SHA256,
    F_CERT_SERIAL,
    F_CERT_NOT_AFTER,
    F_CERT_VERIFIED,
    F_CERT_REASON,
    F_METHOD,
    F_PATH,
    F_QUERY,
    F_HOST
};
static const struct {
    const char *name;
    enum fact fact;
    enum stage from;
} facts_fields[] = {{"stage", F_STAGE, STAGE_PEER},
                    {"address", F_ADDRESS, STAGE_PEER},
                    {"port", F_PORT, STAGE_PEER},
                    {"local_address", F_LOCAL_ADDRESS, STAGE_PEER},
                    {"local_port", F_LOCAL_PORT, STAGE_PEER},
                    {"listener", F_LISTENER, STAGE_PEER},
                    {"services", F_SERVICES, STAGE_PEER},
                    {"restriction", F_RESTRICTION, STAGE_PEER},
                    {"list", F_LIST, STAGE_PEER},
                    {"active", F_ACTIVE, STAGE_PEER},
                    {"maximum", F_MAXIMUM, STAGE_PEER},
                    {"reserve", F_RESERVE, STAGE_PEER},
                    {"active_from_address", F_FROM_ADDRESS, STAGE_PEER},
                    {"per_address", F_PER_ADDRESS, STAGE_PEER},
                    {"secure", F_SECURE, STAGE_PEER},
                    {"via", F_VIA, STAGE_PEER},
                    {"label", F_LABEL, STAGE_PEER},
                    {"now", F_NOW, STAGE_PEER},
                    {"sni", F_SNI, STAGE_HELLO},
                    {"alpn", F_ALPN, STAGE_HELLO},
                    {"ja4", F_JA4, STAGE_HELLO},
                    {"tls", F_TLS, STAGE_IDENTITY},
                    {"cipher", F_CIPHER, STAGE_IDENTITY},
                    {"certificate", F_CERTIFICATE, STAGE_IDENTITY},
                    {"certificate_issuer", F_CERT_ISSUER, STAGE_IDENTITY},
                    {"certificate_names", F_CERT_NAMES, STAGE_IDENTITY},
                    {"certificate_sha256", F_CERT_SHA256, STAGE_IDENTITY},
                    {"certificate_serial", F_CERT_SERIAL, STAGE_IDENTITY},
                    {"certificate_not_after", F_CERT_NOT_AFTER, STAGE_IDENTITY},
                    {"certificate_verified", F_CERT_VERIFIED, STAGE_IDENTITY},
                    {"certificate_reason", F_CERT_REASON, STAGE_IDENTITY},
                    {"method", F_METHOD, STAGE_REQUEST},
                    {"path", F_PATH, STAGE_REQUEST},
                    {"query", F_QUERY, STAGE_REQUEST},
                    {"host", F_HOST, STAGE_REQUEST},
                    {NULL, 0, 0}};

/* There is one box a state; it is the last upvalue of every function here, so that a method needs no look into metatables to know its argument. */
static const struct facts *facts_of(lua_State *L, const struct facts_box *b) {
    if (!b->facts) luaL_error(L, "these facts belong to a connection that has already been judged");
    return b->facts;
}

static const struct facts *facts_check(lua_State *L) {
    const struct facts_box *b = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_touserdata(L, 1) != b) luaL_typeerror(L, 1, "facts");
    return facts_of(L, b);
}

void address_push(lua_State *L, const struct addr *a) {
    char t[ADDR_TEXT];
    size_t n = addr_format_ip(a, t);
    lua_pushlstring(L, t, n);
}

void address_push_local(lua_State *L, int fd) {
    struct sockaddr_storage sa;
    socklen_t n = sizeof sa;
    struct addr a = {0};
    if (getsockname(fd, (struct sockaddr *)&sa, &n) == 0) addr_from_sockaddr((struct sockaddr *)&sa, &a);
    address_push(L, &a);
}

static int push_text(lua_State *L, const char *s) { /* "" = nil: there is none */
    if (s && *s) lua_pushstring(L, s);
    else lua_pushnil(L);
    return 1;
}

static int push_slice(lua_State *L, struct slice s) {
    s.p ? (void)lua_pushlstring(L, s.p, s.n) : lua_pushnil(L);
    return 1;
}

/* { KEY = "value", … } of "KEY=value\n…" */
static int push_labels(lua_State *L, const char *s) {
    lua_newtable(L);
    while (*s) {
        size_t n = strcspn(s, "\n"), k = strcspn(s, "=");
        lua_pushlstring(L, s, k < n ? k : n);
        lua_pushlstring(L, s + (k < n ? k + 1 : n), k < n ? n - k - 1 : 0);
        lua_rawset(L, -3);
        s += n + (s[n] == '\n');
    }
    return 1;
}

static int push_peer_fact(lua_State *L, const struct facts *f, enum fact which) {
    const struct plan_socket *s = f->listener;
    char t[128];
    switch (which) {
    case F_STAGE: lua_pushstring(L, stage_name(f->stage)); return 1;
    case F_ADDRESS: address_push(L, &f->remote); return 1;
    case F_PORT: lua_pushinteger(L, f->remote.port); return 1;
    case F_LOCAL_ADDRESS: f->fd < 0 ? address_push(L, &s->at) : address_push_local(L, f->fd); return 1;
    case F_LOCAL_PORT: lua_pushinteger(L, f->local_port); return 1;
    case F_LISTENER: lua_pushstring(L, s->name); return 1;
    case F_SERVICES: plan_services_text(s->services, t, sizeof t); return push_text(L, t);
    case F_RESTRICTION: lua_pushstring(L, plan_restriction_words[s->restriction]); return 1;
    case F_LIST: return push_text(L, s->list);
    case F_ACTIVE: lua_pushinteger(L, f->counts.active); return 1;
    case F_MAXIMUM: lua_pushinteger(L, s->max_connections); return 1;
    case F_RESERVE: lua_pushinteger(L, s->reserve); return 1;
    case F_FROM_ADDRESS: lua_pushinteger(L, f->counts.from_address); return 1;
    case F_PER_ADDRESS: lua_pushinteger(L, s->max_per_address); return 1;
    case F_SECURE: lua_pushstring(L, s->scheme == SCHEME_HTTPS ? "own" : s->external_tls && !f->clear ? "external" : "none"); return 1;
    case F_VIA: f->via ? address_push(L, f->via) : lua_pushnil(L); return 1;
    case F_LABEL: return push_labels(L, s->labels);
    case F_NOW: lua_pushinteger(L, f->real_ms); return 1;
    default: return 0;
    }
}

static int push_tls_fact(lua_State *L, const struct tls_hello *h, const struct tls_identity *i, enum fact which) {
    switch (which) {
    case F_SNI: return push_text(L, h ? h->sni : "");
    case F_ALPN: return push_text(L, h ? h->alpn : "");
    case F_JA4: return push_text(L, h ? h->ja4 : "");
    case F_TLS: return push_text(L, i ? i->version : "");
    case F_CIPHER: return push_text(L, i ? i->cipher : "");
    case F_CERTIFICATE: return push_text(L, i && i->shown ? i->subject : "");
    case F_CERT_ISSUER: return push_text(L, i && i->shown ? i->issuer : "");
    case F_CERT_NAMES: return push_text(L, i && i->shown ? i->names : "");
    case F_CERT_SHA256: return push_text(L, i && i->shown ? i->sha256 : "");
    case F_CERT_SERIAL: return push_text(L, i && i->shown ? i->serial : "");
    case F_CERT_NOT_AFTER: i && i->shown && i->not_after_ms ? lua_pushinteger(L, i->not_after_ms) : lua_pushnil(L); return 1;
    case F_CERT_REASON: return push_text(L, i && i->shown ? i->reason : "");
    case F_CERT_VERIFIED: lua_pushboolean(L, i && i->shown && i->verified); return 1;
    default: return 0;
    }
}

static int push_request_fact(lua_State *L, const struct request *r, enum fact which) {
    switch (which) {
    case F_METHOD: return push_slice(L, r->method_text);
    case F_PATH: return push_slice(L, r->path);
    case F_QUERY: return push_slice(L, r->query);
    case F_HOST: return push_slice(L, r->host);
    default: return 0;
    }
}

/* Of a decision of yesterday there is no more than its record. */
static void note_unknown(const struct facts *f, enum fact which, enum stage from) {
    bool on_record = from == STAGE_PEER ? which != F_VIA : which == F_SNI;
    if (which == F_LOCAL_ADDRESS) on_record = !addr_is_any(&f->listener->at);
    if (which == F_SECURE) on_record = !f->listener->external_tls || f->listener->proxy == PROXY_OFF;
    if (!on_record) *f->unknown = true;
}

static void ask_unknown(const struct facts *f) {
    if (f->unknown) *f->unknown = true;
}

static int push_fact(lua_State *L, const struct facts *f, enum fact which) {
    const char *name = facts_fields[which - 1].name;
    enum stage from = facts_fields[which - 1].from;
    if (f->stage < from)
        return luaL_error(L, "facts.%s is not known at stage %s: it comes at stage %s", name, stage_name(f->stage), stage_name(from));
    if (f->unknown) note_unknown(f, which, from);
    if (from == STAGE_PEER) return push_peer_fact(L, f, which);
    if (from == STAGE_REQUEST) return push_request_fact(L, &f->request->req, which);
    return push_tls_fact(L, f->hello, f->identity, which);
}

/* facts.NAME that is no method (those Lua finds itself). An unknown name is an error, so that a typo in a policy cannot quietly read as nil. */
static int facts_field(lua_State *L) {
    const struct facts *f = facts_of(L, lua_touserdata(L, lua_upvalueindex(2)));
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_type(L, -1) == LUA_TNUMBER) return push_fact(L, f, (enum fact)lua_tointeger(L, -1));
    return luaL_error(L, "facts has no field '%s'", luaL_tolstring(L, 2, NULL));
}

static int push_hit(lua_State *L, bool only_in) {
    const struct facts *f = facts_check(L);
    const char *name = luaL_checkstring(L, 2);
    const struct pset *set = lists_find(f->lists, name);
    if (!set) {
        if (only_in) return luaL_error(L, "there is no address list '%s'", name);
        lua_pushnil(L);
        return 1;
    }
    struct pset_hit hit = only_in ? facts_ask(f, set) : pset_find(set, &f->remote); /* `spoken` only tells which line it was */
    char where[320];
    if ((only_in && !hit.in) || lists_where(set, hit, where, sizeof where) == 0) lua_pushnil(L);
    else lua_pushstring(L, where);
    return 1;
}

static int facts_listed(lua_State *L) { /* facts:listed(name) -> "file:line" | nil */
    return push_hit(L, true);
}

static int facts_spoken(lua_State *L) { /* facts:spoken(name) -> "file:line" of the deciding line, in or out | nil */
    return push_hit(L, false);
}

static int facts_tagged(lua_State *L) { /* facts:tagged(name) -> boolean: has a rule before this one, or a stage, given this tag */
    const struct facts *f = facts_check(L);
    const struct facts_box *b = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = luaL_checkstring(L, 2);
    lua_pushboolean(L, tags_have(f->tags, name) || tags_have(b->given, name));
    return 1;
}

static int facts_header(lua_State *L) { /* facts:header(name[, name …]) -> the first of these header fields that is there | nil */
    const struct facts *f = facts_check(L);
    if (f->stage < STAGE_REQUEST)
        return luaL_error(L, "facts:header is not known at stage %s: it comes at stage request", stage_name(f->stage));
    ask_unknown(f);
    for (int i = 2, last = lua_gettop(L); i <= last; i++) {
        const struct field *one = request_field_named(L, &f->request->req, i);
        if (!one) continue;
        lua_pushlstring(L, one->value.p, one->value.n);
        return 1;
    }
    lua_pushnil(L);
    return 1;
}

static int push_because(lua_State *L, bool there, const char *text) {
    there ? (void)lua_pushstring(L, text) : lua_pushnil(L);
    return 1;
}

static int facts_banned(lua_State *L) { /* facts:banned() -> which ban, and why | nil */
    const struct facts *f = facts_check(L);
    if (!f->bans) ask_unknown(f);
    const struct ban *b = facts_ban(f);
    char text[320];
    if (b) bans_because(b, text, sizeof text);
    return push_because(L, b != NULL, text);
}

static int facts_rate(
    lua_State *
        L) { /* facts:over_rate("connections" | "handshakes" | "requests") -> why it comes too often, of which entry | nil, and one is taken */
    static const char *const kinds[] = {"connections", "handshakes", "requests", NULL};
    const struct facts *f = facts_check(L);
    char text[400];
    ask_unknown(f);
    enum plan_limit over = facts_over_rate(f, (enum rate_kind)luaL_checkoption(L, 2, NULL, kinds), text, sizeof text);
    push_because(L, over != LIMIT_NONE, text);
    return over == LIMIT_NONE ? 1 : 1 + push_because(L, true, plan_limit_name(over));
}

static int facts_limit_at(lua_State *L) { /* facts:limit_at("MaxPerAddress") -> " (conf/listeners.ini:12)" | "" */
    const struct facts *f = facts_check(L);
    enum plan_limit which = plan_limit_of(luaL_checkstring(L, 2));
    char text[PLAN_PATH + 24] = "";
    if (which != LIMIT_NONE) plan_limit_at(f->listener, which, text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

struct facts_box *facts_push_box(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"listed", facts_listed}, {"spoken", facts_spoken},  {"tagged", facts_tagged},     {"header", facts_header},
        {"banned", facts_banned}, {"over_rate", facts_rate}, {"limit_at", facts_limit_at}, {NULL, NULL}};
    struct facts_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (struct facts_box){0};
    lua_createtable(L, 0, 2); /* metatable of facts */
    luaL_newlibtable(L, methods);
    lua_pushlightuserdata(L, b);
    luaL_setfuncs(L, methods, 1);
    lua_createtable(L, 0, 1); /* metatable of the methods: the fields */
    lua_newtable(L);
    for (unsigned i = 0; facts_fields[i].name; i++) {
        lua_pushinteger(L, facts_fields[i].fact);
        lua_setfield(L, -2, facts_fields[i].name);
    }
    lua_pushlightuserdata(L, b);
    lua_pushcclosure(L, facts_field, 2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "facts");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    return b;
}
