/* What console and hub may do about bans. Any thread but a worker. */
#ifndef PORTREEVE_ENGINE_BANNING_API_H
#define PORTREEVE_ENGINE_BANNING_API_H
#include "base/buf.h"
#include "engine/engine.h"
#include "script/lib_engine.h"

/* In force for whoever is judged after the return; living connections stay (reap). false: text says why not. */
bool banning_ban(struct engine *eng, const struct ban_request *q, struct buf *text);
bool banning_unban(struct engine *eng, const char *range, const char *who, struct buf *text); /* the ban of exactly this range */
bool banning_json(struct engine *eng, struct buf *out);                                       /* array; those that end first come first */
void banning_admin(struct engine *eng, const char *address);                                  /* has used the hub with a session just now */
void banning_api(struct engine_api *out);                                                     /* fills in its part */
#endif
