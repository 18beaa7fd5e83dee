/* The part of portreeve.engine about who may come in: bans, reaping, administrators. */
#include "script/lib_engine_i.h"
#include <lua5.4/lauxlib.h>
#include <string.h>

/* A text of one line at most `most` bytes long; "" where the value is nil. */
static const char *line_arg(lua_State *L, int at, size_t most, const char *what) {
    size_t n = 0;
    const char *s = luaL_optlstring(L, at, "", &n);
    bool good = n <= most && strlen(s) == n;
    for (size_t i = 0; good && i < n; i++) good = (unsigned char)s[i] >= 0x20 && s[i] != 0x7f;
    if (!good) luaL_error(L, "%s is a text of one line with %d bytes at most", what, (int)most);
    return s;
}

static int answer(lua_State *L, bool fine, struct buf *b) {
    lua_pushboolean(L, fine);
    lua_pushlstring(L, b->p ? b->p : "", b->n);
    buf_free(b);
    return 2;
}

static int engine_ban(lua_State *L) { /* ban(range, ms, reason, who, force) -> boolean, text */
    const struct engine_api *a = lib_engine_api(L);
    struct ban_request q = {.range = line_arg(L, 1, 100, "an address"),
                            .ms = luaL_optinteger(L, 2, 0),
                            .reason = line_arg(L, 3, 99, "a reason"),
                            .who = line_arg(L, 4, 99, "a name"),
                            .force = lua_toboolean(L, 5)};
    struct buf b = {0};
    return answer(L, a->ban(a->ctx, &q, &b), &b);
}

static int engine_unban(lua_State *L) { /* unban(range, who) -> boolean, text */
    const struct engine_api *a = lib_engine_api(L);
    const char *range = line_arg(L, 1, 100, "an address"), *who = line_arg(L, 2, 99, "a name");
    struct buf b = {0};
    return answer(L, a->unban(a->ctx, range, who, &b), &b);
}

static int engine_bans(lua_State *L) { /* bans() -> array */
    const struct engine_api *a = lib_engine_api(L);
    struct buf b = {0};
    return lib_engine_decoded(L, a->bans(a->ctx, &b), &b);
}

static int engine_reap(lua_State *L) { /* reap(dry, who) -> table */
    const struct engine_api *a = lib_engine_api(L);
    bool dry = lua_toboolean(L, 1);
    const char *who = line_arg(L, 2, 99, "a name");
    struct buf b = {0};
    return lib_engine_decoded(L, a->reap(a->ctx, dry, who, &b), &b);
}

static int engine_administrator(lua_State *L) { /* administrator(address): a session of the hub came from there */
    const struct engine_api *a = lib_engine_api(L);
    a->administrator(a->ctx, line_arg(L, 1, 100, "an address"));
    return 0;
}

void lib_engine_gate(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"ban", engine_ban}, {"unban", engine_unban}, {"bans", engine_bans}, {"reap", engine_reap}, {"administrator", engine_administrator},
        {NULL, NULL}};
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, functions, 1);
    lua_pop(L, 1);
}
