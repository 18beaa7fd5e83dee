/* Are there descriptors enough for a plan? Asked before anything is bound, so that the answer names a number instead of the socket at which they
 * ran out; and an engine that runs out of them while it is handed sockets cannot go on. */
#ifndef PORTREEVE_SUPER_ROOM_H
#define PORTREEVE_SUPER_ROOM_H
#include "super/holder.h"

/* Room for g beside old (NULL = none) in supervisor and engine, which have the same limit. g->steps are made. false with e. */
bool room_enough(const struct generation *g, const struct generation *old, struct err *e);
#endif
