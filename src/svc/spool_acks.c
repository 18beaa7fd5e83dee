#include "base/clock.h"
#include "base/log.h"
#include "svc/spool_i.h"
#include <inttypes.h>
#include <string.h>

#define FORGET_MS (30ll * 24 * 3600 * 1000)

struct known *spool_known(struct spool *s, const char *reader) {
    for (unsigned i = 0; i < s->nknown; i++)
        if (strcmp(s->known[i].reader, reader) == 0) return &s->known[i];
    return NULL;
}

/* The least position of the readers that count. */
static void find_trim(struct spool *s, const struct spool_cursor *all, unsigned n) {
    uint64_t least = UINT64_MAX;
    pthread_mutex_lock(&s->lock);
    int64_t now = clock_real_ms(), mono = clock_mono_ms();
    for (unsigned i = 0; i < n; i++) {
        struct known *k = spool_known(s, all[i].reader);
        int64_t quiet = mono - (k == NULL ? s->started_mono : k->seen_mono); /* a clock that jumps must not make readers look lost */
        if (now - all[i].seen_ms > FORGET_MS && quiet > SEEN_AGAIN_MS) {
            if (k == NULL || !k->warned)
                log_warn("spool", "reader %s has not been heard of for 30 days: events are deleted without waiting for it", all[i].reader);
            if (k != NULL) k->warned = true;
            continue;
        }
        if (all[i].pos < least) least = all[i].pos;
    }
    pthread_mutex_unlock(&s->lock);
    if (least != UINT64_MAX && least > s->trim_to) {
        s->trim_to = least;
        s->trimming = true;
    }
}

static enum db_result store_cursor(struct spool *s, struct spool_cursor *c, struct err *e) {
    struct spool_cursor all[SPOOL_READERS + 1];
    unsigned n = 0, at = 0;
    enum db_result r = spool_db_begin(&s->db, e);
    if (r == DB_OK) r = spool_db_last(&s->db, e); /* the other engine of a change of binary may have written since */
    if (r == DB_OK && c->pos > s->db.last_pos) {
        err_set(e, "reader %s acknowledges position %" PRIu64 ", the last one is %" PRIu64, c->reader, c->pos, s->db.last_pos);
        r = DB_REFUSED;
    }
    if (r == DB_OK) r = spool_db_cursors(&s->db, all, &n, e);
    while (r == DB_OK && at < n && strcmp(all[at].reader, c->reader) != 0) at++;
    if (r == DB_OK && at == n && n == SPOOL_READERS) {
        err_set(e, "there already are %u readers of the spool; each holds back deletion, so no further one is taken", SPOOL_READERS);
        r = DB_REFUSED;
    }
    if (r == DB_OK) {
        if (at == n) all[n++] = *c;
        if (all[at].pos > c->pos) c->pos = all[at].pos; /* an older word after a newer one changes nothing */
        all[at].pos = c->pos;
        all[at].seen_ms = c->seen_ms;
        r = spool_db_set_cursor(&s->db, c, e);
    }
    if (r == DB_OK) r = spool_db_commit(&s->db, e);
    if (r != DB_OK) {
        spool_db_undo(&s->db);
        return r;
    }
    find_trim(s, all, n);
    return DB_OK;
}

static void remember(struct spool *s, const struct spool_cursor *c) {
    struct known *k = spool_known(s, c->reader);
    if (k == NULL && s->nknown < SPOOL_READERS) {
        k = &s->known[s->nknown++];
        memset(k, 0, sizeof *k);
        memcpy(k->reader, c->reader, sizeof k->reader);
    }
    if (k == NULL) return;
    if (c->pos > k->pos) k->pos = c->pos;
    k->written_mono = k->seen_mono = clock_mono_ms();
    k->warned = false;
}

void spool_answer_acks(struct spool *s) {
    struct ack *todo[ACKS];
    pthread_mutex_lock(&s->lock);
    unsigned n = s->acks;
    memcpy(todo, s->ack, n * sizeof *todo);
    s->acks = 0;
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < n; i++) {
        struct err e = {""};
        enum db_result r = DB_TROUBLE;
        if (s->db.db == NULL) err_set(&e, "the spool cannot be written at the moment");
        else r = store_cursor(s, &todo[i]->c, &e);
        if (r != DB_OK && r != DB_REFUSED && s->db.db != NULL) spool_begin_failing(s, &e, r);
        uint64_t backlog = r == DB_OK ? spool_db_backlog(&s->db, s->trim_to) : 0;
        pthread_mutex_lock(&s->lock);
        if (r == DB_OK) remember(s, &todo[i]->c);
        if (r == DB_OK) s->stats.backlog = (int64_t)backlog;
        if (r != DB_OK) err_set(todo[i]->e, "%s", e.text);
        todo[i]->fine = r == DB_OK;
        todo[i]->done = true;
        pthread_cond_broadcast(&s->moved);
        pthread_mutex_unlock(&s->lock);
    }
}

void spool_first_cursors(struct spool *s) {
    struct spool_cursor all[SPOOL_READERS];
    unsigned n;
    if (spool_db_cursors(&s->db, all, &n, NULL) != DB_OK) return;
    find_trim(s, all, n);
    s->stats.backlog = (int64_t)spool_db_backlog(&s->db, s->trim_to);
}
