/* Which accepted connections are our own questions? The prober connects and notes its end of the connection under one lock; a worker that accepts
 * somebody while any question is open looks under the same lock, so it finds the note however fast the kernel was. A worker that knows the caller
 * hands the descriptor over, together with what it would have served him by, and has nothing more to do with it.
 * While no question is open this costs accept one relaxed load. */
#ifndef PORTREEVE_ENGINE_PROBE_TABLE_H
#define PORTREEVE_ENGINE_PROBE_TABLE_H
#include "base/addr.h"
#include <pthread.h>
#include <stdatomic.h>

#define PROBE_SLOTS 64

struct generation;
struct probe_claim { /* what a worker hands over; owner: whoever takes it out */
    int fd;
    struct generation *gen; /* referenced */
    uint32_t listener;      /* index in gen's plan */
    unsigned worker;
};
struct probe_table {
    _Atomic unsigned open; /* questions under way; accept reads it without the lock */
    int wake;              /* eventfd: somebody claimed; the prober polls it */
    pthread_mutex_t lock;
    struct {
        bool open, claimed;
        struct addr client; /* our end */
        struct probe_claim claim;
    } entry[PROBE_SLOTS];
};

bool probe_table_init(struct probe_table *t, struct err *e);
void probe_table_finish(struct probe_table *t); /* every question is closed */
/* The prober: connect fd (non-blocking) and open question `slot`. 0 = connected or under way, and *client is our end; else an errno. */
int probe_table_connect(struct probe_table *t, unsigned slot, int fd, const struct addr *to, struct addr *client);
/* A worker: is this caller one of ours? true: the claim (descriptor, reference) has gone over to the table. */
bool probe_table_claim(struct probe_table *t, const struct sockaddr *caller, const struct probe_claim *claim);
/* The prober: has a worker claimed it? true once, with what it handed over. */
bool probe_table_take(struct probe_table *t, unsigned slot, struct probe_claim *out);
/* The question is over; true: it was claimed and not taken yet, *late is the caller's to release. Closing twice is harmless. */
bool probe_table_close(struct probe_table *t, unsigned slot, struct probe_claim *late);
#endif
