/* The listening sockets of one bound address: one per worker, all in one SO_REUSEPORT group. Shared by reference among generations. */
#ifndef PORTREEVE_SUPER_HELD_H
#define PORTREEVE_SUPER_HELD_H
#include "super/adopt.h"
#include <sys/types.h>

struct held {
    unsigned refs;
    uint64_t mark;   /* number of the generation that marked it last (generation_mark) */
    uint32_t marked; /* which of its sockets this was */
    struct addr at;  /* as bound: the port is the real one */
    int backlog;
    bool adopted;     /* the service manager made the first one: if ours may not join it, all workers share it */
    bool freebind;    /* bound wherever its address may be */
    bool away;        /* its address has gone from this machine since */
    bool late;        /* no caller may be queued yet: listens only right before the commit */
    unsigned n, kept; /* sockets; how many of them belong to a committed generation */
    struct held_fd {
        int fd;
        bool listening; /* UDP: bound */
        ino_t inode;
    } * fd;
};

#define RETIRED_MOST 65536u
struct held_retired { /* the sockets closed last: an engine may still hold them for a while, and they are ours, not a stranger's */
    uint32_t n, next; /* beyond RETIRED_MOST the oldest are forgotten */
    struct held_gone {
        struct addr at;
        ino_t inode;
    } * s;
};

struct ports;
struct generation;
struct held_others {             /* what a new socket may meet */
    const struct ports *foreign; /* that is refused */
    const struct generation *old, *now;
    const struct held_retired *retired;
};

struct held_wish {
    struct addr at;
    int backlog;
    bool freebind;
    bool beside; /* a living socket of ours overlaps it: share the port (STEP_JOIN) */
    bool quiet;  /* no caller may be queued before the commit */
};

/* Open the first socket. NULL with e; *taken where the port is somebody else's. */
struct held *held_open(const struct held_wish *w, const struct held_others *others, struct adopted *a, bool *taken, struct err *e);
/* Is a program that is not ours on the address and port of this group? Then false with e. */
bool held_alone(const struct held *h, const struct held_others *others, struct err *e);
struct held *held_ref(struct held *h);
void held_unref(struct held *h); /* NULL is legal; the last one closes */
/* Have at least one socket per worker. More than that stay: closing one would reset the callers in its queue. */
bool held_widen(struct held *h, unsigned workers, struct err *e);
bool held_listen(struct held *h, int backlog, struct err *e);
void held_retire(struct held *h,
                 struct held_retired *r); /* deafen, before the last reference goes: no new caller may queue where nobody accepts */
void held_commit(struct held *h);
void held_revert(struct held *h); /* close what was added since the last commit */
#endif
