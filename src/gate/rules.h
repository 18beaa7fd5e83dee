/* An admission policy as data: the ordered rules of policies/admission.lua, compiled (portreeve.admission, script/rules_read.c). What is no Lua
 * function is judged here in C; a walk stops at a Lua rule, the hooks call its function, and the walk goes on behind it.
 *
 *   for (unsigned at = 0; (at = rules_judge(r, f, at, v)) < r->n && r->rule[at].lua; …call it, at++) …
 *
 * A new kind of rule is one entry of rule_ops (rule_ops.c) and one constructor in lua/portreeve/admission.lua, which says the same in Lua. */
#ifndef PORTREEVE_GATE_RULES_H
#define PORTREEVE_GATE_RULES_H
#include "gate/facts.h"

#define RULES_MOST     256u
#define RULE_LISTENERS 8u

struct rule;
struct rule_bounds {
    uint32_t active, from_address;
}; /* UINT32_MAX = none */
enum rule_says {
    RULE_NEXT,  /* nothing to say */
    RULE_ALLOW, /* come in: the rules behind are not asked at this stage */
    RULE_REFUSE /* the op has filled refusal, because and list; rules_judge adds how it is done, and the policy's line */
};
struct rule_op {
    const char *name; /* as portreeve.admission writes it */
    enum stage stage; /* where it belongs unless the policy says else */
    bool needs_list;  /* `list` must not be empty */
    /* Has it anything to do on that socket? NULL = always. What nothing asks costs nothing: a stage without rules is not even entered. */
    bool (*wants)(const struct rule *r, const struct plan_socket *s);
    /* The number that it lets this caller come to, for rules that count; NULL = none. It refuses just when a bound is passed. */
    void (*bound)(const struct rule *r, const struct facts *f, struct rule_bounds *b);
    enum rule_says (*judge)(const struct rule *r, const struct facts *f, struct verdict *v); /* NULL: a Lua rule */
};
extern const struct rule_op rule_ops[];             /* ends with name NULL */
const struct rule_op *rule_op_of(const char *name); /* NULL = unknown */

struct rule {
    const struct rule_op *op;
    enum stage stage;
    bool lua;              /* its function is in the hooks' state, by place */
    bool strict;           /* a Lua rule that must give a verdict (a policy that is one function) */
    enum verdict_kind how; /* of a refusal: VERDICT_REFUSE, _RESET or _ANSWER */
    uint16_t status;       /* of an answer */
    uint32_t line;         /* of the policy */
    char file[PLAN_PATH];
    char list[64];               /* name, "" = none */
    const struct pset *set;      /* that list */
    char listed[64], except[64]; /* only for these, not for those; "" = everybody */
    const struct pset *listed_set, *except_set;
    char listener[RULE_LISTENERS][PLAN_NAME];
    uint32_t nlisteners;     /* 0 = every listener */
    int64_t number;          /* a limit written into the policy; -1 = the listener's own */
    uint32_t services;       /* of `only` */
    char word[TAG_NAME];     /* a tag's name, or what an op makes of it */
    char text[VERDICT_TEXT]; /* of an answer */
};
enum on_error { ON_ERROR_CLOSED, ON_ERROR_LAST };
struct rules {
    uint32_t n;
    struct rule *rule;          /* sorted by stage, otherwise in the policy's order */
    uint32_t first[STAGES + 1]; /* rules of stage s: first[s] … first[s + 1] - 1 */
    bool lua[STAGES];           /* is there a Lua rule at that stage */
    enum on_error on_error;
    uint32_t suspend_after; /* errors within a minute; 0 = never */
};
/* How often a rule was asked, refused, allowed and failed: one array a worker, in the order of rules->rule. Written by one thread. */
struct rule_count {
    _Atomic uint64_t asked, refused, failed;
};
#define RULE_COUNT(c, field) \
    atomic_store_explicit(&(c)->field, atomic_load_explicit(&(c)->field, memory_order_relaxed) + 1, memory_order_relaxed)

/* Walk the rules of f->stage from place `at` (0, or behind a Lua rule) on. Returns the place of a Lua rule to be asked, or r->n when the verdict
 * stands. v must have been cleared. With skip_lua, Lua rules are passed over (a suspended policy). count may be NULL. */
unsigned rules_judge(const struct rules *r, const struct facts *f, unsigned at, bool skip_lua, struct verdict *v, struct rule_count *count);
/* The rules of the peer stage that concern a device in front (PROXY) as well as the callers behind it, about its own address: lists of those
 * refused, and bans. v must have been cleared. */
void rules_judge_device(const struct rules *r, const struct facts *f, struct verdict *v, struct rule_count *count);
/* Does the rule concern this connection (listener, listed, except)? */
bool rule_applies(const struct rule *r, const struct facts *f);
/* What a caller whom a walk at STAGE_PEER has let in may come to: of the rules that were asked, those before v->rule. */
void rules_bounds(const struct rules *r, const struct facts *f, const struct verdict *v, struct rule_bounds *b);
/* The bound was passed meanwhile (f->counts are the new ones): which of these rules refuses. */
void rules_over(const struct rules *r, const struct facts *f, struct verdict *v, struct rule_count *count);
/* Bit s: something is asked at stage s on that socket; lua_only: by a Lua rule. */
uint8_t rules_asks(const struct rules *r, const struct plan_socket *s, bool lua_only);
/* Sort by stage, look up lists, count stages. Errors name the policy's line. */
bool rules_bind(struct rules *r, const struct lists *l, struct err *e);
/* The rules that Portreeve has of itself, for a policy whose Lua is suspended: denied list, restriction, per-address, maximum, reserve. */
bool rules_builtin(struct rules *out, const struct lists *l, struct err *e);
void rules_finish(struct rules *r);
/* For ops: a refusal with printf'ed because. Always RULE_REFUSE. */
enum rule_says rule_refuse(struct verdict *v, enum refusal why, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A refusal by the line of a list that decided. */
enum rule_says rule_refuse_line(struct verdict *v, enum refusal why, const struct pset *s, struct pset_hit hit, const char *otherwise);
#endif
