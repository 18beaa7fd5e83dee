/* What the running engine tells of itself, as JSON: for hub, ui and console (struct engine_api). Any thread but a worker. */
#ifndef PORTREEVE_ENGINE_STATUS_H
#define PORTREEVE_ENGINE_STATUS_H
#include "engine/engine.h"
#include "script/lib_engine.h"

bool status_rules(void *ctx, struct buf *b); /* the admission policy's rules, as a JSON array (status_rules.c) */
void status_policy(struct engine *eng, const struct generation *g, struct buf *b); /* how it is doing: ,"policy":{…} */
void status_api(struct engine *eng, struct engine_api *out);
bool status_decisions(void *ctx, const struct decision_query *q, struct buf *out); /* of engine_api; status_decisions.c */
#endif
