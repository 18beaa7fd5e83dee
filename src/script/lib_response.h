/* portreeve.response: answers made once (`response.fixed{status=, headers=, body=}`) and the strict reading of plain answer tables. */
#ifndef PORTREEVE_SCRIPT_LIB_RESPONSE_H
#define PORTREEVE_SCRIPT_LIB_RESPONSE_H
#include "base/buf.h"
#include "proto/h1.h"
#include "script/lib.h"

/* NULL where the value at index is no fixed response. */
const struct h1_fixed *response_fixed_at(lua_State *L, int index);
/* Read {status=, headers={Name = value | {values}}, body=} strictly: unknown keys, bad names, CR/LF in values are errors. Raises nothing. */
bool response_read(lua_State *L, int index, int *status, struct buf *fields, struct buf *body, struct err *e);
#endif
