/* The inside of a running spool, for the spool*.c files only.
 * Each producer has two halves: it appends encoded records to one, the spool thread takes the other away whole. A half knows where it may
 * be cut into rows. The thread's turn: take every half, one transaction, tell the producers, again; it sleeps only where nothing waits.
 * Locks: producer.lock (append, take) and spool.lock (idle, acks, waiters); the former may be taken inside the latter, never the reverse. */
#ifndef PORTREEVE_SVC_SPOOL_I_H
#define PORTREEVE_SVC_SPOOL_I_H
#include "svc/spool_db.h"
#include <pthread.h>
#include <stdatomic.h>

#define HALF_MAX      (4u << 20)  /* bytes a producer may have waiting; then spool_push returns 0 */
#define CUT           (64u << 10) /* a row may end about every so many bytes */
#define CUTS          (HALF_MAX / CUT + 1)
#define ROW           (256u << 10) /* bytes of a row: about 1.5 MB as NDJSON */
#define ACKS          32u
#define SEEN_AGAIN_MS (3600ll * 1000) /* an ack that changes nothing is written once an hour */

struct half {
    uint8_t *p;
    size_t n, cap;
    uint32_t count; /* records since the last cut */
    unsigned cuts;
    struct {
        size_t end;
        uint32_t count;
    } cut[CUTS];
};
struct producer {
    _Alignas(64) pthread_mutex_t lock;
    struct half half[2];
    unsigned filling;
    uint64_t ticket, dropped;
    struct pseudonyms *who;
    uint64_t taken_to; /* spool thread only: last ticket of the half it holds; 0 = holds none */
};
struct ack {
    struct spool_cursor c;
    bool done, fine;
    struct err *e;
};
struct known { /* what a reader last said, to answer repetitions at once */
    char reader[READER_NAME];
    uint64_t pos;
    int64_t written_mono, seen_mono;
    bool warned;
};
struct spool {
    struct spool_config cfg;
    char dir[3900], tracker[64];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, moved; /* thread · spool_wait and spool_ack */
    bool stop, hurry;
    uint64_t turns; /* of generations: who waits since an earlier one need not wait on */
    _Atomic bool idle, failing, full;
    struct ack *ack[ACKS];
    unsigned acks;
    struct known known[SPOOL_READERS];
    unsigned nknown;
    struct spool_stats stats; /* lock */
    _Atomic uint64_t last_pos;
    int64_t started_mono;
    /* the thread's own */
    struct spool_db db;
    uint64_t epoch, seq, trim_to, fail_drops;
    bool trimming, damaged;
    bool tight; /* the disk was full: the ballast is given up, acks are taken, events only when the ballast can be made again */
    int64_t retry_at, measured;
    uint8_t *row;
    size_t row_n;
    uint32_t row_count;
    struct producer producer[];
};

/* spool_queue.c: halves. */
bool half_append(struct half *h, const uint8_t *p, size_t n); /* false: full or no memory */
uint64_t half_count(const struct half *h);
uint64_t queue_take(struct spool *s); /* sets producer.taken_to of every half taken; records in them */
bool queue_any(struct spool *s);
void queue_tell(struct spool *s, bool fine); /* done callbacks, and the halves are empty again */

/* spool_thread.c */
void *spool_thread(void *spool);
void spool_publish(struct spool *s, uint64_t committed, uint64_t dropped, int64_t us);
void spool_begin_failing(struct spool *s, const struct err *e, enum db_result r);
void spool_wait_on(struct spool *s, pthread_cond_t *c, int64_t ms); /* under lock */

/* spool_acks.c: what readers say, on the spool thread. */
void spool_answer_acks(struct spool *s);
void spool_first_cursors(struct spool *s);
struct known *spool_known(struct spool *s, const char *reader); /* under lock */
#endif
