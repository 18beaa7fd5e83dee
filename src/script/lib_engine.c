#include "script/lib_engine.h"
#include <lua5.4/lauxlib.h>

static const char api_key = 0;

void lib_engine_set(lua_State *L, const struct engine_api *api) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)api);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &api_key);
}

static const struct engine_api *api_of(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &api_key);
    const struct engine_api *api = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!api) luaL_error(L, "no engine runs here");
    return api;
}

/* The text is decoded by cjson (upvalue 1); C memory is freed before anything may raise. */
static int decoded(lua_State *L, bool fine, struct buf *b) {
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
    const struct engine_api *a = api_of(L);
    struct buf b = {0};
    return decoded(L, a->status(a->ctx, &b), &b);
}

static int engine_plan(lua_State *L) {
    const struct engine_api *a = api_of(L);
    struct buf b = {0};
    return decoded(L, a->plan(a->ctx, &b), &b);
}

static int engine_stats(lua_State *L) {
    const struct engine_api *a = api_of(L);
    struct buf b = {0};
    return decoded(L, a->stats(a->ctx, &b), &b);
}

static unsigned limit_arg(lua_State *L) {
    lua_Integer n = luaL_optinteger(L, 1, 1000);
    return n < 1 ? 1 : n > 4096 ? 4096 : (unsigned)n;
}

static int engine_connections(lua_State *L) { /* connections([limit]) -> array */
    const struct engine_api *a = api_of(L);
    unsigned limit = limit_arg(L);
    struct buf b = {0};
    return decoded(L, a->connections(a->ctx, limit, &b), &b);
}

static int engine_refusals(lua_State *L) { /* refusals([limit]) -> array, newest first */
    const struct engine_api *a = api_of(L);
    unsigned limit = limit_arg(L);
    struct buf b = {0};
    return decoded(L, a->refusals(a->ctx, limit, &b), &b);
}

static int engine_reload(lua_State *L) { /* reload() -> boolean, text */
    const struct engine_api *a = api_of(L);
    struct buf b = {0};
    lua_pushboolean(L, a->reload(a->ctx, &b));
    lua_pushlstring(L, b.p ? b.p : "", b.n);
    buf_free(&b);
    return 2;
}

int lib_engine(lua_State *L) {
    static const luaL_Reg functions[] = {{"status", engine_status},     {"plan", engine_plan},     {"stats", engine_stats}, {"connections", engine_connections},
                                         {"refusals", engine_refusals}, {"reload", engine_reload}, {NULL, NULL}};
    luaL_newlibtable(L, functions);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "cjson");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "decode");
    lua_remove(L, -2);
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
