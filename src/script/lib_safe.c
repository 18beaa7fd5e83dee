/* The libraries of a sandbox: what stock Lua has that is harmless, what runs long in C with bounds in front, and replacements for
 * what prints addresses or defeats the budget. Source: reliability.md, "Lua sandbox". */
#include "base/clock.h"
#include "script/vm_i.h"
#include <string.h>
#include <sys/random.h>

#define SHADOW_OF (&vm_key_shadow) /* key of a shadow metatable: the table the script gave */

/* Call the stock function kept as upvalue 1 in this very frame, so that its errors name the script's line. */
static int stock(lua_State *L) {
    lua_CFunction f = lua_tocfunction(L, lua_upvalueindex(1));
    return f(L);
}

/* ---- values as text ---- */

const char *vm_safe_tostring(lua_State *L, int index, size_t *n) {
    index = lua_absindex(L, index);
    if (luaL_callmeta(L, index, "__tostring")) {
        if (!lua_isstring(L, -1)) luaL_error(L, "'__tostring' must return a string");
        return lua_tolstring(L, -1, n);
    }
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
    case LUA_TBOOLEAN:
    case LUA_TNIL: return luaL_tolstring(L, index, n);
    default:
        if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) return lua_tolstring(L, -1, n);
        lua_pushstring(L, luaL_typename(L, index));
        return lua_tolstring(L, -1, n);
    }
}

static int safe_tostring(lua_State *L) { /* tostring(v) -> string */
    luaL_checkany(L, 1);
    vm_safe_tostring(L, 1, NULL);
    return 1;
}

static int safe_format(lua_State *L) { /* string.format(fmt, …) without %p */
    size_t n;
    const char *p = luaL_checklstring(L, 1, &n), *end = p + n;
    int arg = 1, top = lua_gettop(L);
    vm_charge(L, (int64_t)(n / 16));
    while (p < end) {
        if (*p++ != '%') continue;
        if (p < end && *p == '%') {
            p++;
            continue;
        }
        p += strspn(p, "-+ #0123456789.");
        arg++;
        if (p < end && *p == 'p') return luaL_error(L, "addresses are not printed: no %%p in string.format");
        if (p < end && *p == 's' && arg <= top && lua_type(L, arg) != LUA_TSTRING && lua_type(L, arg) != LUA_TNUMBER) {
            vm_safe_tostring(L, arg, NULL);
            lua_replace(L, arg);
            lua_settop(L, top);
        }
    }
    return stock(L);
}

/* ---- errors ---- */

static int finish_pcall(lua_State *L, int status) {
    if (status == LUA_OK) return lua_gettop(L);
    struct vm *v = vm_of(L);
    if (v->over) return vm_exhaust(L, v->over);
    if (status == LUA_ERRMEM && v->bounded) return vm_exhaust(L, VM_OVER_MEMORY);
    return 0;
}

static int safe_pcall(lua_State *L) { /* pcall(f, …): catches everything but the end of the budget and of the memory */
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    int n = finish_pcall(L, status);
    if (n) return n;
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int safe_xpcall(lua_State *L) { /* xpcall(f, handler, …): the handler runs after unwinding, under the budget like all else */
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int nargs = lua_gettop(L) - 2;
    lua_pushvalue(L, 2);
    lua_insert(L, 1); /* handler f handler … */
    lua_remove(L, 3); /* handler f … */
    lua_pushboolean(L, 1);
    lua_insert(L, 2); /* handler true f … */
    int status = lua_pcall(L, nargs, LUA_MULTRET, 0);
    if (finish_pcall(L, status)) return lua_gettop(L) - 1;
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

/* ---- metatables ----
 * A script's metatable is never installed itself: a shadow with the permitted events of that moment is. So __gc, __close and __mode
 * cannot be added later, and getmetatable gives the script only what a script has set. */

static const char *const events[] = {"__index", "__newindex", "__call", "__tostring", "__name", "__pairs", "__len", "__eq",  "__lt",
                                     "__le",    "__concat",   "__unm",  "__add",      "__sub",  "__mul",   "__div", "__mod", "__pow",
                                     "__idiv",  "__band",     "__bor",  "__bxor",     "__bnot", "__shl",   "__shr"};
static const char *const refused[] = {"__gc", "__close", "__mode"};

static bool has_foreign_metatable(lua_State *L, int index) {
    if (!lua_getmetatable(L, index)) return false;
    bool foreign = lua_rawgetp(L, -1, SHADOW_OF) == LUA_TNIL;
    if (!foreign) {
        lua_pushliteral(L, "__metatable");
        foreign = lua_rawget(L, -2) != LUA_TNIL;
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return foreign;
}

static int safe_setmetatable(lua_State *L) { /* setmetatable(t, mt|nil) -> t */
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    lua_settop(L, 2);
    if (has_foreign_metatable(L, 1)) return luaL_error(L, "cannot change a protected metatable");
    if (lua_isnil(L, 2)) {
        lua_setmetatable(L, 1);
        return 1;
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        lua_pushstring(L, refused[i]);
        if (lua_rawget(L, 2) != LUA_TNIL) return luaL_error(L, "a policy's metatable may not have %s", refused[i]);
        lua_pop(L, 1);
    }
    lua_newtable(L);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        lua_pushstring(L, events[i]);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, 2) == LUA_TNIL) lua_pop(L, 2);
        else lua_rawset(L, 3);
    }
    lua_pushvalue(L, 2);
    lua_rawsetp(L, 3, SHADOW_OF);
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

static int safe_getmetatable(lua_State *L) { /* getmetatable(v) -> what a script has set | its __metatable | false where it is ours | nil */
    luaL_checkany(L, 1);
    if (!lua_getmetatable(L, 1)) return 0;
    if (lua_rawgetp(L, -1, SHADOW_OF) == LUA_TTABLE) {
        lua_pushliteral(L, "__metatable");
        if (lua_rawget(L, -2) == LUA_TNIL) lua_pop(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    return 1;
}

/* ---- strings ---- */

/* Index as string functions mean it: from 1, negative from the end. */
static int64_t place(lua_Integer i, size_t n) {
    if (i >= 0) return i;
    return -i > (lua_Integer)n ? 0 : (lua_Integer)n + i + 1;
}

static void check_spread(lua_State *L, size_t n, lua_Integer def_to_first) {
    lua_Integer i = luaL_optinteger(L, 2, 1), j;
    j = def_to_first ? luaL_optinteger(L, 3, i) : luaL_optinteger(L, 3, -1);
    int64_t from = place(i, n), to = place(j, n);
    if (from < 1) from = 1;
    if (to > (int64_t)n) to = (int64_t)n;
    if (to >= from && to - from >= VM_SPREAD_MAX) luaL_error(L, "more than %d values at once", VM_SPREAD_MAX);
}

static int safe_byte(lua_State *L) { /* string.byte(s [, i [, j]]), utf8.codepoint: at most VM_SPREAD_MAX values */
    size_t n;
    luaL_checklstring(L, 1, &n);
    check_spread(L, n, 1);
    return stock(L);
}

static int safe_linear(lua_State *L) { /* one pass over the string: lower, upper, reverse, utf8.len */
    size_t n;
    luaL_checklstring(L, 1, &n);
    vm_charge(L, (int64_t)(n / 8));
    return stock(L);
}

static int safe_rep(lua_State *L) { /* string.rep(s, n [, sep]) */
    size_t l, ls;
    const char *s = luaL_checklstring(L, 1, &l);
    lua_Integer times = luaL_checkinteger(L, 2);
    const char *sep = luaL_optlstring(L, 3, "", &ls);
    size_t unit = l + ls;
    if (times <= 0 || unit == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (unit > VM_STRING_MAX || (uint64_t)times > VM_STRING_MAX / unit + 1)
        return luaL_error(L, "string.rep: a string may have %d bytes", (int)VM_STRING_MAX);
    size_t total = (size_t)times * unit - ls;
    if (total > VM_STRING_MAX - 64) return luaL_error(L, "string.rep: a string may have %d bytes", (int)VM_STRING_MAX);
    vm_charge(L, (int64_t)(total / 64));
    luaL_Buffer b;
    char *p = luaL_buffinitsize(L, &b, total);
    memcpy(p, s, l);
    if (times > 1) memcpy(p + l, sep, ls);
    for (size_t have = times > 1 ? unit : l; have < total;) {
        size_t more = have < total - have ? have : total - have;
        memcpy(p + have, p, more);
        have += more;
    }
    luaL_pushresultsize(&b, total);
    return 1;
}

/* ---- tables ---- */

static int64_t plain_length(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL) luaL_error(L, "table functions want a table without __len");
    lua_Unsigned n = lua_rawlen(L, 1);
    if (n > VM_SPAN_MAX) luaL_error(L, "the table is longer than %d elements", VM_SPAN_MAX);
    return (int64_t)n;
}

static void check_span(lua_State *L, lua_Integer i, lua_Integer j, int most) {
    if (j < i) return;
    uint64_t n = (uint64_t)j - (uint64_t)i;
    if (n >= (uint64_t)most) luaL_error(L, "more than %d elements at once", most);
    vm_charge(L, (int64_t)n / 4);
}

static int safe_concat(lua_State *L) { /* table.concat(t [, sep [, i [, j]]]) */
    int64_t n = plain_length(L);
    check_span(L, luaL_optinteger(L, 3, 1), luaL_optinteger(L, 4, n), VM_SPAN_MAX);
    return stock(L);
}
static int safe_shift(lua_State *L) { /* table.insert, table.remove */
    vm_charge(L, plain_length(L) / 4);
    return stock(L);
}
static int safe_append(lua_State *L) { /* table.insert(t, [pos,] v): without pos nothing is shifted */
    int64_t n = plain_length(L);
    if (lua_gettop(L) > 2) vm_charge(L, n / 4);
    return stock(L);
}
static int safe_move(lua_State *L) { /* table.move(a, f, e, t [, b]) */
    check_span(L, luaL_checkinteger(L, 2), luaL_checkinteger(L, 3), VM_SPAN_MAX);
    return stock(L);
}
static int safe_unpack(lua_State *L) { /* table.unpack(t [, i [, j]]) */
    int64_t n = plain_length(L);
    lua_settop(L, 3);
    check_span(L, luaL_optinteger(L, 2, 1), luaL_optinteger(L, 3, n), VM_SPREAD_MAX);
    return stock(L);
}

static int charged_compare(lua_State *L) { /* upvalue 1: the script's comparison */
    vm_charge(L, 1);
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}
static int safe_sort(lua_State *L) { /* table.sort(t [, less]) */
    int64_t n = plain_length(L), cost = 1;
    for (int64_t k = n; k > 1; k /= 2) cost += n;
    vm_charge(L, cost);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
        lua_pushcclosure(L, charged_compare, 1);
    }
    return stock(L);
}

/* ---- time ---- */

static int safe_time(lua_State *L) { /* os.time() -> seconds since 1970 */
    lua_pushinteger(L, clock_real_ms() / 1000);
    return 1;
}

/* ---- the template ---- */

struct rule {
    const char *name;
    lua_CFunction with; /* NULL: the stock function; stock(): not used directly */
};
static const struct rule of_base[] = {{"assert", NULL},
                                      {"error", NULL},
                                      {"ipairs", NULL},
                                      {"next", NULL},
                                      {"pairs", NULL},
                                      {"rawequal", NULL},
                                      {"rawget", NULL},
                                      {"rawlen", NULL},
                                      {"select", NULL},
                                      {"type", NULL},
                                      {"tonumber", NULL},
                                      {"_VERSION", NULL},
                                      {"tostring", safe_tostring},
                                      {"pcall", safe_pcall},
                                      {"xpcall", safe_xpcall},
                                      {"setmetatable", safe_setmetatable},
                                      {"getmetatable", safe_getmetatable},
                                      {NULL, NULL}};
static const struct rule of_string[] = {{"byte", safe_byte},    {"char", NULL},    {"format", safe_format},  {"len", NULL},
                                        {"lower", safe_linear}, {"rep", safe_rep}, {"reverse", safe_linear}, {"sub", NULL},
                                        {"upper", safe_linear}, {NULL, NULL}};
static const struct rule of_table[] = {{"concat", safe_concat}, {"insert", safe_append}, {"move", safe_move},     {"pack", NULL},
                                       {"remove", safe_shift},  {"sort", safe_sort},     {"unpack", safe_unpack}, {NULL, NULL}};
static const struct rule of_math[] = {
    {"abs", NULL}, {"ceil", NULL},       {"floor", NULL}, {"fmod", NULL}, {"huge", NULL},      {"max", NULL},  {"maxinteger", NULL},
    {"min", NULL}, {"mininteger", NULL}, {"modf", NULL},  {"pi", NULL},   {"random", NULL},    {"sqrt", NULL}, {"exp", NULL},
    {"log", NULL}, {"sin", NULL},        {"cos", NULL},   {"tan", NULL},  {"asin", NULL},      {"acos", NULL}, {"atan", NULL},
    {"deg", NULL}, {"rad", NULL},        {"type", NULL},  {"ult", NULL},  {"tointeger", NULL}, {NULL, NULL}};
static const struct rule of_utf8[] = {{"char", NULL},  {"charpattern", NULL}, {"codepoint", safe_byte},
                                      {"codes", NULL}, {"len", safe_linear},  {"offset", safe_linear},
                                      {NULL, NULL}};

/* Copy by rules from the stock table at `from` into the table on top. */
static void pick(lua_State *L, int from, const struct rule *r) {
    for (; r->name; r++) {
        lua_getfield(L, from, r->name);
        if (r->with) lua_pushcclosure(L, r->with, 1); /* upvalue 1: the stock function */
        lua_setfield(L, -2, r->name);
    }
}

static void pick_library(lua_State *L, const char *name, const struct rule *r) {
    lua_getglobal(L, name);
    lua_newtable(L);
    pick(L, lua_absindex(L, -2), r);
    if (strcmp(name, "string") == 0) vm_pattern_open(L);
    lua_setfield(L, -3, name);
    lua_pop(L, 1);
}

/* The stock seed is made of addresses, and numbers drawn could tell them. */
static void seed_random(lua_State *L) {
    lua_Integer seed[2] = {0, 0};
    if (getrandom(seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) seed[0] = clock_real_ms();
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, seed[0]);
    lua_pushinteger(L, seed[1]);
    lua_call(L, 2, 0);
    lua_pop(L, 1);
}

void vm_safe_template(lua_State *L) {
    seed_random(L);
    lua_newtable(L);
    lua_pushglobaltable(L);
    lua_insert(L, -2);
    pick(L, lua_absindex(L, -2), of_base);
    lua_remove(L, -2);
    pick_library(L, "string", of_string);
    pick_library(L, "table", of_table);
    pick_library(L, "math", of_math);
    pick_library(L, "utf8", of_utf8);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, safe_time);
    lua_setfield(L, -2, "time");
    lua_setfield(L, -2, "os");
}
