#include "script/pattern.h"
#include <pthread.h>
#include <string.h>

#define TRIES_PER_STEP 4 /* character tests that cost as much as one VM instruction */

enum op { OP_CHAR, OP_ANY, OP_SET, OP_CLASS, OP_OPEN, OP_CLOSE, OP_PLACE, OP_AGAIN, OP_BALANCE, OP_FRONTIER, OP_EOS, OP_END };

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
    if (pt->sets == PATTERN_SETS) return refuse_pattern(pt, "too many sets in the pattern");
    bool inverted = p < end && *p == '^';
    if (inverted) p++;
    const char *last = p; /* find the ']' first: the first character and escaped ones do not close */
    do {
        if (last >= end) return refuse_pattern(pt, "malformed pattern (missing ']')");
        if (*last++ == '%') last++;
    } while (last >= end || *last != ']');
    uint8_t *set = pt->set[ *number = (uint8_t)pt->sets++];
    memset(set, 0, 32);
    for (; p < last; p++) {
        if (*p == '%') {
            int k = class_of(*++p);
            unsigned char c = (unsigned char)*p;
            if (k < 0) set[c / 8] |= (uint8_t)(1u << (c % 8));
            else
                for (unsigned i = 0; i < 32; i++) set[i] |= class_set[k][i];
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
    if (pt->captures == PATTERN_CAPTURES) return refuse_pattern(pt, "too many captures");
    it->a = (uint8_t)pt->captures++;
    if (p + 1 < end && p[1] == ')') {
        it->op = OP_PLACE;
        return p + 2;
    }
    it->op = OP_OPEN;
    *open |= 1u << it->a;
    return p + 1;
}

bool pattern_compile(struct pattern *pt, const char *p, size_t n, bool anchor) {
    const char *end = p + n;
    uint32_t open = 0; /* captures begun and not ended */
    pthread_once(&class_once, fill_classes);
    pt->problem = NULL;
    pt->items = pt->sets = pt->captures = 0;
    pt->anchored = anchor && n && *p == '^';
    if (pt->anchored) p++;
    while (p < end) {
        if (pt->items == PATTERN_ITEMS) return refuse_pattern(pt, "the pattern is too long");
        struct item *it = &pt->item[pt->items++];
        *it = (struct item){OP_CHAR, 0, (uint8_t)*p, 0};
        switch (*p) {
        case '(':
        case ')': p = compile_capture(pt, p, end, it, &open); break;
        case '%': p = compile_escape(pt, p + 1, end, it, open); break;
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
        default: p++;
        }
        if (!p) return false;
        if (it->op <= OP_CLASS && p < end && *p && strchr("*+-?", *p)) it->many = (uint8_t)*p++;
    }
    if (open) return refuse_pattern(pt, "unfinished capture");
    pt->item[pt->items] = (struct item){OP_END, 0, 0, 0};
    return true;
}

/* ---- matching ---- */

void pattern_begin(struct match *m, const struct pattern *p, const char *s, size_t n, lua_State *L) {
    m->p = p;
    m->begin = s;
    m->end = s + n;
    m->L = L;
    pattern_fuel(m);
}
void pattern_fuel(struct match *m) {
    struct vm *v = vm_of(m->L);
    m->fuel = m->filled = !v->lim.steps ? INT64_MAX : v->left > 0 ? v->left * TRIES_PER_STEP : 1;
}
void pattern_pay(struct match *m) {
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
        struct span *c = &m->cap[it->a % PATTERN_CAPTURES];
        switch (it->op) {
        case OP_END: return s;
        case OP_EOS:
            if (s != m->end) return NULL;
            continue;
        case OP_OPEN: /* undo is not needed: a later attempt sets it again before anybody reads it */ *c = (struct span){s, NULL}; continue;
        case OP_PLACE: *c = (struct span){s, NULL}; continue;
        case OP_CLOSE: c->to = s; continue;
        case OP_AGAIN:
            if (!(s = again(m, s, c))) return NULL;
            continue;
        case OP_BALANCE:
            if (!(s = balance(m, s, it))) return NULL;
            continue;
        case OP_FRONTIER:
            if (!frontier(m, s, m->p->set[it->a])) return NULL;
            continue;
        default: break;
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

const char *pattern_run(struct match *m, const char *s) {
    return run(m, s, m->p->item);
}
