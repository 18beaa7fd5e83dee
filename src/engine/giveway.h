/* NAME.GiveWay=On: where the maximum of a listener is reached and a client calls, the connection of no client that has been idle longest, at whichever
 * worker, is closed for him. The caller waits meanwhile: a letter goes once round the workers, each says how long its idlest has been so, the one
 * that has the idlest closes it, and the caller is judged again where he called. Not for callers
 * whom a PROXY header names. */
#ifndef PORTREEVE_ENGINE_GIVEWAY_H
#define PORTREEVE_ENGINE_GIVEWAY_H
#include "engine/conn.h"

/* A caller has been refused at stage peer. true: somebody may give way to him; he is parked and judged again when the letter is back. */
bool giveway_ask(struct conn *c, const struct facts *f, const struct verdict *v);
void giveway_forget(struct conn *c); /* it is closed while its letter is under way */
#endif
