/* A worker: one thread, one loop, one Lua state per generation, its own socket of every listener. Nothing in it blocks. Other threads reach it
 * by mail only. Its loop stands straight on epoll (reason and measurement: ARCHITECTURE.md). */
#ifndef PORTREEVE_ENGINE_WORKER_H
#define PORTREEVE_ENGINE_WORKER_H
#include "base/buf.h"
#include "base/wheel.h"
#include "engine/engine.h"
#include "engine/generation.h"
#include "engine/remotelog.h"

struct worker;
struct conn;
struct polled;
struct request_state;
struct job;

struct udp_state;
struct log_note;

struct acceptor { /* one listening socket of this worker */
    int fd;
    struct acceptor *next, *same; /* same: of this hash of the inode */
    struct worker *worker;
    struct generation *gen; /* referenced */
    struct gen_listener *listener;
    uint64_t inode;
    int expected; /* accepts to try at a turn */
    int cpu;      /* whose packets it is preferred for; -1 = any, -2 = not known (another engine may have set it) */
    bool retired;
    bool polled;  /* in the poll set */
    bool resting; /* see accept_rested */
    struct acceptor *rest_next;
    int64_t refused_ms; /* the millisecond in which `refused` callers in a row were refused */
    int refused;
};

enum mail_kind { MAIL_SWAP, MAIL_RETIRE, MAIL_DRAIN, MAIL_CLOSE_ALL, MAIL_STOP, MAIL_JOB, MAIL_SNAPSHOT, MAIL_CALL };
struct worker_call { /* something to be run on the worker; its owner is whoever has it */
    void (*run)(struct worker *w, struct worker_call *c);
    void (*drop)(struct worker_call *c); /* the worker has ended: nobody runs it */
};
struct mail {
    struct mail *next;
    enum mail_kind kind;
    union {
        struct generation *gen;
        struct job *job;
        struct snapshot *snapshot;
        struct worker_call *call;
        int64_t ms;
    };
};
struct snapshot { /* connections as JSON objects, asked for by the console */
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned waiting, limit, n;
    struct buf out;
    _Atomic int refs;
};

#define ACCEPTOR_SLOTS 1024u
struct worker {
    unsigned index;
    struct engine *eng;
    pthread_t thread;
    int epoll;          /* listeners (level-triggered), connections and `wake` (edge-triggered) */
    int wake;           /* eventfd: there is mail; never read, each write is an edge */
    _Atomic bool woken; /* written to and not looked at yet: further letters need no write */
    bool stopping;
    struct acceptor *resting; /* looked at again at rest_us (clock_mono_us) */
    int64_t rest_us;
    int cpu;                    /* it runs on this one; -1 = on any */
    int64_t tick_ms, resume_ms; /* next turn of the wheel; when accepting goes on after a pause, 0 = no pause */
    unsigned ticks;
    bool pushed; /* events went into the spool's queue and it has not been woken */
    int64_t pushed_ms;
    struct wheel wheel;
    int64_t now_ms, real_ms; /* of this turn of the loop: monotonic, unix */
    char date[30];
    struct counters_block *count;

    struct generation *gen;
    struct ban_set *bans; /* referenced; that of eng->bans_turn */
    uint64_t bans_turn;
    struct acceptor *acceptors, *by_inode[ACCEPTOR_SLOTS];
    struct polled *dead_others, *again; /* again: those with more to do at the next turn */
    unsigned parked, answering,
        leaving; /* connections that wait behind a delay, for the page that refuses them, or to hear their alert: each bounded (conn_admit.c) */
    struct conn *reap_next;    /* reap.c: who is judged next */
    struct conn *conns, *dead; /* dead: marked closed, freed at the end of the turn */
    _Atomic unsigned live;     /* connections; read by control while draining */
    _Atomic bool draining;     /* set here, read by control: until then a connection may still come in */

    struct conn *commit_first, *commit_last; /* answers waiting for the spool, in ticket order */
    struct request_state *spare;             /* free request states */
    unsigned nspare, spare_low;              /* spare_low: least since the last trim */
    struct conn *spare_conns;
    int early;       /* how often a request was there right after accept, of 256 (moving average) */
    unsigned starts; /* connections started */
    size_t bodies;   /* memory under the request bodies of all connections */
    char *scratch;   /* WORKER_SCRATCH bytes for bodies and discarding */
    struct buf access;
    struct udp_state *udp;              /* NULL until there is a UDP socket */
    struct buf letter[REMOTELOG_KINDS]; /* messages for the remote log, of this turn */

    pthread_mutex_t lock; /* below: any thread */
    struct mail *mail, **mail_tail;
    struct commit_note {
        uint64_t upto;
        bool ok;
    } note[64];
    unsigned nnotes;
    unsigned acks; /* swaps and retirements done; control waits on eng->turned */
};
#define WORKER_SCRATCH 65536u

struct worker *worker_start(struct engine *eng, unsigned index, struct err *e);
void worker_quit(struct worker *w);    /* after MAIL_STOP: join the thread; mail may still be posted */
void worker_destroy(struct worker *w); /* nobody posts any more; NULL is legal */
/* Post a letter (malloc'ed, ownership passes). Any thread. */
bool worker_post(struct worker *w, enum mail_kind kind, void *p, int64_t ms);
/* Spool callback: everything up to `upto` of this worker is durable, or refused. Any thread. */
void worker_committed(struct worker *w, uint64_t upto, bool ok);

/* For conn.c and accept.c, on the worker's own thread. */
struct
    polled { /* anything else that wants to hear of a descriptor: a backend, a datagram socket. Removed by worker_unpoll; freed no earlier than
                 * the end of the turn (worker_bury), since later events of the batch may still name it. */
    void (*event)(struct polled *p, uint32_t events);
    void (*free)(struct polled *p); /* for worker_bury */
    struct polled *next_dead, *next_again;
    bool again;
};
/* Call p's event (with no events) once more at the next turn, which does not wait: it has more to do, but others first. */
void worker_again(struct worker *w, struct polled *p);
void worker_bury(struct worker *w, struct polled *p); /* its event is not called any more; freed at the end of the turn */
enum polled_kind { POLLED_CONN, POLLED_ACCEPTOR, POLLED_MAIL, POLLED_OTHER }; /* what a descriptor of the poll set belongs to */
bool worker_poll(struct worker *w, int op, int fd, uint32_t events, enum polled_kind kind,
                 void *what); /* op: EPOLL_CTL_ADD or EPOLL_CTL_MOD */
void worker_unpoll(struct worker *w, int fd);
/* conn_admit.c: a verdict for the flight recorder, and by it for the log. local: the address called, where it is known (else family 0). */
void worker_record(struct worker *w, const struct generation *g, const struct addr *local, const struct facts *f, const struct verdict *v);
void worker_log(struct worker *w, const struct log_note *note, const char *p, size_t n); /* a message for the remote log */
#endif
