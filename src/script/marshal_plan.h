/* Strict reading of the plan that policies/bind.lua returned: every key must be known, every value of its type and in its range.
 * Raw access only: no metamethod of a policy runs here. */
#ifndef PORTREEVE_SCRIPT_MARSHAL_PLAN_H
#define PORTREEVE_SCRIPT_MARSHAL_PLAN_H
#include "plan/plan.h"
#include <lua5.4/lua.h>

/* A warning or an error that the policy itself put into its plan; the text is valid during the call. */
typedef void marshal_say(void *ctx, bool error, const char *text);

/* The value at `index` into p->socket, p->nsockets; warnings and errors of the plan go to say(). The rest of p is left alone.
 * false with e ("socket 3: field 'port' …"); p->socket is then whatever was read so far (plan_finish frees it). */
bool marshal_plan(lua_State *L, int index, struct plan *p, marshal_say *say, void *ctx, struct err *e);
#endif
