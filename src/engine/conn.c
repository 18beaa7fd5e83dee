#include "engine/conn_i.h"
#include "base/log.h"
#include "engine/app.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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
    } else
        rq->in_cap = IN_FIRST;
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

static struct conn *take_conn(struct worker *w) {
    struct conn *c = w->spare_conns;
    if (c) {
        w->spare_conns = c->next;
        memset(c, 0, sizeof *c);
        return c;
    }
    return calloc(1, sizeof *c);
}

/* ---- opening and closing ---- */

static bool admit(struct acceptor *a, struct conn *c, int fd) {
    struct worker *w = a->worker;
    struct facts f = {.remote = c->remote, .listener = a->listener->plan, .local_port = a->listener->port, .lists = &a->gen->lists};
    f.fd = fd;
    ticket_take(&c->ticket, w->eng->counters, w->eng->live, a->listener->id, &c->remote, &f.counts);
    struct verdict v;
    struct err e;
    if (!hooks_admit(a->gen->hooks[w->index], &f, &v, &e)) {
        COUNT(w->count, policy_errors);
        log_error("admission", "%s: the connection was refused", e.text);
        snprintf(v.because, sizeof v.because, "%.500s", e.text);
    }
    if (v.refusal == REFUSE_NONE) return true;
    refusals_add(w->eng->refusals, w->count, &f, &v, a->gen->id);
    ticket_give(&c->ticket, w->eng->live);
    return false;
}

struct conn *conn_open(struct acceptor *a, int fd, const struct sockaddr *sa) {
    struct worker *w = a->worker;
    struct conn *c = take_conn(w);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->fd = fd;
    c->w = w;
    c->listener = a->listener;
    c->retired = a->retired;
    c->since_ms = w->now_ms;
    addr_from_sockaddr(sa, &c->remote);
    COUNT(w->count, accepted);
    c->ops = &stream_tcp;
    c->state = CONN_HEAD;
    bool fine = admit(a, c, fd);
    if (fine && a->listener->plan->scheme == SCHEME_HTTPS) {
        c->stream = tls_accept(a->gen->certs, a->listener->plan->certificate, fd);
        c->ops = &stream_tls;
        c->state = CONN_HANDSHAKE;
        fine = c->stream != NULL;
        if (!fine) ticket_give(&c->ticket, w->eng->live);
    }
    if (!fine) {
        COUNT(w->count, closed);
        close(fd);
        c->next = w->spare_conns;
        w->spare_conns = c;
        return NULL;
    }
    c->gen = generation_ref(a->gen);
    c->next = w->conns;
    if (w->conns) w->conns->prev = c;
    w->conns = c;
    atomic_fetch_add_explicit(&w->live, 1, memory_order_relaxed);
    return c;
}

void conn_close(struct conn *c, const char *why) {
    struct worker *w = c->w;
    if (c->state == CONN_DEAD) return;
    log_debug("conn", "closed: %s", why);
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
    c->state = CONN_DEAD;
    wheel_clear(&c->timer);
    if (c->stream) {
        c->ops->free(c->stream);
        c->stream = NULL;
    }
    syscall(SYS_close, c->fd); /* not a cancellation point, see src/net/stream.c */
    ticket_give(&c->ticket, w->eng->live);
    COUNT(w->count, closed);
    if (c->prev)
        c->prev->next = c->next;
    else
        w->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    atomic_fetch_sub_explicit(&w->live, 1, memory_order_relaxed);
    generation_unref(c->gen);
    c->gen = NULL;
    c->prev = NULL;
    c->next = w->dead;
    w->dead = c;
}

void conn_reap(struct worker *w) {
    while (w->dead) {
        struct conn *c = w->dead;
        w->dead = c->next;
        c->next = w->spare_conns;
        w->spare_conns = c;
    }
}

/* ---- small answers about a connection ---- */

const struct addr *conn_local(struct conn *c) {
    if (!c->local.family) {
        struct sockaddr_storage sa;
        socklen_t n = sizeof sa;
        if (getsockname(c->fd, (struct sockaddr *)&sa, &n) == 0) addr_from_sockaddr((struct sockaddr *)&sa, &c->local);
    }
    return &c->local;
}

bool conn_idle(const struct conn *c) {
    return c->state == CONN_HEAD && !c->rq;
}

const char *conn_state_name(const struct conn *c) {
    static const char *const names[] = {"handshake", "reading", "reading body", "application", "committing", "writing", "closing", "closed"};
    return conn_idle(c) ? "idle" : names[c->state];
}

void conn_move(struct conn *c, struct generation *g) {
    struct gen_listener *same = generation_same(g, c->listener);
    if (!same || !plan_same_speech(c->listener->plan, same->plan)) { /* clear text must not count as secure because its socket now speaks TLS */
        c->retired = true;
        conn_deadline(c, RETIRED_MS); /* it holds the old generation */
        return;
    }
    c->listener = same;
    generation_unref(c->gen);
    c->gen = generation_ref(g);
}

/* ---- deadlines ---- */

void conn_deadline(struct conn *c, int64_t ms) {
    wheel_set(&c->w->wheel, &c->timer, c->w->now_ms + ms);
}

const struct plan_settings *conn_settings(const struct conn *c) {
    return &c->gen->plan.set;
}

void conn_want(struct conn *c, uint8_t what) {
    c->want = what;
}

/* Writability is only asked for by a connection that has once been short of it: announced to all, it would wake the worker for each new one. */
static bool poll_conn(struct conn *c, int op) {
    return worker_poll(c->w, op, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET | (c->poll_out ? EPOLLOUT : 0u), POLLED_CONN, c);
}

/* A stream call could not go on: wait for exactly what it wants. */
void conn_blocked(struct conn *c, ssize_t what) {
    uint8_t bit = what == STREAM_WANT_WRITE ? CONN_WRITABLE : CONN_READABLE;
    c->ready &= (uint8_t)~bit;
    c->want = bit;
    if (bit == CONN_WRITABLE && !c->poll_out) {
        c->poll_out = true;
        if (c->polled) poll_conn(c, EPOLL_CTL_MOD);
    }
}

void conn_timeout(struct wheel_node *n, void *ctx) {
    struct worker *w = ctx;
    struct conn *c = (struct conn *)((char *)n - offsetof(struct conn, timer));
    if (c->state == CONN_COMMIT) { /* the spool owes an answer and always gives one */
        conn_deadline(c, 1000);
        return;
    }
    if (!conn_idle(c) && c->state != CONN_LINGER) COUNT(w->count, timeouts);
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

/* ---- the poll set ---- */

void conn_event(struct conn *c, uint32_t events) {
    if (c->state == CONN_DEAD) return; /* closed earlier in this batch */
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->ended = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->ready |= CONN_READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) c->ready |= CONN_WRITABLE;
    if (c->state == CONN_APP && (events & (EPOLLHUP | EPOLLERR) || (c->ended && c->w->draining))) {
        conn_close(c, "nobody waits for this answer");
        return;
    }
    conn_run(c);
}

void conn_drain(struct conn *c) {
    if (conn_idle(c)) conn_deadline(c, RETIRED_MS);
    if (c->state == CONN_APP && c->ended) conn_close(c, "nobody waits for this answer");
}

/* A request that is there already is read at once, and a short connection then never enters the poll set (4 system calls from accept to close).
 * Whether one is there depends on how busy the callers and we are: when it seldom is, only every 16th connection tries, to notice a change. */
void conn_start(struct conn *c) {
    struct worker *w = c->w;
    conn_deadline(c, c->state == CONN_HANDSHAKE ? conn_settings(c)->handshake_ms : conn_settings(c)->header_ms);
    c->want = CONN_READABLE;
    c->ready = CONN_WRITABLE;
    if (w->early >= 128 || w->starts++ % 16 == 0) {
        c->ready |= CONN_READABLE;
        conn_run(c);
        bool there = c->state == CONN_DEAD || c->ready & CONN_READABLE || c->rq || c->requests;
        w->early += ((there ? 256 : 0) - w->early) / 8;
        if (c->state == CONN_DEAD) return;
    }
    c->polled = true;
    if (!poll_conn(c, EPOLL_CTL_ADD)) conn_close(c, "the poll set is full");
}
