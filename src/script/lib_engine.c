#include "script/lib_engine_i.h"
#include <lua5.4/lauxlib.h>
#include <string.h>

static const char api_key = 0;

void lib_engine_set(lua_State *L, const struct engine_api *api) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)api);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &api_key);
}

const struct engine_api *lib_engine_api(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &api_key);
    const struct engine_api *api = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!api) luaL_error(L, "no engine runs here");
    return api;
}

/* The text is decoded by cjson (upvalue 1); C memory is freed before anything may raise. */
int lib_engine_decoded(lua_State *L, bool fine, struct buf *b) {
    if (!fine) {
        buf_free(b);
        return luaL_error(L, "the engine could not answer");
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushlstring(L, b->p ? b->p : "null", b->p ? b->n : 4);
    buf_free(b);
    lua_call(L, 1, 1);
    return 1;
}

static int engine_status(lua_State *L) {
    const struct engine_api *a = lib_engine_api(L);
    struct buf b = {0};
    return lib_engine_decoded(L, a->status(a->ctx, &b), &b);
}

static int engine_plan(lua_State *L) {
    const struct engine_api *a = lib_engine_api(L);
    struct buf b = {0};
    return lib_engine_decoded(L, a->plan(a->ctx, &b), &b);
}

static int engine_stats(lua_State *L) {
    const struct engine_api *a = lib_engine_api(L);
    struct buf b = {0};
    return lib_engine_decoded(L, a->stats(a->ctx, &b), &b);
}

static unsigned limit_arg(lua_State *L) {
    lua_Integer n = luaL_optinteger(L, 1, 1000);
    return n < 1 ? 1 : n > 4096 ? 4096 : (unsigned)n;
}

static int engine_connections(lua_State *L) { /* connections([limit]) -> array */
    const struct engine_api *a = lib_engine_api(L);
    unsigned limit = limit_arg(L);
    struct buf b = {0};
    return lib_engine_decoded(L, a->connections(a->ctx, limit, &b), &b);
}

static const char *query_text(lua_State *L, const char *name) {
    int type = lua_getfield(L, 1, name);
    if (type != LUA_TNIL && type != LUA_TSTRING) luaL_error(L, "%s is a text, not a %s", name, lua_typename(L, type));
    const char *s = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table holds it */
    return s;
}

static lua_Integer query_number(lua_State *L, const char *name, lua_Integer otherwise) {
    lua_getfield(L, 1, name);
    lua_Integer n = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return n;
}

/* decisions{ address = "IP[/BITS]", from_ms =, to_ms =, listener =, reason =, stage =, verdict =, refused = boolean, limit = 1000 }
 * -> { room =, oldest_ms =, list = { newest first } } */
static int engine_decisions(lua_State *L) {
    const struct engine_api *a = lib_engine_api(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    struct decision_query q = {.from_ms = query_number(L, "from_ms", 0),
                               .to_ms = query_number(L, "to_ms", 0),
                               .listener = query_text(L, "listener"),
                               .reason = query_text(L, "reason"),
                               .stage = query_text(L, "stage"),
                               .verdict = query_text(L, "verdict")};
    const char *net = query_text(L, "address");
    lua_Integer limit = query_number(L, "limit", 1000);
    struct err e;
    q.limit = limit < 1 ? 1 : limit > 20000 ? 20000 : (unsigned)limit;
    lua_getfield(L, 1, "refused");
    q.refused = lua_toboolean(L, -1);
    if (net && !decision_query_net(&q, net, &e)) return luaL_error(L, "%s", e.text);
    struct buf b = {0};
    return lib_engine_decoded(L, a->decisions(a->ctx, &q, &b), &b);
}

static int engine_lists(lua_State *L) { /* lists([name]) -> array, or what there is to say of one, or nil */
    const struct engine_api *a = lib_engine_api(L);
    const char *name = luaL_optstring(L, 1, "");
    struct buf b = {0};
    return lib_engine_decoded(L, a->lists(a->ctx, name, &b), &b);
}

static int engine_rules(lua_State *L) { /* rules() -> array: the rules of admission in the order they are asked */
    const struct engine_api *a = lib_engine_api(L);
    struct buf b = {0};
    return lib_engine_decoded(L, a->rules(a->ctx, &b), &b);
}

static int engine_logs(lua_State *L) { /* logs([limit]) -> array, newest first */
    const struct engine_api *a = lib_engine_api(L);
    unsigned limit = limit_arg(L);
    struct buf b = {0};
    return lib_engine_decoded(L, a->logs(a->ctx, limit, &b), &b);
}

/* would{ address =, listener =, local_address =, port =, sni =, alpn =, ja4 =, certificate =, certificate_issuer =, certificate_names =, method =, path =, host =, at_ms = } -> what lua/portreeve/would.lua reads */
static int engine_would(lua_State *L) {
    const struct engine_api *a = lib_engine_api(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer port = query_number(L, "port", 0);
    struct question q = {.address = query_text(L, "address"),
                         .listener = query_text(L, "listener"),
                         .port = port > 0 && port < 65536 ? (uint16_t)port : 0,
                         .local = query_text(L, "local_address"),
                         .sni = query_text(L, "sni"),
                         .alpn = query_text(L, "alpn"),
                         .ja4 = query_text(L, "ja4"),
                         .certificate = query_text(L, "certificate"),
                         .certificate_issuer = query_text(L, "certificate_issuer"),
                         .certificate_names = query_text(L, "certificate_names"),
                         .method = query_text(L, "method"),
                         .path = query_text(L, "path"),
                         .host = query_text(L, "host"),
                         .at_ms = query_number(L, "at_ms", 0)};
    if (port < 0 || port > 65535) return luaL_error(L, "would{…}: a port is a number from 1 to 65535");
    if (!q.address || !q.listener) return luaL_error(L, "would{…} wants the caller's address and the listener's name");
    struct buf b = {0};
    struct err e;
    if (a->would(a->ctx, &q, &b, &e)) return lib_engine_decoded(L, true, &b);
    buf_free(&b);
    lua_pushstring(L, e.text); /* for people: without the place in Lua */
    return lua_error(L);
}

static int engine_probe(lua_State *L) { /* probe() -> boolean: every socket was called */
    const struct engine_api *a = lib_engine_api(L);
    lua_pushboolean(L, a->probe(a->ctx));
    return 1;
}

static int engine_reload(lua_State *L) { /* reload([force]) -> boolean, text */
    const struct engine_api *a = lib_engine_api(L);
    struct buf b = {0};
    lua_pushboolean(L, a->reload(a->ctx, lua_toboolean(L, 1), &b));
    lua_pushlstring(L, b.p ? b.p : "", b.n);
    buf_free(&b);
    return 2;
}

static bool plain(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) return false;
    return true;
}

/* A field of the table at `at` as text; pushed. NULL where it is missing or cannot stand in a line. */
static const char *line_field(lua_State *L, int at, const char *name) {
    size_t n = 0;
    lua_getfield(L, at, name);
    const char *s = lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER ? lua_tolstring(L, -1, &n) : NULL;
    return s && plain(s, n) ? s : NULL;
}

/* The change on top becomes its line, "set FILE ENTRY VALUE\n", or nil where it makes none. */
static void change_line(lua_State *L) {
    int at = lua_gettop(L);
    const char *file = NULL, *entry = NULL, *value = NULL;
    bool sets = false;
    if (lua_istable(L, at)) {
        sets = lua_getfield(L, at, "value") != LUA_TNIL;
        file = line_field(L, at, "file");
        entry = line_field(L, at, "entry");
        value = line_field(L, at, "value");
    }
    bool good = file && entry && *file && *entry && !strchr(file, ' ') && !strchr(entry, ' ') && (value || !sets);
    if (good && sets) lua_pushfstring(L, "set %s %s %s\n", file, entry, value);
    else if (good) lua_pushfstring(L, "remove %s %s\n", file, entry);
    else lua_pushnil(L);
    lua_replace(L, at);
    lua_settop(L, at);
}

static int refuse_edit(lua_State *L, const char *why) {
    lua_pushboolean(L, 0);
    lua_pushstring(L, why);
    return 2;
}

static void push_who(lua_State *L) {
    if (lua_istable(L, 2)) lua_getfield(L, 2, "who");
    else lua_pushnil(L);
    if (lua_type(L, -1) != LUA_TSTRING || !plain(lua_tostring(L, -1), lua_rawlen(L, -1)) || lua_rawlen(L, -1) > 120) {
        lua_pop(L, 1);
        lua_pushliteral(L, "the engine");
    }
}

/* edit({ {file=, entry=, value=|nil} … }, { dry = boolean, force = boolean, who = text }) -> boolean, text: all of it comes into force and into the files, or
 * nothing does. entry "NAME.*" without value: the whole section. */
static int engine_edit(lua_State *L) {
    const struct engine_api *a = lib_engine_api(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_Unsigned count = lua_rawlen(L, 1);
    if (count == 0 || count > 64) return refuse_edit(L, count ? "more than 64 changes at once" : "nothing is to be changed");
    bool dry = false, force = false;
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "dry");
        dry = lua_toboolean(L, -1);
        lua_getfield(L, 2, "force");
        force = lua_toboolean(L, -1);
        lua_pop(L, 2);
    }
    push_who(L);
    lua_pushfstring(L, "dry %d\nforce %d\nwho %s\n\n", dry ? 1 : 0, force ? 1 : 0, lua_tostring(L, -1));
    for (lua_Unsigned i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i);
        change_line(L);
        if (lua_isnil(L, -1)) return refuse_edit(L, "a change is {file =, entry =, value =}, each a text of one line");
        lua_concat(L, 2);
    }
    size_t n;
    const char *request = lua_tolstring(L, -1, &n);
    struct buf b = {0};
    lua_pushboolean(L, a->edit(a->ctx, request, n, &b));
    lua_pushlstring(L, b.p ? b.p : "", b.n);
    buf_free(&b);
    return 2;
}

int lib_engine(lua_State *L) {
    static const luaL_Reg functions[] = {{"status", engine_status},
                                         {"plan", engine_plan},
                                         {"stats", engine_stats},
                                         {"connections", engine_connections},
                                         {"decisions", engine_decisions},
                                         {"would", engine_would},
                                         {"lists", engine_lists},
                                         {"rules", engine_rules},
                                         {"logs", engine_logs},
                                         {"reload", engine_reload},
                                         {"edit", engine_edit},
                                         {"probe", engine_probe},
                                         {NULL, NULL}};
    luaL_newlibtable(L, functions);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "cjson");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "decode");
    lua_remove(L, -2);
    lib_engine_gate(L);
    luaL_setfuncs(L, functions, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &api_key);
    const struct engine_api *api = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (api) {
        lua_pushstring(L, api->state_dir);
        lua_setfield(L, -2, "state_dir");
    }
    return 1;
}
