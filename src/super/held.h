/* The listening sockets of one bound address: one per worker, all in one SO_REUSEPORT group. Shared by reference among generations. */
#ifndef PORTREEVE_SUPER_HELD_H
#define PORTREEVE_SUPER_HELD_H
#include "super/adopt.h"
#include <sys/types.h>

struct held {
    unsigned refs;
    uint64_t mark;   /* number of the generation that marked it last (generation_mark) */
    uint32_t marked; /* which of its sockets this was */
    struct addr at; /* as bound: the port is the real one */
    int backlog;
    bool adopted;     /* the service manager made the first one: if ours may not join it, all workers share it */
    bool freebind;    /* bound wherever its address may be */
    bool late;        /* shares its address with living sockets: listens only right before the commit */
    unsigned n, kept; /* sockets; how many of them belong to a committed generation */
    struct held_fd {
        int fd;
        bool listening;
        ino_t inode;
    } *fd;
};

#define RETIRED 1024
struct held_retired { /* the sockets closed last: an engine may still hold them for a while, and they are ours, not a stranger's */
    unsigned next;
    struct {
        struct addr at;
        ino_t inode; /* 0 = empty */
    } s[RETIRED];
};

struct held_others { /* every group there is, to see overlaps and to know our own sockets; entries may be NULL */
    const struct held_retired *retired;
    struct held *const *old;
    uint32_t nold;
    struct held *const *now;
    uint32_t nnow;
};

/* Open the first socket. NULL with e; *taken where the port is somebody else's. */
struct held *held_open(const struct addr *at, int backlog, bool freebind, const struct held_others *others, struct adopted *a, bool *taken, struct err *e);
struct held *held_ref(struct held *h);
void held_unref(struct held *h); /* NULL is legal; the last one closes */
/* Have at least one socket per worker. More than that stay: closing one would reset the callers in its queue. */
bool held_widen(struct held *h, unsigned workers, struct err *e);
bool held_listen(struct held *h, int backlog, struct err *e);
void held_retire(struct held *h, struct held_retired *r); /* deafen, before the last reference goes: no new caller may queue where nobody accepts */
void held_commit(struct held *h);
void held_revert(struct held *h); /* close what was added since the last commit */
#endif
