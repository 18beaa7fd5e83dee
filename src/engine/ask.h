/* What threads of the engine ask of the supervisor and wait for: a reload, a change of entries. Each request has a number, and its answer
 * goes to the thread that asked, whatever others ask meanwhile. */
#ifndef PORTREEVE_ENGINE_ASK_H
#define PORTREEVE_ENGINE_ASK_H
#include "engine/engine.h"

/* Send the message (type of wire.h) with "id N\n" and then `more` as payload, and wait for its answer (at most 120 s). Not from the control
 * thread or a worker. *text is malloc'ed, NULL on ENOMEM. */
bool ask_supervisor(struct engine *e, uint32_t type, const char *more, size_t n, char **text);
void ask_answered(struct engine *e, uint64_t id, bool ok, const char *text); /* control thread */
void ask_give_up(struct engine *e);                                          /* the engine ends: nobody waits any longer */
#endif
