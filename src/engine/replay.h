/* Decisions that are remembered, judged again by files that are not in force: what these would have meant for those who called. The flight
 * recorder is read, and what decisions.log knows of the time before it. A decision is judged as it was taken, at its stage, with the time
 * and the counts of its record; what depends on anything else (rates, a fingerprint, a path) is counted as not to be told. Bans outlive reloads: those that the running
 * server has, and had then, are asked; one that has ended since is not to be told. Bounded:
 * the newest REPLAY_MOST decisions, REPLAY_MS of time. */
#ifndef PORTREEVE_ENGINE_REPLAY_H
#define PORTREEVE_ENGINE_REPLAY_H
#include "engine/bundle_rules.h"

#define REPLAY_MOST     100000u
#define REPLAY_MS       2000
#define REPLAY_GROUPS   8u
#define REPLAY_EXAMPLES 3u

struct replay_group { /* decisions that differ in the same way */
    enum verdict_kind was, now;
    char by[2][400]; /* reason, rule, list and entry: then, and now; "" = let in */
    uint64_t n;
    unsigned nexamples;
    struct replay_example {
        struct addr remote;
        char listener[PLAN_NAME];
        int64_t ms;
        uint32_t line;          /* of the list that lets in or keeps out; 0 = none */
    } example[REPLAY_EXAMPLES]; /* the newest, of different addresses */
};
struct replay {
    uint64_t judged, differ, unknown, gone; /* gone: these files open no such socket */
    int64_t oldest_ms;                      /* of those looked at; 0 = none was */
    bool cut;                               /* older ones were left */
    unsigned ngroups;
    struct replay_group group[REPLAY_GROUPS];
    uint64_t ungrouped; /* of `differ`, those beyond the groups */
};
/* state: of the server that runs or ran. false: what is remembered cannot be read (e); *out says what was judged so far. */
bool replay_make(struct bundle_rules *rules, const struct plan *plan, const char *state, struct replay *out, struct err *e);
/* In words, a line each; nothing where nothing is remembered. false = out of memory. */
bool replay_say(const struct replay *r, struct buf *out);
#endif
