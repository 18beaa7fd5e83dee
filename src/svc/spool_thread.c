#include "base/clock.h"
#include "base/log.h"
#include "svc/spool_i.h"
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define RETRY_MS      500       /* between attempts to open a failing spool */
#define MEASURE_EVERY (1 << 20) /* bytes written between looks at the file's true size */

static enum db_result write_row(struct spool *s, uint64_t *seq, struct err *e) {
    if (s->row_count == 0) return DB_OK;
    batch_seal(s->row, s->row_n);
    enum db_result r = spool_db_insert(&s->db, s->epoch, *seq + 1, s->row_count, s->row, s->row_n, e);
    *seq += s->row_count;
    s->row_n = BATCH_HEAD;
    s->row_count = 0;
    return r;
}

static enum db_result write_half(struct spool *s, const struct half *h, uint64_t *seq, struct err *e) {
    size_t from = 0;
    enum db_result r = DB_OK;
    for (unsigned k = 0; k < h->cuts && r == DB_OK; k++) {
        size_t n = h->cut[k].end - from;
        if (s->row_n + n > ROW) r = write_row(s, seq, e);
        memcpy(s->row + s->row_n, h->p + from, n);
        s->row_n += n;
        s->row_count += h->cut[k].count;
        from = h->cut[k].end;
    }
    return r;
}

/* One transaction: every half taken, and a bounded part of what may be deleted. */
static enum db_result write_turn(struct spool *s, uint64_t *seq, struct err *e) {
    uint64_t newest = s->db.last_pos;
    enum db_result r = spool_db_begin(&s->db, e);
    s->row_n = BATCH_HEAD;
    s->row_count = 0;
    for (unsigned i = 0; i < s->cfg.producers && r == DB_OK; i++) {
        struct producer *pr = &s->producer[i];
        if (pr->taken_to != 0) r = write_half(s, &pr->half[pr->filling ^ 1], seq, e);
    }
    if (r == DB_OK) r = write_row(s, seq, e);
    bool more = false;
    if (r == DB_OK && s->trimming) r = spool_db_trim(&s->db, s->trim_to, &more, e);
    if (r == DB_OK) r = spool_db_commit(&s->db, e);
    if (r == DB_OK) {
        s->trimming = more;
    } else {
        spool_db_undo(&s->db);
        s->db.last_pos = newest; /* told to readers, a position that is not there would let none of them wait */
    }
    return r;
}

void spool_publish(struct spool *s, uint64_t committed, uint64_t dropped, int64_t us) {
    pthread_mutex_lock(&s->lock);
    struct spool_stats *st = &s->stats;
    st->committed += committed;
    st->dropped += dropped;
    if (committed > 0) {
        st->commits++;
        st->last_commit_us = us;
        st->backlog += (int64_t)committed;
    }
    st->epoch = s->epoch;
    st->last_seq = s->seq;
    st->bytes = s->db.bytes;
    st->failing = atomic_load(&s->failing);
    atomic_store(&s->last_pos, s->db.last_pos);
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

void spool_begin_failing(struct spool *s, const struct err *e, enum db_result r) {
    s->damaged = r == DB_DAMAGED;
    if (r == DB_FULL) {
        s->tight = true;
        spool_ballast_drop(&s->db);
    }
    s->retry_at = clock_mono_ms() + RETRY_MS;
    spool_db_close(&s->db);
    pthread_mutex_lock(&s->lock);
    s->stats.failures++;
    pthread_mutex_unlock(&s->lock);
    if (atomic_exchange(&s->failing, true)) return;
    s->fail_drops = 0;
    log_error(
        "spool",
        "events cannot be stored: %s. Pixels and redirects go on being answered, unsubscribes get 503, events are dropped and counted "
        "until the spool can be written again",
        e->text);
}

static int64_t mono_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* At max_bytes nothing more goes in until readers let something be deleted. */
static bool over_the_bound(struct spool *s) {
    if (s->db.bytes - s->measured >= MEASURE_EVERY || s->db.bytes >= s->cfg.max_bytes) {
        spool_db_measure(&s->db);
        s->measured = s->db.bytes;
    }
    bool over = s->db.bytes >= s->cfg.max_bytes;
    if (over && !atomic_exchange(&s->full, true)) {
        atomic_store(&s->failing, true);
        log_error("spool",
                  "the spool has reached %" PRId64 " bytes (SpoolMaxBytes of portreeve.ini is %" PRId64
                  "): events are dropped and counted until the ui has "
                  "fetched and acknowledged some",
                  s->db.bytes, s->cfg.max_bytes);
    } else if (!over && atomic_exchange(&s->full, false)) {
        atomic_store(&s->failing, false);
        log_notice("spool", "the spool is below SpoolMaxBytes again (%" PRId64 " bytes): events are stored again", s->db.bytes);
    }
    return over;
}

static void refuse(struct spool *s, uint64_t count) {
    s->fail_drops += count;
    queue_tell(s, false);
    spool_publish(s, 0, count, 0);
}

static void turn(struct spool *s) {
    struct err e = {""};
    uint64_t count = queue_take(s), seq = s->seq;
    bool down = s->db.db == NULL, was_trimming = s->trimming;
    if (count > 0 && (down || s->tight || over_the_bound(s))) {
        refuse(s, count);
        return;
    }
    if (down || (count == 0 && !s->trimming)) return;
    int64_t from = mono_us();
    enum db_result r = write_turn(s, &seq, &e);
    if (r != DB_OK) {
        spool_begin_failing(s, &e, r);
        refuse(s, count);
        return;
    }
    s->seq = seq;
    queue_tell(s, true);
    spool_publish(s, count, 0, mono_us() - from);
    sched_yield(); /* on a shared processor whose answers waited goes first: more events come together for the next commit */
    if (was_trimming && !s->trimming) { /* there is space again: measure, which also ends `full` */
        s->measured = INT64_MIN / 2;
        over_the_bound(s);
        spool_publish(s, 0, 0, 0);
    }
}

static void try_again(struct spool *s) {
    struct err e = {""};
    s->retry_at = clock_mono_ms() + RETRY_MS;
    if (s->db.db == NULL) {
        enum db_result r = spool_db_open(&s->db, s->dir, s->tracker, s->damaged ? OPEN_DAMAGED : OPEN_AGAIN, &s->epoch, &s->seq, &e);
        if (r == DB_FULL && !s->tight) {
            s->tight = true;
            spool_ballast_drop(&s->db);
        }
        if (r != DB_OK) return;
        pthread_mutex_lock(&s->lock);
        s->nknown = 0; /* a fresh file has no cursors: let each reader's next word be written */
        pthread_mutex_unlock(&s->lock);
    }
    if (s->tight && !spool_ballast_make(&s->db)) return;
    s->tight = s->damaged = false;
    s->measured = s->db.bytes;
    atomic_store(&s->full, false);
    atomic_store(&s->failing, false);
    log_notice("spool", "the spool can be written again; %" PRIu64 " waiting events were dropped meanwhile, besides those refused",
               s->fail_drops);
    over_the_bound(s);
    spool_publish(s, 0, 0, 0);
}

void spool_wait_on(struct spool *s, pthread_cond_t *c, int64_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(c, &s->lock, &t);
}

static bool troubled(const struct spool *s) {
    return s->db.db == NULL || s->tight;
}

/* Sleep until something waits. false: stop was asked and nothing is left. */
static bool rest(struct spool *s) {
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->idle,
                 true); /* from here on a producer signals, for which it needs the lock; what it appended before, queue_any sees */
    bool work = s->acks > 0 || (s->trimming && s->db.db != NULL && !s->stop) || queue_any(s);
    if (!work && !s->stop) {
        int64_t ms = s->retry_at - clock_mono_ms();
        if (!troubled(s)) pthread_cond_wait(&s->wake, &s->lock);
        else if (ms > 0) spool_wait_on(s, &s->wake, ms);
    }
    atomic_store(&s->idle, false);
    bool on = !s->stop || s->acks > 0 || queue_any(s);
    pthread_mutex_unlock(&s->lock);
    return on;
}

void *spool_thread(void *arg) {
    struct spool *s = arg;
    pthread_setname_np(pthread_self(), "spool");
    /* It wakes twice a commit for the disk; as a batch thread it does not interrupt a worker for that. Refused: then it does. */
    pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){0});
    do {
        if (troubled(s) && clock_mono_ms() >= s->retry_at) try_again(s);
        spool_answer_acks(s);
        turn(s);
    } while (rest(s));
    return NULL;
}
