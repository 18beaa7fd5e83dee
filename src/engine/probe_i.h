/* What probe.c (targets, results, the thread) and probe_ask.c (one call) share; nobody else includes this. */
#ifndef PORTREEVE_ENGINE_PROBE_I_H
#define PORTREEVE_ENGINE_PROBE_I_H
#include "engine/generation.h"
#include "engine/probe.h"
#include "engine/probe_table.h"

#define PROBE_MS      2000 /* one call */
#define PROBE_NAMES   16u  /* of one certificate; that further ones are not asked for is no loss: one table serves them all */
#define PROBE_TELL_MS 100
#define NEVER         INT64_MAX

struct target { /* one socket of the plan; by the same index. Written by the prober's thread only */
    const struct plan_socket *plan;
    struct addr at; /* as bound */
    uint64_t inode;
    bool tls;
    struct tls_print print;
    const char *names;     /* names to ask for besides none: on one socket of each certificate; else "" */
    struct proof answer;   /* of the last call */
    uint64_t sharer, seen; /* a stranger's listening socket at the same place: known, and found by the look under way */
    uint32_t sharer_uid;
    bool shared;        /* the sharer was there twice */
    struct proof shown; /* what others are told; changed under probe->lock */
    bool busy;
    bool fresh;      /* no answer in this round yet */
    bool news, sent; /* the supervisor does not know yet; was told just now */
    int64_t due;
    uint32_t backoff_ms;
};
struct slot { /* one call */
    bool busy, connected, claimed, shaken;
    uint32_t target;
    int fd;
    struct addr to, client;
    int64_t began_us, deadline;
    uint32_t us;      /* the first call of a target that is asked for several names */
    const char *name; /* rest of target->names, behind the one asked for now */
    unsigned names;   /* asked for so far */
    char asked[256];  /* "" = no name */
    struct probe_claim claim;
    struct tls_ask *ask;
    struct tls *server;
};
struct probe {
    struct engine *eng;
    struct probe_table *table;
    pthread_t thread;
    int epoll;
    struct tls_asker *asker;
    struct slot slot[PROBE_SLOTS];

    pthread_mutex_t lock; /* of all up to `failed`, and of the targets' shown */
    bool stop, rest;
    uint64_t asked, answered;  /* rounds that somebody waits for (probe_again) */
    pthread_cond_t round;      /* answered, stop or rest has changed */
    bool adopting;             /* what was coming is being looked at */
    struct generation *coming; /* referenced; not adopted yet */
    uint64_t begin;            /* this generation may be proved */
    uint64_t recall_of;        /* and of this one these sockets are to be called again */
    uint32_t *recall, nrecall;

    struct generation *gen; /* referenced */
    struct target *target;
    uint32_t n;
    uint32_t probing, failed; /* by what is shown */

    /* the thread's own */
    uint64_t *ours; /* inodes of every socket of gen, sorted */
    uint32_t nours;
    bool begun, news;
    bool counting;       /* a round is under way */
    uint32_t unanswered; /* of it */
    uint64_t taken;      /* p->asked when it began */
    int64_t round_ms, told_ms, look_ms, next_due;
    uint32_t look_backoff_ms, cursor;
};

int64_t probe_now_us(void);
/* probe_target.c: the answer of a call. PROOF_PROVED, PROOF_FAILED or PROOF_WAITING. */
void probe_answer(struct probe *p, struct target *t, enum proof_state state, uint32_t us, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void probe_adopt(struct probe *p, struct generation *g); /* takes the reference */
void probe_look_around(struct probe *p, int64_t now);    /* for strangers, when it is time to */
void probe_tell(struct probe *p);                        /* the supervisor, what is new */
void probe_end_round(struct probe *p);                   /* when every socket has had its answer: log it, tell who waits */
/* probe_ask.c */
void probe_call(struct probe *p, struct slot *s, uint32_t target); /* a free slot */
void probe_step(struct probe *p, struct slot *s);                  /* something happened to it */
void probe_expire(struct probe *p, struct slot *s);                /* its time is over */
void probe_hang_up(struct probe *p, struct slot *s);               /* without an answer; idempotent */
/* probe_udp.c: the answer for a UDP socket, without a call. */
void probe_datagrams(struct probe *p, struct target *t);
/* probe_share.c: who else listens where we do. false: the kernel does not tell. */
bool probe_sharers(struct probe *p);
bool probe_own(struct probe *p, const struct generation *g); /* which sockets are ours; false = no memory */
#endif
