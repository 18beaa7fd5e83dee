/* A token in Lua is a userdata with the fields kind level flags campaign recipient link minute. A worker makes one of each tracking request, so
 * the usual way (from_path) reads the request's path where it lies and makes no string. */
#include "script/lib_token.h"
#include "base/clock.h"
#include <lua5.4/lauxlib.h>
#include <string.h>

#define TOKEN_META "portreeve.token"
#define MINUTE_ZERO 1577836800ll /* 2020-01-01T00:00Z */
#define PARAM_MAX 8192

static const char ctx_key;
static const char *const kinds[] = {"open", "click", "link", "unsubscribe", "trap", NULL};
static const char *const levels[] = {"off", "blind", "anonymous", "personal", "network", NULL};

void lib_token_set_ctx(lua_State *L, struct token_ctx *c) {
    lua_pushlightuserdata(L, c);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ctx_key);
}

struct token *token_at(lua_State *L, int index) {
    return luaL_testudata(L, index, TOKEN_META);
}

struct token *token_check(lua_State *L, int index) {
    return luaL_checkudata(L, index, TOKEN_META);
}

static struct token_ctx *ctx_of(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ctx_key);
    struct token_ctx *c = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (c == NULL) luaL_error(L, "there are no tracking keys here");
    return c;
}

static enum token_kind kind_at(lua_State *L, int index) {
    if (lua_isinteger(L, index)) return (enum token_kind)lua_tointeger(L, index);
    return (enum token_kind)(luaL_checkoption(L, index, NULL, kinds) + 1);
}

static uint32_t minute_of(int64_t ms) {
    int64_t m = (ms / 1000 - MINUTE_ZERO) / 60;
    return m < 0 ? 0 : m > UINT32_MAX ? UINT32_MAX : (uint32_t)m;
}

/* Verify and push: token, "ok"|"expired", or nil, "bad". */
static int push_verdict(lua_State *L, enum token_kind kind, const char *text, size_t n, const char *target, size_t target_n, int64_t now_ms) {
    struct token t;
    enum token_verdict v = token_open(ctx_of(L), kind, text, n, target, target_n, minute_of(now_ms), &t);
    if (v == TOKEN_BAD) {
        lua_pushnil(L);
        lua_pushliteral(L, "bad");
        return 2;
    }
    *(struct token *)lua_newuserdatauv(L, sizeof t, 0) = t;
    luaL_setmetatable(L, TOKEN_META);
    if (v == TOKEN_OK)
        lua_pushliteral(L, "ok");
    else
        lua_pushliteral(L, "expired");
    return 2;
}

static int l_open(lua_State *L) { /* open(kind, text[, target[, now_ms]]) -> token, "ok"|"expired" | nil, "bad" */
    size_t n, target_n = 0;
    enum token_kind kind = kind_at(L, 1);
    const char *text = luaL_checklstring(L, 2, &n), *target = luaL_optlstring(L, 3, NULL, &target_n);
    return push_verdict(L, kind, text, n, target, target_n, luaL_optinteger(L, 4, (lua_Integer)clock_real_ms()));
}

static int l_from_path(lua_State *L) { /* from_path(req, kind, prefix, suffix[, target]) -> as open, or nil, "path" where the path is not prefix … suffix */
    struct exchange *x = request_check(L, 1);
    enum token_kind kind = kind_at(L, 2);
    size_t a, b, target_n = 0;
    const char *prefix = luaL_checklstring(L, 3, &a), *suffix = luaL_checklstring(L, 4, &b), *target = luaL_optlstring(L, 5, NULL, &target_n);
    struct slice path = x->req.path;
    if (path.n < a + b || memcmp(path.p, prefix, a) != 0 || memcmp(path.p + path.n - b, suffix, b) != 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "path");
        return 2;
    }
    return push_verdict(L, kind, path.p + a, path.n - a - b, target, target_n, x->at_ms);
}

static uint64_t number_field(lua_State *L, const char *name, lua_Integer none) {
    lua_getfield(L, 1, name);
    lua_Integer v = luaL_optinteger(L, -1, none);
    lua_pop(L, 1);
    if (v < 0) luaL_error(L, "token: %s must not be negative", name);
    return (uint64_t)v;
}

static uint8_t word_field(lua_State *L, const char *name, const char *dflt, const char *const words[]) {
    lua_getfield(L, 1, name);
    int v = luaL_checkoption(L, -1, dflt, words);
    lua_pop(L, 1);
    return (uint8_t)v;
}

static int push_sealed(lua_State *L, const struct token *t, const char *target, size_t n) {
    char text[TOKEN_MAX];
    struct err e;
    ssize_t len = token_seal(ctx_of(L), t, target, n, text, &e);
    if (len < 0) {
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    lua_pushlstring(L, text, (size_t)len);
    return 1;
}

static int l_seal(lua_State *L) { /* seal{kind=, campaign=, recipient=, link=, level=, flags=, target=, at_ms=} -> text | nil, err */
    luaL_checktype(L, 1, LUA_TTABLE);
    struct token t = {.kind = (uint8_t)(word_field(L, "kind", NULL, kinds) + 1), .level = word_field(L, "level", "personal", levels)};
    t.campaign = number_field(L, "campaign", 0);
    t.recipient = number_field(L, "recipient", 0);
    t.link = number_field(L, "link", 0);
    uint64_t flags = number_field(L, "flags", 0);
    t.flags = flags > 255 ? 255 : (uint8_t)flags;
    t.minute = minute_of((int64_t)number_field(L, "at_ms", (lua_Integer)clock_real_ms()));
    size_t n = 0;
    lua_getfield(L, 1, "target");
    const char *target = luaL_optlstring(L, -1, NULL, &n);
    return push_sealed(L, &t, target, n);
}

static int l_renew(lua_State *L) { /* renew(token) -> text | nil, err: the same token, sent now (a click has no target here and cannot be renewed) */
    struct token t = *token_check(L, 1);
    t.minute = minute_of(clock_real_ms());
    return push_sealed(L, &t, NULL, 0);
}

static int l_lower(lua_State *L) { /* lower(token, most) -> level: from now on at most that level (a number) */
    struct token *t = token_check(L, 1);
    lua_Integer most = luaL_checkinteger(L, 2);
    if (most < t->level) t->level = (uint8_t)(most < 0 ? 0 : most);
    lua_pushinteger(L, t->level);
    return 1;
}

static int hex_of(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %XX and + decoded into out (as long as p). false: a bad escape. */
static bool decode(const char *p, size_t n, char *out, size_t *out_n) {
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '%') {
            int a = i + 2 < n ? hex_of(p[i + 1]) : -1, b = i + 2 < n ? hex_of(p[i + 2]) : -1;
            if (a < 0 || b < 0) return false;
            out[o++] = (char)(a << 4 | b);
            i += 2;
        } else {
            out[o++] = p[i] == '+' ? ' ' : p[i];
        }
    }
    *out_n = o;
    return true;
}

static int l_param(lua_State *L) { /* param(query|nil, name) -> value | nil where it is absent, stands twice, is badly escaped or too long */
    size_t n = 0, name_n, out_n = 0;
    const char *p = luaL_optlstring(L, 1, "", &n), *name = luaL_checklstring(L, 2, &name_n);
    const char *end = p + n, *value = NULL;
    size_t value_n = 0;
    while (p < end) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        size_t part = (size_t)((amp == NULL ? end : amp) - p);
        if (part > name_n && memcmp(p, name, name_n) == 0 && p[name_n] == '=') {
            if (value != NULL) return 0;
            value = p + name_n + 1;
            value_n = part - name_n - 1;
        }
        p += part + 1;
    }
    char out[PARAM_MAX];
    if (value == NULL || value_n > sizeof out || !decode(value, value_n, out, &out_n)) return 0;
    lua_pushlstring(L, out, out_n);
    return 1;
}

static int l_target_ok(lua_State *L) { /* target_ok(text) -> boolean: may stand in a click's Location */
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);
    lua_pushboolean(L, token_target_ok(s, n));
    return 1;
}

static int token_index(lua_State *L) {
    const struct token *t = token_check(L, 1);
    const char *key = luaL_checkstring(L, 2);
    uint64_t v;
    switch (key[0]) {
    case 'r': v = t->recipient; break;
    case 'c': v = t->campaign; break;
    case 'm': v = t->minute; break;
    case 'k': v = t->kind; break;
    case 'f': v = t->flags; break;
    default:
        if (strcmp(key, "link") != 0 && strcmp(key, "level") != 0) return luaL_error(L, "a token has no field '%s'", key);
        v = key[1] == 'i' ? t->link : t->level;
    }
    lua_pushinteger(L, (lua_Integer)v);
    return 1;
}

int lib_token(lua_State *L) {
    static const luaL_Reg functions[] = {{"open", l_open},   {"from_path", l_from_path}, {"seal", l_seal},           {"renew", l_renew},
                                         {"lower", l_lower}, {"param", l_param},         {"target_ok", l_target_ok}, {NULL, NULL}};
    if (luaL_newmetatable(L, TOKEN_META)) {
        lua_pushcfunction(L, token_index);
        lua_setfield(L, -2, "__index");
        lua_pushliteral(L, "token");
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    for (int i = 0; kinds[i] != NULL; i++) { /* token.OPEN … for from_path: a number is compared faster than a word */
        static const char *const names[] = {"OPEN", "CLICK", "LINK", "UNSUBSCRIBE", "TRAP"};
        lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, names[i]);
    }
    return 1;
}
