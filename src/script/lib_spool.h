/* portreeve.spool for trusted code: the engine's spool, read through a connection of the state's own. */
#ifndef PORTREEVE_SCRIPT_LIB_SPOOL_H
#define PORTREEVE_SCRIPT_LIB_SPOOL_H
#include "script/lib.h"
#include "svc/spool.h"

/* s NULL: no tracker runs here, every function says so. s and the state's thread: s must outlive the state. dir: STATE/spool, copied. */
void lib_spool_set(lua_State *L, struct spool *s, const char *dir);
#endif
