/* The flight recorder: the last decisions, in a memfd of the supervisor's that engines map like the counters. So it survives reloads,
 * crashes and replaced engines. A segment for each worker; records are written without a lock and read while they are written (each carries
 * its number, odd as long as it is not whole: nobody is ever told half a record). Texts that come again and again (listeners, files,
 * reasons) stand once in a table. An engine's word is not trusted: readers check every bound. */
#ifndef PORTREEVE_GATE_RECORDER_H
#define PORTREEVE_GATE_RECORDER_H
#include "gate/decision.h"

#define RECORDER_MOST     1000000u /* records; PLAN_SETTINGS Decisions */
#define RECORDER_SEGMENTS 256u

struct recorder;      /* the shared memory */
struct recorder_view; /* what stands in it, in order */

/* Supervisor: makes the memory and maps it; returns the memfd (CLOEXEC), or -1. It remembers nothing before recorder_resize. */
int recorder_create(struct recorder **out, struct err *e);
/* Engine, or (read_only) a command. NULL with e: not of this version. */
struct recorder *recorder_map(int fd, bool read_only, struct err *e);
void recorder_unmap(struct recorder *r); /* NULL is legal */
/* Supervisor: room for `records` in all, shared by `workers`. The newest that fit stay. 0 = off: everything is forgotten, views are empty,
 * and only refusals go through, to the tail. The same numbers again change nothing. Workers may write meanwhile; what they write in this
 * very moment may be lost. false = out of memory, nothing has changed. */
bool recorder_resize(struct recorder *r, uint32_t records, unsigned workers);

/* Any thread of an engine, most cheaply each with a number of its own. Never waits, allocates nothing; false = not wanted, or lost
 * (counted). */
bool recorder_add(struct recorder *r, unsigned worker, const struct decision *d);

struct recorder_stats {
    uint32_t room; /* records that are remembered; 0 = off */
    uint64_t lost; /* not recorded: a writer was overtaken by a whole turn of the ring */
};
void recorder_stats(const struct recorder *r, struct recorder_stats *out);
uint64_t recorder_run(const struct recorder *r); /* unix time in ms of its making */

/* Newest first. NULL = out of memory. Records that are overwritten after this are left out by recorder_next. */
struct recorder_view *recorder_view_create(const struct recorder *r);
void recorder_view_destroy(struct recorder_view *v);
/* The next older one; its texts belong to the view and hold until the next call. */
bool recorder_next(struct recorder_view *v, struct decision *out);

/* Follow what is added, for one thread of one engine at a time: each record is given once, in the order of its segment; where it stopped
 * stands in the memory, so the next engine goes on there. false = nothing new now. *missed grows by records that were overwritten before
 * they were seen. */
struct recorder_tail;
struct recorder_tail *recorder_tail_create(struct recorder *r);
void recorder_tail_destroy(struct recorder_tail *t);
bool recorder_tail_next(struct recorder_tail *t, struct decision *out, uint64_t *missed);
#endif
