/* A planner in reserve has read and tried everything once before it is called. Called, it reads every file again; what has not changed it need not
 * do again: policies that are the same bytes have been compiled and tested, by this very process, with the same library.
 * bind() itself is never called ahead, and no state in which it ran is used twice. */
#ifndef PORTREEVE_ENGINE_PLANNER_AHEAD_H
#define PORTREEVE_ENGINE_PLANNER_AHEAD_H
#include "engine/planner.h"
#include "script/vm.h"

struct planner_ahead {
    struct planner *did; /* the run that was ahead: its files, its settings */
    struct vm *rules;    /* a state that has read the rules, so that the library is loaded and long lists are known */
    struct vm *bind;     /* the same with policies/bind.lua compiled: its function is the only value on the stack */
    bool tested;         /* all policies compile, and their tests pass */
};

/* Do what can be done ahead with the files as they are; `called` is asked between the steps, and ends it. */
void ahead_make(struct planner_ahead *a, const struct planner *options, bool (*called)(void));
/* p is the run that was called for. Its rules state: made ahead, else NULL. The caller owns it. */
struct vm *ahead_rules(struct planner *p);
bool ahead_tested(const struct planner *p); /* have these very policies been tried, under these settings? */
struct vm *ahead_bind(struct planner *p);   /* the state with bind.lua compiled, where ahead_tested; else NULL. The caller owns it */
#endif
