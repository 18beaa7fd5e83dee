/* string.find, match, gmatch and gsub for sandboxes: the results of the stock library's, under the state's budget. A stock pattern can run for
 * minutes on three kilobytes. Own work, compared with the stock library by tests/unit/pattern.c. */
#include "script/pattern.h"
#include <string.h>

#define SCRATCH __attribute__((uninitialized)) /* filled before use; zeroing 4 KB a call is not free */

static void push_capture(struct match *m, unsigned i, const char *s, const char *e) {
    if (m->p->captures == 0) lua_pushlstring(m->L, s, (size_t)(e - s));
    else if (!m->cap[i].to) lua_pushinteger(m->L, m->cap[i].from - m->begin + 1);
    else lua_pushlstring(m->L, m->cap[i].from, (size_t)(m->cap[i].to - m->cap[i].from));
}
/* whole: without captures the whole match counts as one. Returns how many. */
static int push_captures(struct match *m, const char *s, const char *e, bool whole) {
    unsigned n = m->p->captures ? m->p->captures : whole;
    luaL_checkstack(m->L, (int)n + 4, "too many captures");
    for (unsigned i = 0; i < n; i++) push_capture(m, i, s, e);
    return (int)n;
}

static void get_pattern(lua_State *L, struct pattern *pt, bool anchor) {
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    if (!pattern_compile(pt, p, n, anchor)) luaL_error(L, "%s", pt->problem);
}

/* ---- find and match ---- */

/* Argument 3 as a 0-based place in a text of n bytes; beyond n + 1: n + 1. */
static size_t get_start(lua_State *L, size_t n) {
    lua_Integer i = luaL_optinteger(L, 3, 1);
    if (i > 0) return (lua_Unsigned)i - 1 > n ? n + 1 : (size_t)i - 1;
    if (i == 0 || -i > (lua_Integer)n || i == LUA_MININTEGER) return 0;
    return n - (size_t)-i;
}

static int find_plain(lua_State *L, const char *s, size_t n, size_t from) {
    size_t k;
    const char *what = lua_tolstring(L, 2, &k);
    vm_charge(L, (int64_t)((n - from) / 16));
    const char *at = k ? memmem(s + from, n - from, what, k) : s + from;
    if (!at) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - s + 1);
    lua_pushinteger(L, at - s + (lua_Integer)k);
    return 2;
}

static bool is_plain(lua_State *L) {
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    for (size_t i = 0; i < n; i++)
        if (p[i] && strchr("^$*+?.([%-", p[i])) return false;
    return true;
}

static int find_or_match(lua_State *L, bool find) {
    SCRATCH struct pattern pt;
    SCRATCH struct match m;
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);
    luaL_checkstring(L, 2);
    size_t from = get_start(L, n);
    if (from > n) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || is_plain(L))) return find_plain(L, s, n, from);
    get_pattern(L, &pt, true);
    pattern_begin(&m, &pt, s, n, L);
    for (const char *at = s + from; at <= m.end; at++) {
        const char *e = pattern_run(&m, at);
        if (e) {
            pattern_pay(&m);
            if (!find) return push_captures(&m, at, e, true);
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, e - s);
            return push_captures(&m, at, e, false) + 2;
        }
        if (pt.anchored) break;
    }
    pattern_pay(&m);
    lua_pushnil(L);
    return 1;
}
static int pattern_find(lua_State *L) { /* find(s, pattern [, init [, plain]]) -> first, last, captures… | nil */
    return find_or_match(L, true);
}
static int pattern_match(lua_State *L) { /* match(s, pattern [, init]) -> captures… | nil */
    return find_or_match(L, false);
}

/* ---- gmatch ---- */

struct walk {
    size_t from;
    const char *last; /* where the last match ended: an empty one there does not count */
    struct pattern pt;
};

static int next_match(lua_State *L) { /* upvalues: text, struct walk */
    SCRATCH struct match m;
    struct walk *w = lua_touserdata(L, lua_upvalueindex(2));
    size_t n;
    const char *s = lua_tolstring(L, lua_upvalueindex(1), &n);
    pattern_begin(&m, &w->pt, s, n, L);
    for (const char *at = s + w->from; w->from <= n && at <= m.end; at++) {
        const char *e = pattern_run(&m, at);
        if (!e || e == w->last) continue;
        w->from = (size_t)(e - s);
        w->last = e;
        pattern_pay(&m);
        return push_captures(&m, at, e, true);
    }
    w->from = n + 1;
    pattern_pay(&m);
    return 0;
}

static int pattern_gmatch(lua_State *L) { /* gmatch(s, pattern [, init]) -> iterator */
    size_t n;
    luaL_checklstring(L, 1, &n);
    luaL_checkstring(L, 2);
    size_t from = get_start(L, n);
    lua_settop(L, 2);
    struct walk *w = lua_newuserdatauv(L, sizeof *w, 0);
    get_pattern(L, &w->pt, false);
    w->from = from;
    w->last = NULL;
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    lua_pushcclosure(L, next_match, 2);
    return 1;
}

/* ---- gsub ---- */

static void add_text(struct match *m, luaL_Buffer *b, const char *s, const char *e) {
    size_t n;
    const char *r = lua_tolstring(m->L, 3, &n), *end = r + n;
    while (r < end) {
        const char *esc = memchr(r, '%', (size_t)(end - r));
        luaL_addlstring(b, r, (size_t)((esc ? esc : end) - r));
        if (!esc) return;
        char c = esc + 1 < end ? esc[1] : '\0';
        if (c == '%') {
            luaL_addchar(b, '%');
        } else if (c == '0') {
            luaL_addlstring(b, s, (size_t)(e - s));
        } else if (c >= '1' && c <= '9' && (unsigned)(c - '1') < (m->p->captures ? m->p->captures : 1)) {
            push_capture(m, (unsigned)(c - '1'), s, e);
            luaL_tolstring(m->L, -1, NULL);
            lua_remove(m->L, -2);
            luaL_addvalue(b);
        } else if (c >= '1' && c <= '9') {
            luaL_error(m->L, "invalid capture index %%%c in replacement string", c);
        } else {
            luaL_error(m->L, "invalid use of '%%' in replacement string");
        }
        r = esc + 2;
    }
}

/* Append what replaces s … e. */
static void add_replacement(struct match *m, luaL_Buffer *b, const char *s, const char *e) {
    lua_State *L = m->L;
    int type = lua_type(L, 3);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        add_text(m, b, s, e);
        return;
    }
    if (type == LUA_TTABLE) {
        push_capture(m, 0, s, e);
        pattern_pay(m);
        lua_gettable(L, 3);
    } else {
        lua_pushvalue(L, 3);
        int n = push_captures(m, s, e, true);
        pattern_pay(m);
        lua_call(L, n, 1);
    }
    pattern_fuel(m); /* the script has used up some of the budget meanwhile */
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, s, (size_t)(e - s));
    } else if (lua_isstring(L, -1)) {
        luaL_addvalue(b);
    } else {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
}

static int pattern_gsub(lua_State *L) { /* gsub(s, pattern, string|table|function [, most]) -> text, count */
    SCRATCH struct pattern pt;
    SCRATCH struct match m;
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n), *last = NULL;
    luaL_checkstring(L, 2);
    int type = lua_type(L, 3);
    luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TTABLE || type == LUA_TFUNCTION, 3,
                     "string/function/table");
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)n + 1), count = 0;
    if (type == LUA_TNUMBER) lua_tolstring(L, 3, NULL);
    get_pattern(L, &pt, true);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    pattern_begin(&m, &pt, s, n, L);
    while (count < most) {
        const char *e = pattern_run(&m, s);
        if (e && e != last) {
            count++;
            add_replacement(&m, &b, s, e);
            s = last = e;
        } else if (s < m.end) {
            luaL_addchar(&b, *s++);
        } else {
            break;
        }
        if (luaL_bufflen(&b) > VM_STRING_MAX) return luaL_error(L, "string.gsub: a string may have %d bytes", (int)VM_STRING_MAX);
        if (pt.anchored) break;
    }
    pattern_pay(&m);
    luaL_addlstring(&b, s, (size_t)(m.end - s));
    luaL_pushresult(&b);
    lua_pushinteger(L, count);
    return 2;
}

void vm_pattern_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"find", pattern_find}, {"match", pattern_match}, {"gmatch", pattern_gmatch}, {"gsub", pattern_gsub}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
