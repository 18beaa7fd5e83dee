/* portreeve.ini_c: the INI reader.
 *   parse(text, display) -> entries | nil, why ("display:line: …")
 * entries: array in the order of the file of {key=, value=, line=, dup_of=line|nil, bad_escape=boolean, special=boolean}, and
 * entries.latin1 = the file was not valid UTF-8. Keys and values may hold any byte. */
#include "plan/ini.h"
#include "script/lib.h"
#include <lua5.4/lauxlib.h>

static const char *const box_name = "portreeve.ini_c";

static int box_gc(lua_State *L) {
    ini_finish(luaL_checkudata(L, 1, box_name));
    return 0;
}

/* Pushing may run out of the state's memory and raise, so the entries live in a userdata that knows how to free them. */
static struct ini *box_push(lua_State *L) {
    struct ini *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct ini){0};
    luaL_setmetatable(L, box_name);
    return box;
}

static void push_entry(lua_State *L, const struct ini_entry *x) {
    lua_createtable(L, 0, 6);
    lua_pushlstring(L, x->key, x->key_n);
    lua_setfield(L, -2, "key");
    lua_pushlstring(L, x->value, x->value_n);
    lua_setfield(L, -2, "value");
    lua_pushinteger(L, x->line);
    lua_setfield(L, -2, "line");
    if (x->dup_of) {
        lua_pushinteger(L, x->dup_of);
        lua_setfield(L, -2, "dup_of");
    }
    lua_pushboolean(L, x->bad_escape);
    lua_setfield(L, -2, "bad_escape");
    lua_pushboolean(L, x->special);
    lua_setfield(L, -2, "special");
}

static int parse(lua_State *L) {
    size_t n;
    struct err e;
    const char *text = luaL_checklstring(L, 1, &n), *display = luaL_optstring(L, 2, "?");
    struct ini *ini = box_push(L);
    if (!ini_parse(text, n, display, ini, &e)) {
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    lua_createtable(L, (int)ini->n, 1);
    for (uint32_t i = 0; i < ini->n; i++) {
        push_entry(L, &ini->entry[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushboolean(L, ini->latin1);
    lua_setfield(L, -2, "latin1");
    ini_finish(ini);
    return 1;
}

int lib_ini(lua_State *L) {
    static const luaL_Reg functions[] = {{"parse", parse}, {NULL, NULL}};
    luaL_newmetatable(L, box_name);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
