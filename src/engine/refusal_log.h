/* Refusals in the log, so that a flood of them fills neither disk nor eyes: of each reason and listener REFUSAL_BURST lines at once, then
 * one a second; how many were left out stands in the next line, or in one of its own when it is over. One thread. */
#ifndef PORTREEVE_ENGINE_REFUSAL_LOG_H
#define PORTREEVE_ENGINE_REFUSAL_LOG_H
#include "gate/decision.h"

#define REFUSAL_BURST 10
#define REFUSAL_KINDS 256u

struct refusal_log {
    struct refusal_kind {
        char listener[64], reason[32];
        int64_t refilled_ms;
        int tokens;
        uint64_t held;
    } kind[REFUSAL_KINDS];
};
void refusal_log_say(struct refusal_log *l, const struct decision *d, int64_t now_ms); /* now_ms: monotonic */
/* Say what is held back of kinds that were silent for a second, or of all. Every second or so. */
void refusal_log_sweep(struct refusal_log *l, int64_t now_ms, bool all);
#endif
