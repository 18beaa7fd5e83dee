/* HTTP as what a connection speaks: its start, its end, its deadlines, and the memory of its requests. What comes in: conn_read.c; what goes
 * out: conn_write.c. */
#include "engine/app.h"
#include "engine/conn_i.h"
#include <stdlib.h>
#include <sys/epoll.h>

#define SPARE_STATES 4096u /* and what a second did not need is given back, see conn_trim */

/* ---- memory ---- */

struct request_state *conn_take_state(struct worker *w) {
    struct request_state *rq = w->spare;
    if (rq) {
        w->spare = rq->next;
        if (--w->nspare < w->spare_low) w->spare_low = w->nspare;
    } else if (!(rq = calloc(1, sizeof *rq)) || !(rq->in = malloc(IN_FIRST))) {
        free(rq);
        return NULL;
    } else rq->in_cap = IN_FIRST;
    rq->in_n = rq->pos = rq->out_sent = rq->out_hold = 0;
    rq->scan = (struct h1_scan){0};
    rq->close_after = rq->must_commit = rq->abandoned = rq->body_next = false;
    rq->job = NULL;
    rq->began_ms = 0;
    return rq;
}

static void free_state(struct worker *w, struct request_state *rq) {
    w->bodies -= rq->body.cap;
    buf_free(&rq->out);
    buf_free(&rq->body);
    buf_free(&rq->rest);
    free(rq->in);
    free(rq);
}

void conn_trim(struct worker *w, bool all) {
    unsigned n = all ? w->nspare : (w->spare_low + 7) / 8;
    for (; n > 0 && w->spare; n--, w->nspare--) {
        struct request_state *rq = w->spare;
        w->spare = rq->next;
        free_state(w, rq);
    }
    w->spare_low = w->nspare;
}

void conn_give_state(struct worker *w, struct request_state *rq) {
    buf_clear(&rq->out);
    buf_clear(&rq->body);
    buf_clear(&rq->rest);
    bool large = rq->in_cap > IN_FIRST || rq->out.cap > OUT_KEEP || rq->body.cap > OUT_KEEP || rq->rest.cap > OUT_KEEP;
    if (large || w->nspare >= SPARE_STATES) {
        free_state(w, rq);
        return;
    }
    rq->next = w->spare;
    w->spare = rq;
    w->nspare++;
}

/* ---- its life ---- */

static void start(struct conn *c) {
    c->state = CONN_HEAD;
    conn_want(c, CONN_READABLE);
    conn_deadline(c, conn_settings(c)->header_ms);
}

static void end(struct conn *c) {
    struct worker *w = c->w;
    struct request_state *rq = c->rq;
    if (c->state == CONN_COMMIT) { /* leave the queue of answers that wait */
        struct conn **at = &w->commit_first, *before = NULL;
        while (*at != c) before = *at, at = &(*at)->rq->commit_next;
        *at = rq->commit_next;
        if (w->commit_last == c) w->commit_last = before;
    }
    if (rq && rq->job) rq->job->conn = NULL;
    if (rq) conn_give_state(w, rq);
    c->rq = NULL;
}

static bool idle(const struct conn *c) {
    return c->state == CONN_HEAD && !c->rq;
}

static const char *state(const struct conn *c) {
    static const char *const names[] = {"reading", "reading body", "application", "committing", "writing", "closing"};
    return idle(c) ? "idle" : c->state < CONN_HEAD ? "http" : names[c->state - CONN_HEAD];
}

static void timeout(struct conn *c) {
    if (c->state == CONN_COMMIT) { /* the spool owes an answer and always gives one */
        conn_deadline(c, 1000);
        return;
    }
    if (!idle(c) && c->state != CONN_LINGER) COUNT(c->w->count, timeouts);
    if (c->state == CONN_APP) {
        c->rq->job->conn = NULL;
        c->rq->job = NULL;
        respond_error(c, 504, true);
        conn_resume(c);
        return;
    }
    bool asked = (c->state == CONN_HEAD && c->rq && c->rq->in_n > c->rq->pos) || c->state == CONN_BODY;
    if (asked && c->rq->out.n == 0) {
        conn_abandon(c, 408);
        conn_run(c);
        return;
    }
    conn_close(c, "deadline");
}

static void hangup(struct conn *c, uint32_t events) {
    if (c->state == CONN_APP && (events & (EPOLLHUP | EPOLLERR) || c->w->draining)) conn_close(c, "nobody waits for this answer");
}

static void drain(struct conn *c) {
    if (idle(c)) conn_deadline(c, RETIRED_MS);
    if (c->state == CONN_APP && c->ended) conn_close(c, "nobody waits for this answer");
}

const struct speech speech_http = {
    .name = "http",
    .start = start,
    .advance = conn_read,
    .timeout = timeout,
    .hangup = hangup,
    .close = end,
    .idle = idle,
    .drain = drain,
    .answer = start, /* the request is heard first: conn_serve answers it */
    .state = state,
};
