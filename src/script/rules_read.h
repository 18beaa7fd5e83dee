/* What policies/admission.lua returns, as rules in C. */
#ifndef PORTREEVE_SCRIPT_RULES_READ_H
#define PORTREEVE_SCRIPT_RULES_READ_H
#include "gate/rules.h"
#include "script/vm.h"

/* The policy's value is on top: rules { … } of portreeve.admission, or a function. It is read and checked, bound to the lists (NULL: the caller
 * only wants to know whether it can be read; then the rules are in the policy's order), and replaced by a table of the functions of its
 * Lua rules, at place + 1. On false (e names file and line) there is nothing to finish. */
bool rules_read(struct vm *v, const char *display, const struct lists *l, struct rules *out, struct err *e);
#endif
