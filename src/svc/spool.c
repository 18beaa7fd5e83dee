#include "base/clock.h"
#include "svc/spool_i.h"
#include <inttypes.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t spool_push(struct spool *s, unsigned producer, const struct event *ev) {
    __attribute__((uninitialized)) uint8_t record[RECORD_MAX]; /* half a kilobyte to zero for each event otherwise */
    if (producer >= s->cfg.producers) return 0;
    struct producer *pr = &s->producer[producer];
    bool order = ev->type == EV_UNSUBSCRIBE || ev->type == EV_RESUBSCRIBE, take = !atomic_load_explicit(&s->failing, memory_order_acquire);
    if (ev->token.level == LEVEL_OFF && !order) return 0;
    uint64_t ticket = 0;
    pthread_mutex_lock(&pr->lock);
    if (take && pr->who == NULL) pr->who = pseudonyms_create(s->db.pseudonym_key);
    size_t n = take ? record_encode(ev, pr->who, record) : 0;
    if (n > 0 && half_append(&pr->half[pr->filling], record, n)) ticket = ++pr->ticket;
    else pr->dropped++;
    pthread_mutex_unlock(&pr->lock);
    return ticket;
}

void spool_wake(struct spool *s) {
    if (!atomic_load(&s->idle)) return; /* it looks again before it rests */
    pthread_mutex_lock(&s->lock);       /* it has said that it rests and has not looked yet, or waits already */
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->wake); /* without the lock, for which it would have to wait again at once */
}

static bool config_ok(const struct spool_config *cfg, struct err *e) {
    size_t n = strlen(cfg->tracker_id);
    if (n == 0 || n > 63 || strspn(cfg->tracker_id, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
        return err_set(e, "TrackerId '%.80s': 1 to 63 of a-z, 0-9 and -", cfg->tracker_id);
    if (strlen(cfg->dir) >= sizeof((struct spool *)0)->dir) return err_set(e, "%.100s…: path too long", cfg->dir);
    if (cfg->producers == 0 || cfg->producers > 1024) return err_set(e, "spool: %u producers", cfg->producers);
    return true;
}

static void destroy(struct spool *s) {
    spool_db_close(&s->db);
    for (unsigned i = 0; i < s->cfg.producers; i++) {
        struct producer *pr = &s->producer[i];
        pseudonyms_destroy(pr->who);
        free(pr->half[0].p);
        free(pr->half[1].p);
        pthread_mutex_destroy(&pr->lock);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->moved);
    OPENSSL_cleanse(s->db.pseudonym_key, sizeof s->db.pseudonym_key);
    free(s->row);
    free(s);
}

static struct spool *make(const struct spool_config *cfg, struct err *e) {
    struct spool *s = NULL;
    size_t size = (sizeof *s + cfg->producers * sizeof s->producer[0] + 63) / 64 * 64;
    s = aligned_alloc(64, size);
    uint8_t *row = malloc(ROW + CUT + RECORD_MAX);
    if (s == NULL || row == NULL) {
        free(s);
        free(row);
        return err_set(e, "spool: out of memory"), NULL;
    }
    memset(s, 0, size);
    s->row = row;
    s->cfg = *cfg;
    snprintf(s->dir, sizeof s->dir, "%s", cfg->dir);
    snprintf(s->tracker, sizeof s->tracker, "%s", cfg->tracker_id);
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, &mono);
    pthread_cond_init(&s->moved, &mono);
    pthread_condattr_destroy(&mono);
    for (unsigned i = 0; i < cfg->producers; i++) pthread_mutex_init(&s->producer[i].lock, NULL);
    s->started_mono = clock_mono_ms();
    return s;
}

struct spool *spool_start(const struct spool_config *cfg, struct err *e) {
    struct err why = {""};
    if (!config_ok(cfg, e)) return NULL;
    struct spool *s = make(cfg, e);
    if (s == NULL) return NULL;
    enum db_result r = spool_db_open(&s->db, s->dir, s->tracker, OPEN_FIRST, &s->epoch, &s->seq, &why);
    if (r == DB_REFUSED) {
        err_set(e, "%s", why.text);
        destroy(s);
        return NULL;
    }
    if (r != DB_OK) spool_begin_failing(s, &why, r); /* a full disk must not keep redirects from being answered */
    if (r == DB_OK) {
        spool_first_cursors(s);
        spool_ballast_make(&s->db);
    }
    s->measured = s->db.bytes;
    spool_publish(s, 0, 0, 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&s->thread, NULL, spool_thread, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) return s;
    err_set(e, "spool: cannot start its thread: %s", strerrordesc_np(rc));
    destroy(s);
    return NULL;
}

void spool_stop(struct spool *s) {
    if (s == NULL) return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    destroy(s);
}

/* --- asked by others --- */

void spool_stats(struct spool *s, struct spool_stats *out) {
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    pthread_mutex_unlock(&s->lock);
    out->failing = atomic_load(&s->failing);
    for (unsigned i = 0; i < s->cfg.producers; i++) {
        struct producer *pr = &s->producer[i];
        pthread_mutex_lock(&pr->lock);
        const struct half *h = &pr->half[pr->filling];
        out->dropped += pr->dropped;
        out->queued += half_count(h);
        pthread_mutex_unlock(&pr->lock);
    }
}

const char *spool_tracker(const struct spool *s) {
    return s->tracker;
}

uint64_t spool_last_pos(struct spool *s) {
    return atomic_load(&s->last_pos);
}

void spool_hurry(struct spool *s) {
    pthread_mutex_lock(&s->lock);
    s->hurry = true;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

void spool_turn(struct spool *s) {
    pthread_mutex_lock(&s->lock);
    s->turns++;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

bool spool_wait(struct spool *s, uint64_t after, unsigned ms) {
    int64_t end = clock_mono_ms() + ms;
    pthread_mutex_lock(&s->lock);
    uint64_t turns = s->turns;
    while (atomic_load(&s->last_pos) <= after && !s->stop && !s->hurry && s->turns == turns) {
        int64_t left = end - clock_mono_ms();
        if (left <= 0) break;
        spool_wait_on(s, &s->moved, left);
    }
    bool some = atomic_load(&s->last_pos) > after;
    pthread_mutex_unlock(&s->lock);
    return some;
}

static bool reader_ok(const char *reader, struct err *e) {
    size_t n = strlen(reader);
    if (n > 0 && n < READER_NAME && strspn(reader, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n) return true;
    return err_set(e, "reader '%.80s': a reader's name is 1 to 64 of letters, digits, dot, dash and underscore", reader);
}

bool spool_ack(struct spool *s, const char *reader, uint64_t pos, struct err *e) {
    if (!reader_ok(reader, e)) return false;
    struct ack a = {.c = {.pos = pos, .seen_ms = clock_real_ms()}, .e = e};
    snprintf(a.c.reader, sizeof a.c.reader, "%s", reader);
    pthread_mutex_lock(&s->lock);
    struct known *k = spool_known(s, reader);
    int64_t now = clock_mono_ms();
    bool again = k != NULL && pos <= k->pos && now - k->written_mono < SEEN_AGAIN_MS;
    if (again) k->seen_mono = now;
    bool busy = s->acks == ACKS || s->stop;
    if (!again && !busy) {
        s->ack[s->acks++] = &a;
        pthread_cond_signal(&s->wake);
        while (!a.done) pthread_cond_wait(&s->moved, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    if (!again && busy) return err_set(e, "the spool is stopping or has too many acknowledgements waiting; try again");
    return again || a.fine;
}
