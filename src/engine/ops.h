/* The operator's pages of a loopback listener: /metrics (Prometheus text), /healthz, /readyz. Made on the worker from counters alone. */
#ifndef PORTREEVE_ENGINE_OPS_H
#define PORTREEVE_ENGINE_OPS_H
#include "base/buf.h"
#include "engine/engine.h"
#include "proto/exchange.h"

/* Returns the status; text goes to body. */
int ops_answer(struct engine *eng, const struct request *req, struct buf *body);
#endif
