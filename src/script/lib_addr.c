/* portreeve.addr: IP addresses for rules and policies. Addresses go in and out as text; what comes out is canonical (RFC 5952 with the
 * zone by name, IPv4-mapped as IPv4), so two addresses are the same where their texts are.
 *   parse(text) -> ip, family (4|6), scope id (0 = none)   | nil, why     one bare address, no brackets, no port
 *   hostport(text[, allow0]) -> ip, port|nil, family       | nil, why     "192.0.2.1[:80]" or "[::1][:80]"; port nil = none written
 *   list(text[, allow0]) -> { { address =, port = }, … } | nil   "192.0.2.1, [::1]:80": nothing but such items; nil where there is another
 *   same(a, b) -> boolean            as addr_same_ip: a missing zone matches any
 *   is_any(text) is_loopback(text) -> boolean; false for what is no address */
#include "base/addr.h"
#include "script/lib.h"
#include <ctype.h>
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <string.h>

static bool arg_ip(lua_State *L, int index, struct addr *a, struct err *e) {
    size_t n;
    const char *s = luaL_checklstring(L, index, &n);
    return addr_parse_ip(s, n, a, e);
}

static int push_why(lua_State *L, const struct err *e) {
    lua_pushnil(L);
    lua_pushstring(L, e->text);
    return 2;
}

static void push_ip(lua_State *L, const struct addr *a) {
    char text[ADDR_TEXT];
    lua_pushlstring(L, text, addr_format_ip(a, text));
}

static int parse(lua_State *L) {
    struct addr a;
    struct err e;
    if (!arg_ip(L, 1, &a, &e)) return push_why(L, &e);
    push_ip(L, &a);
    lua_pushinteger(L, a.family);
    lua_pushinteger(L, a.scope);
    return 3;
}

/* Was port 0 written, where it may be? */
static bool zero_written(const char *s, size_t n, const struct addr *a) {
    return n > 2 && s[n - 1] == '0' && s[n - 2] == ':' && a->port == 0;
}

static int hostport(lua_State *L) {
    size_t n;
    struct addr a;
    struct err e;
    const char *s = luaL_checklstring(L, 1, &n);
    if (!addr_parse_hostport(s, n, lua_toboolean(L, 2), &a, &e)) return push_why(L, &e);
    push_ip(L, &a);
    if (a.port || zero_written(s, n, &a)) lua_pushinteger(L, a.port);
    else lua_pushnil(L);
    lua_pushinteger(L, a.family);
    return 3;
}

/* The long lists of large configurations, in one call: thousands of items cost as many microseconds, where item by item they are milliseconds.
 * What is unusual or wrong is left to whoever reads item by item, and has the words for it. */
static int list(lua_State *L) {
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n), *end = s + n;
    bool allow0 = lua_toboolean(L, 2);
    lua_settop(L, 1);
    lua_newtable(L);
    for (lua_Integer i = 1;; i++) {
        const char *comma = memchr(s, ',', (size_t)(end - s)), *to = comma ? comma : end;
        while (s < to && isspace((unsigned char)*s)) s++;
        while (to > s && isspace((unsigned char)to[-1])) to--;
        struct addr a;
        if (!addr_parse_hostport(s, (size_t)(to - s), allow0, &a, NULL)) {
            lua_pushnil(L);
            return 1;
        }
        lua_createtable(L, 0, 2);
        push_ip(L, &a);
        lua_setfield(L, -2, "address");
        if (a.port || zero_written(s, (size_t)(to - s), &a)) {
            lua_pushinteger(L, a.port);
            lua_setfield(L, -2, "port");
        }
        lua_rawseti(L, 2, i);
        if (!comma) return 1;
        s = comma + 1;
    }
}

static int same(lua_State *L) {
    struct addr a, b;
    bool both = arg_ip(L, 1, &a, NULL) && arg_ip(L, 2, &b, NULL);
    lua_pushboolean(L, both && addr_same_ip(&a, &b));
    return 1;
}

static int ask(lua_State *L, bool (*question)(const struct addr *)) {
    struct addr a;
    lua_pushboolean(L, arg_ip(L, 1, &a, NULL) && question(&a));
    return 1;
}

static int is_any(lua_State *L) {
    return ask(L, addr_is_any);
}

static int is_loopback(lua_State *L) {
    return ask(L, addr_is_loopback);
}

int lib_addr(lua_State *L) {
    static const luaL_Reg functions[] = {{"parse", parse},   {"hostport", hostport},       {"list", list}, {"same", same},
                                         {"is_any", is_any}, {"is_loopback", is_loopback}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
