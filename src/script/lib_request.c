#include "plan/plan.h"
#include "script/lib_facts.h"
#include <lua5.4/lauxlib.h>

enum part {
    P_METHOD = 1,
    P_PATH,
    P_QUERY,
    P_HOST,
    P_ADDRESS,
    P_LOCAL_ADDRESS,
    P_LISTENER,
    P_SECURE,
    P_NOW,
    P_BODY,
    P_CERTIFICATE,
    P_CERT_NAMES,
    P_CERT_SHA256
};
static const struct {
    const char *name;
    enum part part;
} request_parts[] = {{"method", P_METHOD},
                     {"path", P_PATH},
                     {"query", P_QUERY},
                     {"host", P_HOST},
                     {"address", P_ADDRESS},
                     {"local_address", P_LOCAL_ADDRESS},
                     {"listener", P_LISTENER},
                     {"secure", P_SECURE},
                     {"now", P_NOW},
                     {"body", P_BODY},
                     {"certificate", P_CERTIFICATE},
                     {"certificate_names", P_CERT_NAMES},
                     {"certificate_sha256", P_CERT_SHA256},
                     {NULL, 0}};

/* There is one box a state (its vm's owner), so that a method needs no look into metatables to know its argument. */
static struct request_box *box_check(lua_State *L, int index) {
    struct request_box *b = vm_owner(vm_of(L));
    if (!b || lua_touserdata(L, index) != b) luaL_typeerror(L, index, "req");
    if (!b->exchange) luaL_error(L, "this request has already been answered");
    return b;
}

struct exchange *request_check(lua_State *L, int index) {
    return box_check(L, index)->exchange;
}

static void push_slice(lua_State *L, struct slice s) {
    if (s.p) lua_pushlstring(L, s.p, s.n);
    else lua_pushnil(L);
}

/* nil where no certificate has been verified: who routes by it must not see one that anybody could have made. */
static int push_certificate(lua_State *L, const char *text) {
    if (text && *text) lua_pushstring(L, text);
    else lua_pushnil(L);
    return 1;
}

static int push_part(lua_State *L, const struct exchange *x, enum part which) {
    static const char *const secure[] = {"none", "own", "external"};
    const struct tls_identity *i = x->peer->identity;
    switch (which) {
    case P_METHOD: push_slice(L, x->req.method_text); return 1;
    case P_PATH: push_slice(L, x->req.path); return 1;
    case P_QUERY: push_slice(L, x->req.query); return 1;
    case P_HOST: push_slice(L, x->req.host); return 1;
    case P_ADDRESS: address_push(L, &x->peer->remote); return 1;
    case P_LOCAL_ADDRESS: address_push_local(L, x->peer->fd); return 1;
    case P_LISTENER: lua_pushstring(L, x->peer->listener); return 1;
    case P_SECURE: lua_pushstring(L, secure[x->peer->secure]); return 1;
    case P_NOW: lua_pushinteger(L, x->at_ms); return 1;
    case P_BODY: lua_pushlstring(L, x->req.body.p ? x->req.body.p : "", x->req.body.n); return 1;
    case P_CERTIFICATE: return push_certificate(L, i ? i->subject : NULL);
    case P_CERT_NAMES: return push_certificate(L, i ? i->names : NULL);
    case P_CERT_SHA256: return push_certificate(L, i ? i->sha256 : NULL);
    }
    return 0;
}

/* req.NAME that is no method: methods are found by Lua itself in the table whose fallback this is. */
static int request_part(lua_State *L) {
    struct request_box *b = vm_owner(vm_of(L));
    if (!b || !b->exchange) return luaL_error(L, "this request has already been answered");
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_type(L, -1) == LUA_TNUMBER) return push_part(L, b->exchange, (enum part)lua_tointeger(L, -1));
    return luaL_error(L, "req has no field '%s'", luaL_tolstring(L, 2, NULL));
}

const struct field *request_field_named(lua_State *L, const struct request *r, int index) {
    size_t n;
    const char *name = luaL_checklstring(L, index, &n);
    char lower[64];
    if (n >= sizeof lower) luaL_error(L, "no header field has a name of %d bytes", (int)n);
    for (size_t i = 0; i <= n; i++) lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 32 : name[i]);
    return request_field(r, lower);
}

/* req:header("sec-purpose"[, "purpose" …]) -> value of the first of these fields that is there | nil */
static int request_header(lua_State *L) {
    struct request_box *b = box_check(L, 1);
    int last = lua_gettop(L);
    luaL_checkstring(L, 2);
    for (int i = 2; i <= last; i++) {
        const struct field *f = request_field_named(L, &b->exchange->req, i);
        if (!f) continue;
        lua_pushlstring(L, f->value.p, f->value.n);
        return 1;
    }
    lua_pushnil(L);
    return 1;
}

static int request_starts(lua_State *L) { /* req:starts("/trk/") -> boolean; the path, raw */
    struct request_box *b = box_check(L, 1);
    size_t n;
    const char *prefix = luaL_checklstring(L, 2, &n);
    struct slice path = b->exchange->req.path;
    lua_pushboolean(L, path.n >= n && memcmp(path.p, prefix, n) == 0);
    return 1;
}

/* req:fits(prefix, service) -> boolean: starts and offers in one call, for routing tables */
static int request_fits(lua_State *L) {
    struct request_box *b = box_check(L, 1);
    size_t n;
    const char *prefix = luaL_checklstring(L, 2, &n);
    struct slice path = b->exchange->req.path;
    if (path.n < n || memcmp(path.p, prefix, n) != 0) {
        lua_pushboolean(L, false);
        return 1;
    }
    uint32_t bit = plan_service_bit(luaL_checkstring(L, 3));
    if (!bit) return luaL_error(L, "there is no service '%s'", lua_tostring(L, 3));
    lua_pushboolean(L, (b->exchange->peer->services & bit) != 0);
    return 1;
}

static int request_offers(lua_State *L) { /* req:offers("tracker") -> boolean: does this socket carry the service */
    struct request_box *b = box_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    uint32_t bit = plan_service_bit(name);
    if (!bit) return luaL_error(L, "there is no service '%s'", name);
    lua_pushboolean(L, (b->exchange->peer->services & bit) != 0);
    return 1;
}

static int request_listed(lua_State *L) { /* req:listed("admin") -> "file:line" | nil */
    struct request_box *b = box_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const struct pset *set = lists_find(b->lists, name);
    if (!set) return luaL_error(L, "there is no address list '%s'", name);
    struct pset_hit hit = pset_find(set, &b->exchange->peer->remote);
    if (hit.line) lists_count(b->lists, set, hit);
    char where[320];
    if (!hit.in || lists_where(set, hit, where, sizeof where) == 0) lua_pushnil(L);
    else lua_pushstring(L, where);
    return 1;
}

static int request_tagged(lua_State *L) { /* req:tagged("office") -> boolean: has admission given the connection this tag */
    struct request_box *b = box_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    lua_pushboolean(L, tags_have(b->exchange->peer->tags, name));
    return 1;
}

struct request_box *request_push_box(lua_State *L) {
    static const luaL_Reg methods[] = {{"tagged", request_tagged},
                                       {"header", request_header},
                                       {"starts", request_starts},
                                       {"offers", request_offers},
                                       {"fits", request_fits},
                                       {"listed", request_listed},
                                       {NULL, NULL}};
    struct request_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (struct request_box){0};
    vm_set_owner(vm_of(L), b);
    lua_createtable(L, 0, 2); /* metatable of req */
    luaL_newlib(L, methods);
    lua_createtable(L, 0, 1); /* metatable of the methods: parts of the request */
    lua_newtable(L);
    for (unsigned i = 0; request_parts[i].name; i++) {
        lua_pushinteger(L, request_parts[i].part);
        lua_setfield(L, -2, request_parts[i].name);
    }
    lua_pushcclosure(L, request_part, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "req");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    return b;
}

int lib_request(lua_State *L) {
    lua_newtable(L);
    return 1;
}
