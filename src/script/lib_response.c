#include "script/lib_response.h"
#include <lua5.4/lauxlib.h>
#include <string.h>

#define FIXED_META "portreeve.response.fixed"

static const char meta_key;

static bool add_field(struct buf *out, const char *name, size_t nn, const char *value, size_t vn, struct err *e) {
    if (!h1_field_ok(name, nn, value, vn))
        return err_set(e, "header field '%.*s' has a name or value that HTTP does not allow", (int)(nn < 60 ? nn : 60), name);
    if (h1_field_framing(name, nn)) return err_set(e, "header field '%.*s' is the engine's to write", (int)nn, name);
    return (buf_add(out, name, nn) && buf_add(out, ": ", 2) && buf_add(out, value, vn) && buf_add(out, "\r\n", 2)) ||
           err_set(e, "header fields too large");
}

/* One field's value on top of the stack: a string, a number, or an array of strings (several Set-Cookie). */
static bool read_value(lua_State *L, const char *name, size_t nn, struct buf *out, struct err *e) {
    if (lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER) {
        size_t vn;
        lua_pushvalue(L, -1); /* lua_tolstring converts in place */
        const char *v = lua_tolstring(L, -1, &vn);
        bool fine = add_field(out, name, nn, v, vn, e);
        lua_pop(L, 1);
        return fine;
    }
    if (lua_type(L, -1) != LUA_TTABLE) return err_set(e, "header field '%s' is a %s, not a string", name, luaL_typename(L, -1));
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, -1); i <= n; i++) {
        size_t vn;
        bool fine = lua_rawgeti(L, -1, i) == LUA_TSTRING;
        const char *v = fine ? lua_tolstring(L, -1, &vn) : NULL;
        fine = fine ? add_field(out, name, nn, v, vn, e) : err_set(e, "header field '%s' holds a %s", name, luaL_typename(L, -1));
        lua_pop(L, 1);
        if (!fine) return false;
    }
    return true;
}

static bool read_headers(lua_State *L, struct buf *out, struct err *e) {
    if (lua_isnil(L, -1)) return true;
    if (!lua_istable(L, -1)) return err_set(e, "headers is a %s, not a table", luaL_typename(L, -1));
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        size_t nn;
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pop(L, 2);
            return err_set(e, "a header field's name is not a string");
        }
        const char *name = lua_tolstring(L, -2, &nn);
        if (!read_value(L, name, nn, out, e)) {
            lua_pop(L, 2);
            return false;
        }
        lua_pop(L, 1);
    }
    return true;
}

static bool known_keys(lua_State *L, int index, struct err *e) {
    lua_pushnil(L);
    while (lua_next(L, index)) {
        const char *k = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        bool fine = !strcmp(k, "status") || !strcmp(k, "headers") || !strcmp(k, "body");
        if (!fine) err_set(e, "a response has no entry '%s' (status, headers, body)", *k ? k : luaL_typename(L, -2));
        lua_pop(L, fine ? 1 : 2);
        if (!fine) return false;
    }
    return true;
}

bool response_read(lua_State *L, int index, int *status, struct buf *fields, struct buf *body, struct err *e) {
    index = lua_absindex(L, index);
    if (!lua_istable(L, index))
        return err_set(e, "a response is a table {status=, headers=, body=}, this is a %s", luaL_typename(L, index));
    if (!known_keys(L, index, e)) return false;
    int isnum;
    lua_pushliteral(L, "status");
    lua_rawget(L, index);
    lua_Integer st = lua_tointegerx(L, -1, &isnum);
    lua_pop(L, 1);
    if (!isnum || st < 200 || st > 599) return err_set(e, "a response's status is a number from 200 to 599");
    *status = (int)st;
    lua_pushliteral(L, "headers");
    lua_rawget(L, index);
    bool fine = read_headers(L, fields, e);
    lua_pop(L, 1);
    if (!fine) return false;
    lua_pushliteral(L, "body");
    lua_rawget(L, index);
    size_t n = 0;
    const char *b = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    fine = b || lua_isnil(L, -1) ? true : err_set(e, "a response's body is a string, this is a %s", luaL_typename(L, -1));
    if (fine && n && !buf_add(body, b, n)) fine = err_set(e, "a response's body of %zu bytes is too large", n);
    lua_pop(L, 1);
    return fine;
}

const struct h1_fixed *response_fixed_at(lua_State *L, int index) {
    return lib_udata(L, index, &meta_key);
}

static int fixed_gc(lua_State *L) {
    h1_fixed_finish(luaL_checkudata(L, 1, FIXED_META));
    return 0;
}

/* response.fixed{status=, headers=, body=} -> a constant answer whose bytes are made here, once. */
static int response_fixed(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct h1_fixed *f = lua_newuserdatauv(L, sizeof *f, 0);
    memset(f, 0, sizeof *f);
    luaL_setmetatable(L, FIXED_META);
    struct err e;
    int status;
    struct buf fields = {.max = 65536}, body = {.max = 1 << 20};
    bool fine = response_read(L, 1, &status, &fields, &body, &e) && h1_fixed_make(f, status, fields.p, fields.n, body.p, body.n, &e);
    buf_free(&fields);
    buf_free(&body);
    return fine ? 1 : luaL_error(L, "%s", e.text);
}

int lib_response(lua_State *L) {
    if (luaL_newmetatable(L, FIXED_META)) {
        lua_pushcfunction(L, fixed_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushliteral(L, "response");
        lua_setfield(L, -2, "__metatable");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
    }
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, response_fixed);
    lua_setfield(L, -2, "fixed");
    return 1;
}
