/* A token in Lua is a userdata with the fields kind level flags campaign recipient link minute. A worker makes one of each tracking
 * request, so the usual way (from_path) reads the request's path where it lies and makes no string. */
#include "script/lib_token.h"
#include "base/clock.h"
#include "svc/spool.h"
#include <lua5.4/lauxlib.h>
#include <string.h>
#include <sys/random.h>

#define TOKEN_META  "portreeve.token"
#define MINUTE_ZERO 1577836800ll /* 2020-01-01T00:00Z */
#define PARAM_MAX   8192

/* The state's own: one in the registry, and an upvalue of every function. Its user value is the token that from_path hands out. */
struct box {
    struct token_ctx *ctx;
    uint64_t seed; /* of the keys of agents, so that nobody can make two agents meet */
    struct token *scratch;
};
static const char box_key, meta_key;

static int token_index(lua_State *L);

static struct token *push_token(lua_State *L) {
    struct token *t = lua_newuserdatauv(L, sizeof *t, 0);
    memset(t, 0, sizeof *t);
    if (luaL_newmetatable(L, TOKEN_META)) {
        lua_pushcfunction(L, token_index);
        lua_setfield(L, -2, "__index");
        lua_pushliteral(L, "token");
        lua_setfield(L, -2, "__metatable");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
    }
    lua_setmetatable(L, -2);
    return t;
}

static struct box *push_box(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key) == LUA_TUSERDATA) return lua_touserdata(L, -1);
    lua_pop(L, 1);
    struct box *x = lua_newuserdatauv(L, sizeof *x, 1);
    memset(x, 0, sizeof *x);
    if (getrandom(&x->seed, sizeof x->seed, GRND_NONBLOCK) != (ssize_t)sizeof x->seed) x->seed = (uint64_t)clock_mono_ms();
    x->scratch = push_token(L);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
    return x;
}

void lib_token_set_ctx(lua_State *L, struct token_ctx *c) {
    push_box(L)->ctx = c;
    lua_pop(L, 1);
}

struct token *token_at(lua_State *L, int index) {
    return lib_udata(L, index, &meta_key);
}

static struct box *box_of(lua_State *L) {
    struct box *x = lua_touserdata(L, lua_upvalueindex(1));
    if (x->ctx == NULL) luaL_error(L, "there are no tracking keys here");
    return x;
}

static struct token *token_check(lua_State *L, int index) { /* raises where the value is none */
    struct token *t = token_at(L, index);
    if (!t) luaL_typeerror(L, index, TOKEN_META);
    return t;
}

static enum token_kind kind_at(lua_State *L, int index) {
    if (lua_isinteger(L, index)) return (enum token_kind)lua_tointeger(L, index);
    return (enum token_kind)(luaL_checkoption(L, index, NULL, token_kind_words) + 1);
}

static uint32_t minute_of(int64_t ms) {
    int64_t m = (ms / 1000 - MINUTE_ZERO) / 60;
    return m < 0 ? 0 : m > UINT32_MAX ? UINT32_MAX : (uint32_t)m;
}

/* Lower the level of a verified token and push the verdict. */
static int push_verdict(lua_State *L, struct token *t, enum token_verdict v, lua_Integer most) {
    if (most < t->level) t->level = (uint8_t)(most < 0 ? 0 : most);
    if (v != TOKEN_OK) lua_pushliteral(L, "expired");
    else if (t->level == LEVEL_OFF) lua_pushliteral(L, "off");
    else lua_pushliteral(L, "ok");
    return 2;
}

static int bad(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "bad");
    return 2;
}

/* open(kind, text[, target[, now_ms[, most]]]) -> token, "ok"|"expired"|"off" | nil, "bad"
 * most: the highest level in force; the token's is lowered to it. "off": nothing may be recorded of it. */
static int l_open(lua_State *L) {
    size_t n, target_n = 0;
    struct token t;
    enum token_kind kind = kind_at(L, 1);
    const char *text = luaL_checklstring(L, 2, &n), *target = luaL_optlstring(L, 3, NULL, &target_n);
    int64_t now = luaL_optinteger(L, 4, (lua_Integer)clock_real_ms());
    enum token_verdict v = token_open(box_of(L)->ctx, kind, text, n, target, target_n, minute_of(now), &t);
    if (v == TOKEN_BAD) return bad(L);
    struct token *out = push_token(L);
    *out = t;
    return push_verdict(L, out, v, luaL_optinteger(L, 5, LEVEL_NETWORK));
}

/* from_path(req, kind, prefix, suffix[, target[, most]]) -> as open, or nil, "path" where the path is not prefix … suffix.
 * The token is the same userdata each time: it is good until the next call. */
static int l_from_path(lua_State *L) {
    struct exchange *x = request_check(L, 1);
    size_t a, b, target_n = 0;
    const char *prefix = luaL_checklstring(L, 3, &a), *suffix = luaL_checklstring(L, 4, &b);
    struct slice path = x->req.path;
    if (path.n < a + b || memcmp(path.p, prefix, a) != 0 || memcmp(path.p + path.n - b, suffix, b) != 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "path");
        return 2;
    }
    struct box *box = box_of(L);
    const char *target = luaL_optlstring(L, 5, NULL, &target_n);
    enum token_verdict v =
        token_open(box->ctx, kind_at(L, 2), path.p + a, path.n - a - b, target, target_n, minute_of(x->at_ms), box->scratch);
    if (v == TOKEN_BAD) return bad(L);
    lua_getiuservalue(L, lua_upvalueindex(1), 1);
    return push_verdict(L, box->scratch, v, luaL_optinteger(L, 6, LEVEL_NETWORK));
}

static bool named(struct slice s, const char *lower) {
    for (uint32_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != lower[i]) return false;
    }
    return true;
}

static bool tells_purpose(struct slice s) {
    switch (s.n) {
    case 5: return named(s, "x-moz");
    case 7: return named(s, "purpose");
    case 9: return named(s, "x-purpose");
    case 11: return named(s, "sec-purpose");
    default: return false;
    }
}

static uint64_t hash_of(struct slice s, uint64_t h) {
    uint64_t word;
    while (s.n >= 8) {
        memcpy(&word, s.p, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
        s.p += 8;
        s.n -= 8;
    }
    word = s.n;
    memcpy((char *)&word + 1, s.p, s.n);
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

/* signals(req, token, early_ms) -> reasons, agent_key: what the head alone says against a person (bits of enum event_reason), and a number
 * that stands for the User-Agent, nil where there is none. One walk over the fields instead of one for each name. */
static int l_signals(lua_State *L) {
    const struct exchange *x = request_check(L, 1);
    const struct token *t = token_check(L, 2);
    lua_Integer early = luaL_checkinteger(L, 3), reasons = 0;
    const struct slice *agent = NULL;
    for (unsigned i = 0; i < x->req.nfields; i++) {
        const struct field *f = &x->req.field[i];
        if (agent == NULL && f->name.n == 10 && named(f->name, "user-agent")) agent = &f->value;
        else if (tells_purpose(f->name)) reasons |= REASON_PURPOSE;
    }
    if (x->req.method == M_HEAD) reasons |= REASON_HEAD;
    if (x->at_ms - ((int64_t)t->minute * 60 + MINUTE_ZERO) * 1000 < early) reasons |= REASON_EARLY;
    if (agent == NULL || agent->n == 0) {
        lua_pushinteger(L, reasons | REASON_NO_AGENT);
        return 1;
    }
    lua_pushinteger(L, reasons);
    lua_pushinteger(L, (lua_Integer)hash_of(*agent, box_of(L)->seed));
    return 2;
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
    ssize_t len = token_seal(box_of(L)->ctx, t, target, n, text, &e);
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
    struct token t = {.kind = (uint8_t)(word_field(L, "kind", NULL, token_kind_words) + 1),
                      .level = word_field(L, "level", "personal", token_level_words)};
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

static int
l_renew(lua_State *L) { /* renew(token) -> text | nil, err: the same token, sent now (a click has no target here and cannot be renewed) */
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

static int
l_param(lua_State *L) { /* param(query|nil, name) -> value | nil where it is absent, stands twice, is badly escaped or too long */
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
    static const luaL_Reg functions[] = {{"open", l_open},   {"from_path", l_from_path}, {"signals", l_signals},
                                         {"seal", l_seal},   {"renew", l_renew},         {"lower", l_lower},
                                         {"param", l_param}, {"target_ok", l_target_ok}, {NULL, NULL}};
    luaL_newlibtable(L, functions);
    push_box(L);
    luaL_setfuncs(L, functions, 1);
    for (int i = 0; token_kind_words[i] != NULL; i++) { /* token.OPEN … for from_path: a number is compared faster than a word */
        static const char *const names[] = {"OPEN", "CLICK", "LINK", "UNSUBSCRIBE", "TRAP"};
        lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, names[i]);
    }
    return 1;
}
