/* The last refusals, for the console: bounded, shared by all workers behind one short mutex. Also says each one in the log. */
#ifndef PORTREEVE_GATE_REFUSALS_H
#define PORTREEVE_GATE_REFUSALS_H
#include "gate/facts.h"

#define REFUSALS_KEPT 4096u

struct refusal_record {
    int64_t ms;
    struct addr remote;
    char listener[PLAN_NAME];
    enum refusal reason;
    char because[256];
    uint64_t generation;
};
struct refusals;
struct refusals *refusals_create(void);
void refusals_destroy(struct refusals *r);
/* Record, count in `block`, and log (rate-limited by the log). */
void refusals_add(struct refusals *r, struct counters_block *block, const struct facts *f, const struct verdict *v, uint64_t generation);
/* Newest first; returns how many were copied. */
unsigned refusals_last(struct refusals *r, struct refusal_record *out, unsigned cap);
#endif
