/* What the files of portreeve.engine share. */
#ifndef PORTREEVE_SCRIPT_LIB_ENGINE_I_H
#define PORTREEVE_SCRIPT_LIB_ENGINE_I_H
#include "script/lib_engine.h"

const struct engine_api *lib_engine_api(lua_State *L);          /* raises where no engine runs */
int lib_engine_decoded(lua_State *L, bool fine, struct buf *b); /* JSON text as a value; frees b; upvalue 1 decodes */

/* lib_engine_gate.c: adds its functions to the table below the top; the top becomes their upvalue 1, and stays. */
void lib_engine_gate(lua_State *L);
#endif
