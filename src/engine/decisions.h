/* What is told of decisions while the server runs: a line in the log for refusals, and STATE/log/decisions.log. One thread follows the
 * flight recorder, so that no worker formats a line, waits for a disk, or shares a lock for it. Of the engines that overlap at an exchange
 * one tells, for both. */
#ifndef PORTREEVE_ENGINE_DECISIONS_H
#define PORTREEVE_ENGINE_DECISIONS_H
#include "base/buf.h"
#include "gate/recorder.h"
#include "plan/plan.h"

struct decisions;
struct decisions *decisions_start(struct recorder *r, const char *state_dir, struct err *e);
/* Of a generation that is in force. Control thread. */
void decisions_settings(struct decisions *d, const struct plan_settings *set);
void decisions_wake(struct decisions *d, bool refused); /* something was recorded; any worker, most often a load and a branch */
void decisions_rest(struct decisions *d);               /* another engine takes over: it tells from now on */
void decisions_stop(struct decisions *d);               /* tell what is left, join; NULL is legal */

/* {"recorded":…}: how much fits, what was lost and why. */
bool decisions_json(struct decisions *d, struct buf *out);
#endif
