/* Lua patterns (manual §6.4.1) compiled to a short list of items, matched with backtracking under the state's budget. For lib_pattern.c. */
#ifndef PORTREEVE_SCRIPT_PATTERN_H
#define PORTREEVE_SCRIPT_PATTERN_H
#include "script/vm_i.h"

#define PATTERN_ITEMS    512
#define PATTERN_SETS     32
#define PATTERN_CAPTURES 32

struct item {
    uint8_t op, many; /* many: 0 or one of * + - ? */
    uint8_t a, b;     /* character, set, class, capture; second character of %b */
};
struct pattern {
    const char *problem; /* why it is refused */
    unsigned items, sets, captures;
    bool anchored;
    struct item item[PATTERN_ITEMS + 1];
    uint8_t set[PATTERN_SETS][32];
};
struct span {
    const char *from, *to; /* to == NULL: a position */
};
struct match {
    const struct pattern *p;
    const char *begin, *end;
    lua_State *L;
    int64_t fuel, filled;
    struct span cap[PATTERN_CAPTURES];
};

/* anchor: '^' at the start means the start (not in gmatch). False: p->problem says why. */
bool pattern_compile(struct pattern *p, const char *text, size_t n, bool anchor);
/* Take the state's budget along before matching, and pay what was used; both around every call of pattern_run. Pay raises when all is used. */
void pattern_begin(struct match *m, const struct pattern *p, const char *s, size_t n, lua_State *L);
void pattern_fuel(struct match *m);
void pattern_pay(struct match *m);
/* Where a match that begins at s ends, or NULL; captures in m->cap. Raises when the budget is spent. */
const char *pattern_run(struct match *m, const char *s);
#endif
