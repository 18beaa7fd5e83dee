/* What is remembered of decisions about an address: by the flight recorder, and in the files of decisions.log. For `portreeve why`. */
#ifndef PORTREEVE_ENGINE_WHY_H
#define PORTREEVE_ENGINE_WHY_H
#include "gate/decision_query.h"
#include "gate/recorder.h"

#define WHY_MOST 1000u

struct why {
    struct decision_query q; /* net and limit (at most WHY_MOST) */
    int64_t at_ms;           /* 0: the newest; else those nearest to this moment */
    unsigned n;
    struct why_found {
        int64_t us;
        char *json, *id;                      /* id: points into json */
    } found[WHY_MOST];                        /* nearest first while it is looked for */
    int64_t oldest_memory_ms, oldest_file_ms; /* how far back each goes; 0 = it knows nothing */
    uint32_t room;                            /* of the recorder; 0 = it remembers nothing */
    uint64_t dropped;                         /* lines that the files say are missing */
    unsigned files;                           /* read */
    bool memory;                              /* was there one */
};
bool why_memory(struct why *w, const struct recorder *r, struct err *e);
/* STATE/log/decisions.log and its predecessors. Files that are not there are no error; one that cannot be read is. */
bool why_files(struct why *w, const char *state_dir, struct err *e);
void why_sort(struct why *w); /* newest first */
void why_finish(struct why *w);
#endif
