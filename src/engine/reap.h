/* Reaping: the living connections are judged again as if they came today (rules of stage peer, today's lists, bans and limits), and those that would not come
 * in are ended gently: idle ones at once, HTTP that is busy after its answer, everything else that has no answers (tunnels) at once.
 * Rates and the reserve are about who comes, and have nothing to say here; of connections too many, those that came last go. */
#ifndef PORTREEVE_ENGINE_REAP_H
#define PORTREEVE_ENGINE_REAP_H
#include "base/buf.h"
#include "engine/engine.h"

#define REAP_SHOWN 1000u /* connections that are named; all are counted */
/* {"dry":,"judged":,"closed":,"closing":,"spared":,"list":[{"address":,"listener":,"state":,"reason":,"because":,"policy":}…]}; with dry nothing is ended,
 * and closed and closing are what would be. Any thread but a worker; one worker after the other, in small parts. false: out of memory, or too late. */
bool reap_run(struct engine *eng, bool dry, const char *who, struct buf *out);
#endif
