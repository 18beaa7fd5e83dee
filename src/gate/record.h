/* From what admission knows and has decided to what is remembered of it. */
#ifndef PORTREEVE_GATE_RECORD_H
#define PORTREEVE_GATE_RECORD_H
#include "gate/counters.h"
#include "gate/decision.h"
#include "gate/facts.h"

struct record_texts { /* what the decision points to, besides facts and verdict */
    char list[320], tags[TAGS_MOST * TAG_NAME];
};
/* The decision holds as long as facts, verdict and texts do. */
void record_make(const struct facts *f, const struct verdict *v, uint64_t generation, struct record_texts *t, struct decision *out);
void record_count(struct counters_block *block, enum refusal why); /* a refusal (not REFUSE_NONE), in its counter */
#endif
