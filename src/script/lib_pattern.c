/* string.find, match, gmatch and gsub for sandboxes: Lua patterns as the manual (§6.4.1) describes them, compiled to a short list of
 * items first, matched with backtracking under the state's budget. A stock pattern can run for minutes on three kilobytes.
 * Own work, compared with the stock library by tests/unit/pattern.c. */
#include "script/vm_i.h"
#include <pthread.h>
#include <string.h>

#define ITEMS 512
#define SETS 32
#define CAPTURES 32
#define TRIES_PER_STEP 4 /* character tests that cost as much as one VM instruction */
#define SCRATCH __attribute__((uninitialized)) /* filled before use; zeroing 4 KB a call is not free */

enum op { OP_CHAR, OP_ANY, OP_SET, OP_CLASS, OP_OPEN, OP_CLOSE, OP_PLACE, OP_AGAIN, OP_BALANCE, OP_FRONTIER, OP_EOS, OP_END };
struct item {
    uint8_t op, many; /* many: 0 or one of * + - ? */
    uint8_t a, b;     /* character, set, class, capture; second character of %b */
};
struct pattern {
    const char *problem; /* why it is refused */
    unsigned items, sets, captures;
    bool anchored;
    struct item item[ITEMS + 1];
    uint8_t set[SETS][32];
};
struct span {
    const char *from, *to; /* to == NULL: a position */
};
struct match {
    const struct pattern *p;
    const char *begin, *end;
    lua_State *L;
    int64_t fuel, filled;
    struct span cap[CAPTURES];
};

/* ---- character classes, fixed to ASCII whatever the locale ---- */

#define CLASSES 11
static const char class_letter[] = "acdglpsuwxz"; /* z: NUL, which the manual no longer names and the stock library still knows */
static uint8_t class_set[2 * CLASSES][32];        /* each class, then its complement */
static pthread_once_t class_once = PTHREAD_ONCE_INIT;

static bool in_class(char letter, int c) {
    bool up = c >= 'A' && c <= 'Z', low = c >= 'a' && c <= 'z', dig = c >= '0' && c <= '9', graph = c > 32 && c < 127;
    switch (letter) {
    case 'a': return up || low;
    case 'c': return c < 32 || c == 127;
    case 'd': return dig;
    case 'g': return graph;
    case 'l': return low;
    case 'p': return graph && !up && !low && !dig;
    case 's': return c == ' ' || (c >= 9 && c <= 13);
    case 'u': return up;
    case 'w': return up || low || dig;
    case 'z': return c == 0;
    default: return dig || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    }
}
static void fill_classes(void) {
    for (unsigned k = 0; k < CLASSES; k++)
        for (int c = 0; c < 256; c++) class_set[k + (in_class(class_letter[k], c) ? 0 : CLASSES)][c / 8] |= (uint8_t)(1u << (c % 8));
}
static bool has(const uint8_t set[32], unsigned char c) {
    return set[c / 8] >> (c % 8) & 1;
}
/* Number of the class a letter stands for, -1 = a letter like any other. */
static int class_of(char c) {
    const char *at = c ? strchr(class_letter, c | 32) : NULL;
    if (!at || !((c | 32) >= 'a' && (c | 32) <= 'z')) return -1;
    return (int)(at - class_letter) + (c & 32 ? 0 : CLASSES);
}

/* ---- compiling ---- */

static const char *refuse_pattern(struct pattern *pt, const char *why) {
    pt->problem = why;
    return NULL;
}

/* The set that begins behind '[' at p; returns behind its ']'. */
static const char *compile_set(struct pattern *pt, const char *p, const char *end, uint8_t *number) {
    if (pt->sets == SETS) return refuse_pattern(pt, "too many sets in the pattern");
    bool inverted = p < end && *p == '^';
    if (inverted) p++;
    const char *last = p; /* find the ']' first: the first character and escaped ones do not close */
    do {
        if (last >= end) return refuse_pattern(pt, "malformed pattern (missing ']')");
        if (*last++ == '%') last++;
    } while (last >= end || *last != ']');
    uint8_t *set = pt->set[*number = (uint8_t)pt->sets++];
    memset(set, 0, 32);
    for (; p < last; p++) {
        if (*p == '%') {
            int k = class_of(*++p);
            unsigned char c = (unsigned char)*p;
            if (k < 0) set[c / 8] |= (uint8_t)(1u << (c % 8));
            else for (unsigned i = 0; i < 32; i++) set[i] |= class_set[k][i];
        } else {
            unsigned from = (unsigned char)*p, to = from;
            if (p + 2 < last && p[1] == '-') to = (unsigned char)*(p += 2);
            for (unsigned c = from; c <= to; c++) set[c / 8] |= (uint8_t)(1u << (c % 8));
        }
    }
    if (inverted)
        for (unsigned i = 0; i < 32; i++) set[i] = (uint8_t)~set[i];
    return last + 1;
}

static const char *compile_escape(struct pattern *pt, const char *p, const char *end, struct item *it, uint32_t open) {
    if (p == end) return refuse_pattern(pt, "malformed pattern (ends with '%')");
    int k = class_of(*p);
    if (*p == 'b') {
        if (end - p < 3) return refuse_pattern(pt, "malformed pattern (missing arguments to '%b')");
        *it = (struct item){OP_BALANCE, 0, (uint8_t)p[1], (uint8_t)p[2]};
        return p + 3;
    }
    if (*p == 'f') {
        if (end - p < 2 || p[1] != '[') return refuse_pattern(pt, "missing '[' after '%f' in pattern");
        it->op = OP_FRONTIER;
        return compile_set(pt, p + 2, end, &it->a);
    }
    if (*p >= '0' && *p <= '9') {
        unsigned n = (unsigned)(*p - '1');
        if (*p == '0' || n >= pt->captures || open >> n & 1) return refuse_pattern(pt, "invalid capture index in pattern");
        *it = (struct item){OP_AGAIN, 0, (uint8_t)n, 0};
        return p + 1;
    }
    it->op = k < 0 ? OP_CHAR : OP_CLASS;
    it->a = k < 0 ? (uint8_t)*p : (uint8_t)k;
    return p + 1;
}

static const char *compile_capture(struct pattern *pt, const char *p, const char *end, struct item *it, uint32_t *open) {
    if (*p == ')') {
        if (!*open) return refuse_pattern(pt, "invalid pattern capture");
        it->op = OP_CLOSE;
        it->a = (uint8_t)(31 - __builtin_clz(*open));
        *open &= ~(1u << it->a);
        return p + 1;
    }
    if (pt->captures == CAPTURES) return refuse_pattern(pt, "too many captures");
    it->a = (uint8_t)pt->captures++;
    if (p + 1 < end && p[1] == ')') {
        it->op = OP_PLACE;
        return p + 2;
    }
    it->op = OP_OPEN;
    *open |= 1u << it->a;
    return p + 1;
}

/* anchor: '^' at the start means the start (not in gmatch). False: pt->problem says why. */
static bool compile(struct pattern *pt, const char *p, size_t n, bool anchor) {
    const char *end = p + n;
    uint32_t open = 0; /* captures begun and not ended */
    pthread_once(&class_once, fill_classes);
    pt->problem = NULL;
    pt->items = pt->sets = pt->captures = 0;
    pt->anchored = anchor && n && *p == '^';
    if (pt->anchored) p++;
    while (p < end) {
        if (pt->items == ITEMS) return refuse_pattern(pt, "the pattern is too long");
        struct item *it = &pt->item[pt->items++];
        *it = (struct item){OP_CHAR, 0, (uint8_t)*p, 0};
        switch (*p) {
        case '(': case ')':
            p = compile_capture(pt, p, end, it, &open);
            break;
        case '%':
            p = compile_escape(pt, p + 1, end, it, open);
            break;
        case '[':
            it->op = OP_SET;
            p = compile_set(pt, p + 1, end, &it->a);
            break;
        case '.':
            it->op = OP_ANY;
            p++;
            break;
        case '$':
            if (p + 1 == end) it->op = OP_EOS;
            p++;
            break;
        default:
            p++;
        }
        if (!p) return false;
        if (it->op <= OP_CLASS && p < end && *p && strchr("*+-?", *p)) it->many = (uint8_t)*p++;
    }
    if (open) return refuse_pattern(pt, "unfinished capture");
    pt->item[pt->items] = (struct item){OP_END, 0, 0, 0};
    return true;
}

/* ---- matching ---- */

static void fill_fuel(struct match *m) {
    struct vm *v = vm_of(m->L);
    m->fuel = m->filled = !v->lim.steps ? INT64_MAX : v->left > 0 ? v->left * TRIES_PER_STEP : 1;
}
static void pay(struct match *m) {
    vm_charge(m->L, (m->filled - m->fuel) / TRIES_PER_STEP);
}
static void burn(struct match *m, int64_t n) {
    m->fuel -= n;
    if (__builtin_expect(m->fuel < 0, 0)) vm_exhaust(m->L, VM_OVER_STEPS);
}

static inline bool fits(const struct match *m, const struct item *it, const char *s) {
    if (s >= m->end) return false;
    unsigned char c = (unsigned char)*s;
    switch (it->op) {
    case OP_CHAR: return c == it->a;
    case OP_ANY: return true;
    case OP_SET: return has(m->p->set[it->a], c);
    default: return has(class_set[it->a], c);
    }
}

static const char *run(struct match *m, const char *s, const struct item *it);

static const char *greedy(struct match *m, const char *s, const struct item *it) {
    const char *least = it->many == '+' ? s + 1 : s, *t = s;
    while (fits(m, it, t)) t++;
    burn(m, t - s);
    for (; t >= least; t--) {
        const char *e = run(m, t, it + 1);
        if (e) return e;
    }
    return NULL;
}
static const char *lazy(struct match *m, const char *s, const struct item *it) {
    for (;;) {
        const char *e = run(m, s, it + 1);
        if (e || !fits(m, it, s)) return e;
        s++;
    }
}
static const char *balance(struct match *m, const char *s, const struct item *it) {
    if (s >= m->end || (uint8_t)*s != it->a) return NULL;
    size_t depth = 1;
    for (const char *t = s + 1; t < m->end; t++) {
        if ((uint8_t)*t == it->b) {
            if (--depth == 0) {
                burn(m, t - s);
                return t + 1;
            }
        } else if ((uint8_t)*t == it->a) {
            depth++;
        }
    }
    burn(m, m->end - s);
    return NULL;
}
static bool frontier(const struct match *m, const char *s, const uint8_t set[32]) {
    unsigned char before = s == m->begin ? 0 : (unsigned char)s[-1], now = s == m->end ? 0 : (unsigned char)*s;
    return !has(set, before) && has(set, now);
}
static const char *again(struct match *m, const char *s, const struct span *c) {
    if (!c->to) return NULL;
    size_t n = (size_t)(c->to - c->from);
    burn(m, (int64_t)(n / 16));
    return (size_t)(m->end - s) >= n && memcmp(c->from, s, n) == 0 ? s + n : NULL;
}

/* Items from `it` on at s: where the match ends, or NULL. Recursion is as deep as the pattern has items, never as the text is long. */
static const char *run(struct match *m, const char *s, const struct item *it) {
    for (;; it++) {
        burn(m, 1);
        struct span *c = &m->cap[it->a % CAPTURES];
        switch (it->op) {
        case OP_END:
            return s;
        case OP_EOS:
            if (s != m->end) return NULL;
            continue;
        case OP_OPEN: /* undo is not needed: a later attempt sets it again before anybody reads it */
            *c = (struct span){s, NULL};
            continue;
        case OP_PLACE:
            *c = (struct span){s, NULL};
            continue;
        case OP_CLOSE:
            c->to = s;
            continue;
        case OP_AGAIN:
            if (!(s = again(m, s, c))) return NULL;
            continue;
        case OP_BALANCE:
            if (!(s = balance(m, s, it))) return NULL;
            continue;
        case OP_FRONTIER:
            if (!frontier(m, s, m->p->set[it->a])) return NULL;
            continue;
        default:
            break;
        }
        if (it->many == '*' || it->many == '+') return greedy(m, s, it);
        if (it->many == '-') return lazy(m, s, it);
        if (it->many == '?') {
            const char *e = fits(m, it, s) ? run(m, s + 1, it + 1) : NULL;
            if (e) return e;
            continue;
        }
        if (!fits(m, it, s)) return NULL;
        s++;
    }
}

/* ---- captures ---- */

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
    if (!compile(pt, p, n, anchor)) luaL_error(L, "%s", pt->problem);
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
    m.p = &pt;
    m.begin = s;
    m.end = s + n;
    m.L = L;
    fill_fuel(&m);
    for (const char *at = s + from; at <= m.end; at++) {
        const char *e = run(&m, at, pt.item);
        if (e) {
            pay(&m);
            if (!find) return push_captures(&m, at, e, true);
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, e - s);
            return push_captures(&m, at, e, false) + 2;
        }
        if (pt.anchored) break;
    }
    pay(&m);
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
    m.p = &w->pt;
    m.begin = s;
    m.end = s + n;
    m.L = L;
    fill_fuel(&m);
    for (const char *at = s + w->from; w->from <= n && at <= m.end; at++) {
        const char *e = run(&m, at, w->pt.item);
        if (!e || e == w->last) continue;
        w->from = (size_t)(e - s);
        w->last = e;
        pay(&m);
        return push_captures(&m, at, e, true);
    }
    w->from = n + 1;
    pay(&m);
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
        pay(m);
        lua_gettable(L, 3);
    } else {
        lua_pushvalue(L, 3);
        int n = push_captures(m, s, e, true);
        pay(m);
        lua_call(L, n, 1);
    }
    fill_fuel(m); /* the script has used up some of the budget meanwhile */
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
    luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TTABLE || type == LUA_TFUNCTION, 3, "string/function/table");
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)n + 1), count = 0;
    if (type == LUA_TNUMBER) lua_tolstring(L, 3, NULL);
    get_pattern(L, &pt, true);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    m.p = &pt;
    m.begin = s;
    m.end = s + n;
    m.L = L;
    fill_fuel(&m);
    while (count < most) {
        const char *e = run(&m, s, pt.item);
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
    pay(&m);
    luaL_addlstring(&b, s, (size_t)(m.end - s));
    luaL_pushresult(&b);
    lua_pushinteger(L, count);
    return 2;
}

void vm_pattern_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"find", pattern_find}, {"match", pattern_match}, {"gmatch", pattern_gmatch}, {"gsub", pattern_gsub}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
