#include "script/lib_facts.h"
#include <lua5.4/lauxlib.h>

enum fact { F_ADDRESS = 1, F_PORT, F_LOCAL_ADDRESS, F_LOCAL_PORT, F_LISTENER, F_SERVICES, F_RESTRICTION, F_LIST, F_ACTIVE, F_MAXIMUM, F_RESERVE,
            F_FROM_ADDRESS, F_PER_ADDRESS };
static const struct { const char *name; enum fact fact; } facts_fields[] = {
    {"address", F_ADDRESS}, {"port", F_PORT}, {"local_address", F_LOCAL_ADDRESS}, {"local_port", F_LOCAL_PORT}, {"listener", F_LISTENER},
    {"services", F_SERVICES}, {"restriction", F_RESTRICTION}, {"list", F_LIST}, {"active", F_ACTIVE}, {"maximum", F_MAXIMUM},
    {"reserve", F_RESERVE}, {"active_from_address", F_FROM_ADDRESS}, {"per_address", F_PER_ADDRESS}, {NULL, 0}};

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

static int push_fact(lua_State *L, const struct facts *f, enum fact which) {
    const struct plan_socket *s = f->listener;
    char t[128];
    switch (which) {
    case F_ADDRESS: address_push(L, &f->remote); return 1;
    case F_PORT: lua_pushinteger(L, f->remote.port); return 1;
    case F_LOCAL_ADDRESS: address_push_local(L, f->fd); return 1;
    case F_LOCAL_PORT: lua_pushinteger(L, f->local_port); return 1;
    case F_LISTENER: lua_pushstring(L, s->name); return 1;
    case F_SERVICES:
        plan_services_text(s->services, t, sizeof t);
        lua_pushstring(L, t);
        return 1;
    case F_RESTRICTION: lua_pushstring(L, s->restriction == RESTRICT_GRANT ? "grant" : s->restriction == RESTRICT_DENY ? "deny" : "none"); return 1;
    case F_LIST: s->list[0] ? (void)lua_pushstring(L, s->list) : lua_pushnil(L); return 1;
    case F_ACTIVE: lua_pushinteger(L, f->counts.active); return 1;
    case F_MAXIMUM: lua_pushinteger(L, s->max_connections); return 1;
    case F_RESERVE: lua_pushinteger(L, s->reserve); return 1;
    case F_FROM_ADDRESS: lua_pushinteger(L, f->counts.from_address); return 1;
    case F_PER_ADDRESS: lua_pushinteger(L, s->max_per_address); return 1;
    }
    return 0;
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
    if ((only_in && !hit.in) || lists_where(set, hit, where, sizeof where) == 0)
        lua_pushnil(L);
    else
        lua_pushstring(L, where);
    return 1;
}

static int facts_listed(lua_State *L) { /* facts:listed(name) -> "file:line" | nil */
    return push_hit(L, true);
}

static int facts_spoken(lua_State *L) { /* facts:spoken(name) -> "file:line" of the deciding line, in or out | nil */
    return push_hit(L, false);
}

struct facts_box *facts_push_box(lua_State *L) {
    static const luaL_Reg methods[] = {{"listed", facts_listed}, {"spoken", facts_spoken}, {NULL, NULL}};
    struct facts_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    b->facts = NULL;
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
