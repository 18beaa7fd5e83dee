/* The parts of a socket that are tables of numbers: rates, bits, limit_lines. */
#include "script/marshal_limits.h"
#include <string.h>

static bool number_at(lua_State *L, int index, int64_t least, int64_t most, uint32_t *out) {
    if (!lua_isinteger(L, index)) return false;
    lua_Integer v = lua_tointeger(L, index);
    if (v < least || v > most) return false;
    *out = (uint32_t)v;
    return true;
}

/* { N, ms } on top. */
static bool read_rate(lua_State *L, struct plan_rate *out) {
    if (!lua_istable(L, -1)) return false;
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    bool good = number_at(L, -2, 0, PLAN_RATE_MOST, &out->n) && number_at(L, -1, out->n ? 1 : 0, PLAN_RATE_MS_MOST, &out->ms);
    lua_pop(L, 2);
    return good;
}

bool marshal_limits(lua_State *L, struct plan_socket *s, enum marshal_limits_kind kind, const char **bad) {
    static const char *const rates[] = {"connections", "handshakes", "requests", "connections_net", "handshakes_net", "requests_net"};
    static const char *const bits[] = {"ipv4", "ipv6", "net_ipv4", "net_ipv6"};
    uint32_t *const bit[] = {&s->bits4, &s->bits6, &s->net4, &s->net6};
    *bad = "table";
    if (!lua_istable(L, -1)) return false;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(not a name)";
        bool good = false;
        for (unsigned i = 0; kind == MARSHAL_RATES && i < PLAN_RATES; i++)
            if (strcmp(key, rates[i]) == 0) good = read_rate(L, &s->rate[i]);
        for (unsigned i = 0; kind == MARSHAL_BITS && i < 4; i++)
            if (strcmp(key, bits[i]) == 0) good = number_at(L, -1, 1, i % 2 ? 128 : 32, bit[i]);
        enum plan_limit line = kind == MARSHAL_LINES ? plan_limit_of(key) : LIMIT_NONE;
        if (line != LIMIT_NONE) good = number_at(L, -1, 0, UINT32_MAX, &s->limit_line[line]);
        if (!good) {
            *bad = key;
            return false; /* the reader resets the stack */
        }
        lua_pop(L, 1);
    }
    return true;
}
