/* portreeve.token for workers and trusted code. Which keys it uses is the state's: lib_token_set_ctx once after the state is made. */
#ifndef PORTREEVE_SCRIPT_LIB_TOKEN_H
#define PORTREEVE_SCRIPT_LIB_TOKEN_H
#include "script/lib.h"

void lib_token_set_ctx(lua_State *L, struct token_ctx *c); /* c must outlive the state and belong to the thread that runs it */
struct token *token_at(lua_State *L, int index);           /* NULL where the value is no token */
#endif
