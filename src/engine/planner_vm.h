/* The planner's Lua states, for those of its files that ask our own modules something. */
#ifndef PORTREEVE_ENGINE_PLANNER_VM_H
#define PORTREEVE_ENGINE_PLANNER_VM_H
#include "engine/planner.h"
#include "script/vm.h"

struct vm *planner_vm(struct planner *p, struct err *e);                /* for code of ours: wide limits, a backstop only */
struct vm *planner_policy_vm(struct planner *p, struct err *e);         /* for a policy file: the limits of portreeve.ini */
void planner_vm_source(struct vm *v, struct planner *p);                /* policies of p are what it can require */
bool planner_push_bind(struct planner *p, struct vm *v, struct err *e); /* compile bind.lua; its function is pushed */
void planner_push_host(lua_State *L, const struct host *h);

/* planner_rules.c */
void planner_rules(struct planner *p);
/* Push the rules; messages are taken only where `report` (they are the same every time). */
bool planner_push_rules(struct planner *p, struct vm *v, bool report, struct err *e);
void planner_messages(struct planner *p, lua_State *L, const char *field,
                      bool error); /* the list of texts in this field of the table on top */

void planner_try_policies(struct planner *p); /* planner_policies.c: compile, test */

/* planner_explain.c: which socket of p's plan serves `target`, or why none does (portreeve.explain). state[i]: words for socket i, or NULL.
 * ports: really bound, or NULL. false with e: the target is none (*usage), or something failed. */
struct explained {
    bool bound;
    struct buf text;  /* for people, lines */
    uint32_t *socket; /* sockets of the plan that serve it */
    uint32_t n;
};
bool planner_explain(struct planner *p, const char *target, const struct plan_view *v, struct explained *out, bool *usage, struct err *e);
void explained_finish(struct explained *x);
#endif
