/* The bans of this engine: which set its workers ask. The table they come from is the supervisor's memory (gate/bans.h), shared with an engine that is
 * being replaced; whoever changes it builds the next set, and the control thread builds one where the other engine did. */
#ifndef PORTREEVE_ENGINE_BANNING_H
#define PORTREEVE_ENGINE_BANNING_H
#include "engine/engine.h"
#include "gate/bans.h"

struct worker;
struct facts;
struct gen_listener;
bool banning_start(struct engine *eng, struct err *e); /* control, once: counters are mapped */
void banning_stop(struct engine *eng);
/* Build a set from the table as it is now and hand it to the workers: who is judged from now on is judged by it. false: out of memory, the old one
 * goes on. Any thread but a worker. */
bool banning_renew(struct engine *eng);
void banning_tick(struct engine *eng);               /* control: somebody else may have changed the table */
struct ban_set *banning_current(struct engine *eng); /* referenced */

/* Worker: what rules about bans and rates ask. */
void worker_fill_facts(struct worker *w, const struct gen_listener *l, struct facts *f);
void worker_take_bans(struct worker *w); /* the newest set; w->bans_turn tells it from others */
void worker_drop_bans(struct worker *w); /* at its end */
#endif
