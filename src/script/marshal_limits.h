/* The parts of a socket of bind.lua's plan that are tables of numbers. */
#ifndef PORTREEVE_SCRIPT_MARSHAL_LIMITS_H
#define PORTREEVE_SCRIPT_MARSHAL_LIMITS_H
#include "plan/plan.h"
#include <lua5.4/lua.h>

enum marshal_limits_kind { MARSHAL_RATES, MARSHAL_BITS, MARSHAL_LINES };
/* The table on top into s. false: *bad = the key whose value is not as it must be; the stack may have grown. */
bool marshal_limits(lua_State *L, struct plan_socket *s, enum marshal_limits_kind kind, const char **bad);
#endif
