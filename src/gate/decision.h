/* One decision about a connection, as the flight recorder keeps it and as people are told of it. */
#ifndef PORTREEVE_GATE_DECISION_H
#define PORTREEVE_GATE_DECISION_H
#include "base/addr.h"
#include "base/buf.h"
#include "gate/stage.h"

struct decision {
    int64_t ms; /* unix time, and the microseconds of that millisecond: workers decide at the same time */
    uint16_t us;
    uint64_t id; /* given by recorder_add; unique in one recorder */
    uint64_t generation;
    struct addr remote, local; /* with ports; local.family 0 = not known, its port may be all the same */
    enum stage stage;
    enum verdict_kind verdict;
    const char *listener;    /* texts are never NULL; "" = there is none */
    const char *reason;      /* "denied", "per-address" …: the word that policies use; "" for allow */
    const char *because;     /* the words of the rule or of the policy; cut to what a record holds */
    const char *policy_file; /* "policies/admission.lua", with the line of the rule that decided */
    uint32_t policy_line;
    const char *list_file; /* "conf/lists/denied.list" and the line that decided, where one did */
    uint32_t list_line;
    const char *entry_file; /* "conf/listeners.ini" and the entry's line, where a limit or restriction of the listener did */
    uint32_t entry_line;
    const char *sni, *tags; /* cut; tags "a,b" */
    /* As they stood when it was decided, this connection included; a limit of 0 = none. */
    uint32_t active, from_address, maximum, per_address, reserve;
    int32_t rate_left; /* of the tightest rate that was asked; -1 = none was */
    uint16_t status;   /* of an answer, 0 = none */
    uint16_t delay_ms;
};

/* One JSON object without a newline. run: tells this recorder's ids from those of other runs (recorder_run). false = out of memory. */
bool decision_json(const struct decision *d, uint64_t run, struct buf *out);
#endif
