#include "engine/conn.h"
#include "base/log.h"
#include "engine/app.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPARE_STATES 4096u /* and what a second did not need is given back, see conn_trim */
#define IN_FIRST 4096u
#define OUT_KEEP 16384u
#define LINGER_MS 2000
#define RETIRED_MS 500 /* left to an idle connection whose listener or engine goes */
#define LINGER_BYTES (256u << 10)
#define BODIES (128u << 20) /* what the bodies of all requests of a worker may hold before further ones get 503 */

static void serve(struct conn *c);
static void run(struct conn *c);

/* ---- memory ---- */

static struct request_state *take_state(struct worker *w) {
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

static void give_state(struct worker *w, struct request_state *rq) {
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
    if (rq) give_state(w, rq);
    c->rq = NULL;
    c->state = CONN_DEAD;
    wheel_clear(&c->timer);
    if (c->stream) {
        c->ops->free(c->stream);
        c->stream = NULL;
    }
    close(c->fd);
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
    if (!same) {
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

static const struct plan_settings *settings(const struct conn *c) {
    return &c->gen->plan.set;
}

static void want(struct conn *c, uint8_t what) {
    c->want = what;
}

/* A stream call could not go on: wait for exactly what it wants. */
static void blocked(struct conn *c, ssize_t what) {
    uint8_t bit = what == STREAM_WANT_WRITE ? CONN_WRITABLE : CONN_READABLE;
    c->ready &= (uint8_t)~bit;
    c->want = bit;
}

/* A plain read that took less than it asked for has emptied the socket: the next byte, or the end, is a new edge. TLS reads in records and
 * cannot tell. */
static void note_read(struct conn *c, ssize_t got, size_t asked) {
    if (got > 0 && (size_t)got < asked && !c->stream && !c->ended) c->ready &= (uint8_t)~CONN_READABLE;
}

static void abandon(struct conn *c, int status);

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
        abandon(c, 408);
        run(c);
        return;
    }
    conn_close(c, "deadline");
}

/* ---- writing ---- */

static void go_idle(struct conn *c) {
    give_state(c->w, c->rq);
    c->rq = NULL;
    c->state = CONN_HEAD;
    want(c, CONN_READABLE);
    conn_deadline(c, settings(c)->idle_ms);
    if (c->gen != c->w->gen && !c->retired) conn_move(c, c->w->gen);
    if (c->w->draining || c->retired) conn_deadline(c, RETIRED_MS);
}

static void linger(struct conn *c) {
    if (c->ops->shutdown) c->ops->shutdown(c->stream, c->fd);
    shutdown(c->fd, SHUT_WR);
    c->state = CONN_LINGER;
    c->rq->out_sent = 0; /* counts what is thrown away from here on */
    want(c, CONN_READABLE);
    conn_deadline(c, LINGER_MS);
}

/* Send what stands in out. true = all of it left (or the connection is closed: look at the state). */
static bool flush(struct conn *c) {
    struct request_state *rq = c->rq;
    while (rq->out_sent < rq->out.n) {
        ssize_t n = c->ops->write(c->stream, c->fd, rq->out.p + rq->out_sent, rq->out.n - rq->out_sent);
        if (n > 0) {
            rq->out_sent += (uint32_t)n;
            continue;
        }
        if (n == STREAM_WANT_READ || n == STREAM_WANT_WRITE) {
            blocked(c, n);
            if (c->state != CONN_WRITE) conn_deadline(c, settings(c)->write_ms);
            c->state = CONN_WRITE;
            return false;
        }
        conn_close(c, "the client went away while it was answered");
        return false;
    }
    buf_clear(&rq->out);
    rq->out_sent = 0;
    return true;
}

/* Does the kernel hold bytes that nobody will read? Close would answer them with a reset, which may overtake what was sent. Not looked for
 * where the client has said that this was its last request and the last read left nothing. */
static bool unread(const struct conn *c) {
    char byte;
    if (!c->rq->x.req.keep_alive && !(c->ready & CONN_READABLE)) return false;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Everything is sent and the connection is to end. A client that may still be sending would lose the answer to a reset: linger for it. */
static void finish(struct conn *c) {
    struct request_state *rq = c->rq;
    if (rq->abandoned || rq->in_n > rq->pos || rq->rest.n || unread(c)) {
        linger(c);
        return;
    }
    if (c->ops->shutdown) c->ops->shutdown(c->stream, c->fd);
    conn_close(c, "answered and closed");
}

static void after_write(struct conn *c) {
    struct request_state *rq = c->rq;
    if (rq->close_after) {
        finish(c);
        return;
    }
    if (rq->body_next) {
        rq->body_next = false;
        c->state = CONN_BODY;
        want(c, CONN_READABLE);
        conn_deadline(c, settings(c)->body_ms);
        return;
    }
    c->state = CONN_HEAD;
    if (rq->pos < rq->in_n || rq->rest.n)
        serve(c);
    else
        go_idle(c);
}

static void end_exchange(struct conn *c) {
    struct request_state *rq = c->rq;
    respond_log(c);
    buf_clear(&rq->body);
    rq->scan = (struct h1_scan){0};
    rq->began_ms = 0;
}

void conn_resume(struct conn *c) {
    if (c->rq->job) { /* an app thread's answer */
        struct job *j = c->rq->job;
        c->rq->job = NULL;
        respond_job(c, j);
        job_free(j);
    }
    end_exchange(c);
    if (flush(c)) after_write(c);
    run(c);
}

void conn_committed(struct conn *c, bool ok) {
    struct request_state *rq = c->rq;
    c->state = CONN_HEAD;
    if (!ok) {
        COUNT(c->w->count, events_dropped);
        if (rq->must_commit) {
            rq->out.n = rq->out_hold;
            respond_error(c, 503, false);
        }
    }
    rq->must_commit = false;
    end_exchange(c);
    if (flush(c)) after_write(c);
    run(c);
}

/* ---- reading ---- */

static bool next_from_rest(struct request_state *rq) {
    if (!rq->rest.n) return true;
    if (rq->rest.n > rq->in_cap) {
        char *p = realloc(rq->in, rq->rest.n);
        if (!p) return false;
        rq->in = p;
        rq->in_cap = (uint32_t)rq->rest.n;
    }
    memcpy(rq->in, rq->rest.p, rq->rest.n);
    rq->in_n = (uint32_t)rq->rest.n;
    rq->pos = 0;
    buf_clear(&rq->rest);
    return true;
}

/* One exchange is whole: answer it. true = go on with the next request in the buffer. */
static bool exchange_ready(struct conn *c) {
    struct request_state *rq = c->rq;
    COUNT(c->w->count, requests);
    c->requests++;
    rq->close_after = !rq->x.req.keep_alive || c->w->draining || c->retired || c->requests >= (uint64_t)settings(c)->max_requests;
    if (!respond(c)) { /* APP or COMMIT: somebody will call back; what the client sends meanwhile waits in the kernel */
        want(c, 0);
        return false;
    }
    end_exchange(c);
    if (rq->close_after || rq->out.n > OUT_KEEP || !(rq->pos < rq->in_n || rq->rest.n)) {
        if (flush(c)) after_write(c);
        return false;
    }
    return true;
}

/* An error answer to something that never became a whole request; what else the client sends is thrown away. */
static void abandon(struct conn *c, int status) {
    c->rq->abandoned = true;
    respond_error(c, status, true);
    if (flush(c)) finish(c);
}

static void refuse(struct conn *c, const struct h1_bad *bad) {
    COUNT(c->w->count, bad_requests);
    char who[ADDR_TEXT];
    addr_format_ip(&c->remote, who);
    log_info("http", "%s: request refused with %d: %s", who, bad->status, bad->why);
    abandon(c, bad->status);
}

/* MaxRequestBody bounds one body, BODIES all of them together, so that many slow senders cannot take the memory. Small ones pass: an
 * unsubscribe is not refused because others send much. */
static bool keep_body(struct conn *c, const char *p, size_t n, struct h1_bad *bad) {
    struct worker *w = c->w;
    struct buf *b = &c->rq->body;
    size_t cap = b->cap, one = 2 * (size_t)settings(c)->max_body;
    *bad = (struct h1_bad){503, "the bodies of all requests together are too large"};
    if (b->n + n > OUT_KEEP && w->bodies > (one > BODIES ? one : BODIES)) return false;
    *bad = (struct h1_bad){413, "the body is too large"};
    if (!buf_add(b, p, n)) return false;
    w->bodies += b->cap - cap;
    return true;
}

/* Feed raw bytes at p[0..n) to the body. H1_BAD: the connection has gone another way. */
static enum h1_result eat_body(struct conn *c, char *p, size_t n) {
    struct request_state *rq = c->rq;
    while (n > 0) {
        size_t used = 0, out = 0;
        struct h1_bad bad;
        enum h1_result r = h1_body_eat(&rq->body_state, p, n, &c->gen->limits, &used, &out, &bad);
        if (r != H1_BAD && out && !keep_body(c, p, out, &bad)) r = H1_BAD;
        if (r == H1_BAD) {
            refuse(c, &bad);
            return H1_BAD;
        }
        p += used;
        n -= used;
        if (r == H1_DONE) {
            if (n && !buf_add(&rq->rest, p, n)) {
                conn_close(c, "too much behind a body");
                return H1_BAD;
            }
            return H1_DONE;
        }
        if (!used) break;
    }
    return H1_MORE;
}

/* More of the body has to come. The client may be waiting for the 100, or for the answers to earlier requests, before it sends that. */
static void await_body(struct conn *c) {
    struct request_state *rq = c->rq;
    want(c, CONN_READABLE);
    if (!rq->out.n) return;
    rq->body_next = true;
    if (flush(c)) rq->body_next = false;
}

static bool begin_body(struct conn *c) {
    struct request_state *rq = c->rq;
    rq->body.max = (size_t)settings(c)->max_body + 1;
    h1_body_start(&rq->body_state, &rq->x.req);
    if (h1_body_none(&rq->body_state)) return true;
    c->state = CONN_BODY;
    conn_deadline(c, settings(c)->body_ms);
    enum h1_result r = H1_MORE;
    if (rq->pos < rq->in_n) {
        char *p = rq->in + rq->pos;
        size_t n = rq->in_n - rq->pos;
        rq->in_n = rq->pos; /* the rest of the input belongs to the body, or goes to `rest` */
        r = eat_body(c, p, n);
    } else if (rq->x.req.expect_continue)
        h1_write_continue(&rq->out);
    if (r == H1_MORE) await_body(c);
    if (r == H1_DONE) c->state = CONN_HEAD;
    return r == H1_DONE;
}

static void finish_body(struct conn *c) {
    struct request_state *rq = c->rq;
    rq->x.req.body = (struct slice){rq->body.p, (uint32_t)rq->body.n};
}

/* Parse and answer what stands in the input, as far as it goes. */
static void serve(struct conn *c) {
    struct request_state *rq = c->rq;
    for (;;) {
        if (rq->pos == rq->in_n && !next_from_rest(rq)) {
            conn_close(c, "out of memory");
            return;
        }
        size_t used = 0;
        struct h1_bad bad;
        enum h1_result r = H1_MORE;
        if (rq->pos < rq->in_n) r = h1_head(&rq->scan, rq->in + rq->pos, rq->in_n - rq->pos, &c->gen->limits, rq->field, &rq->x.req, &used, &bad);
        if (r == H1_BAD) {
            refuse(c, &bad);
            return;
        }
        if (r == H1_MORE) break;
        rq->pos += (uint32_t)used;
        rq->x.at_ms = c->w->real_ms;
        if (!rq->began_ms) rq->began_ms = c->w->now_ms;
        if (!begin_body(c)) return;
        finish_body(c);
        if (!exchange_ready(c)) return;
    }
    if (rq->out.n && !flush(c)) return;
    if (rq->pos == rq->in_n) {
        go_idle(c);
        return;
    }
    if (!rq->began_ms) { /* the head's deadline counts from its first byte and is not moved by later ones */
        rq->began_ms = c->w->now_ms;
        conn_deadline(c, settings(c)->header_ms);
    }
    want(c, CONN_READABLE);
}

static bool make_room(struct conn *c) {
    struct request_state *rq = c->rq;
    if (rq->pos) {
        memmove(rq->in, rq->in + rq->pos, rq->in_n - rq->pos);
        rq->in_n -= rq->pos;
        rq->pos = 0;
    }
    if (rq->in_n < rq->in_cap) return true;
    uint32_t most = c->gen->limits.max_head + IN_FIRST;
    uint32_t cap = rq->in_cap * 2 < most ? rq->in_cap * 2 : most;
    char *p = cap > rq->in_cap ? realloc(rq->in, cap) : NULL;
    if (!p) return false;
    rq->in = p;
    rq->in_cap = cap;
    return true;
}

/* A read that gave no bytes: wait, or close. */
static void no_bytes(struct conn *c, ssize_t n) {
    if (n == STREAM_WANT_READ || n == STREAM_WANT_WRITE) {
        if (c->state == CONN_HEAD && c->rq && c->rq->in_n == 0) {
            give_state(c->w, c->rq);
            c->rq = NULL;
        }
        blocked(c, n);
        return;
    }
    conn_close(c, n == 0 ? "the client closed" : "read failed");
}

static void read_head(struct conn *c) {
    if (!c->rq && !(c->rq = take_state(c->w))) {
        conn_close(c, "out of memory");
        return;
    }
    struct request_state *rq = c->rq;
    if (rq->in_n == rq->in_cap && !make_room(c)) {
        conn_close(c, "head larger than its bound");
        return;
    }
    ssize_t n = c->ops->read(c->stream, c->fd, rq->in + rq->in_n, rq->in_cap - rq->in_n);
    if (n <= 0) {
        no_bytes(c, n);
        return;
    }
    note_read(c, n, rq->in_cap - rq->in_n);
    rq->in_n += (uint32_t)n;
    serve(c);
    /* TLS may hold decrypted bytes that the descriptor will never announce. */
    while (c->state == CONN_HEAD && c->rq && c->ops->pending && c->ops->pending(c->stream) > 0) {
        if (c->rq->in_n == c->rq->in_cap && !make_room(c)) break;
        n = c->ops->read(c->stream, c->fd, c->rq->in + c->rq->in_n, c->rq->in_cap - c->rq->in_n);
        if (n <= 0) break;
        c->rq->in_n += (uint32_t)n;
        serve(c);
    }
}

static void read_body(struct conn *c) {
    char *p = c->w->scratch;
    do {
        ssize_t n = c->ops->read(c->stream, c->fd, p, WORKER_SCRATCH);
        if (n <= 0) {
            no_bytes(c, n);
            return;
        }
        note_read(c, n, WORKER_SCRATCH);
        enum h1_result r = eat_body(c, p, (size_t)n);
        if (r == H1_BAD) return;
        if (r == H1_DONE) {
            c->state = CONN_HEAD;
            finish_body(c);
            if (exchange_ready(c)) serve(c);
            return;
        }
    } while (c->ops->pending && c->ops->pending(c->stream) > 0);
}

static void read_linger(struct conn *c) {
    ssize_t n = recv(c->fd, c->w->scratch, WORKER_SCRATCH, 0);
    if (n < 0 && errno == EAGAIN) {
        blocked(c, STREAM_WANT_READ);
        return;
    }
    if (n > 0 && (c->rq->out_sent += (uint32_t)n) < LINGER_BYTES) return;
    conn_close(c, "said goodbye");
}

static void shake_hands(struct conn *c) {
    int r = c->ops->handshake(c->stream, c->fd);
    if (r == STREAM_WANT_READ || r == STREAM_WANT_WRITE) {
        blocked(c, r);
        return;
    }
    if (r != 1) {
        COUNT(c->w->count, tls_failures);
        char who[ADDR_TEXT];
        addr_format_ip(&c->remote, who);
        log_info("tls", "%s on %s: handshake failed: %s", who, c->listener->plan->name, tls_why(c->stream));
        conn_close(c, "handshake failed");
        return;
    }
    COUNT(c->w->count, tls_handshakes);
    c->state = CONN_HEAD;
    conn_deadline(c, settings(c)->header_ms);
    read_head(c);
}

static void advance(struct conn *c) {
    switch (c->state) {
    case CONN_HANDSHAKE: shake_hands(c); break;
    case CONN_HEAD: read_head(c); break;
    case CONN_BODY: read_body(c); break;
    case CONN_WRITE:
        if (flush(c)) after_write(c);
        break;
    case CONN_LINGER: read_linger(c); break;
    default: break;
    }
}

/* Readiness is latched (edge-triggered polling): go on as long as what is wanted is there. */
static void run(struct conn *c) {
    while (c->state != CONN_DEAD && (c->ready & c->want)) advance(c);
}

void conn_event(struct conn *c, uint32_t events) {
    if (c->state == CONN_DEAD) return; /* closed earlier in this batch */
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->ended = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->ready |= CONN_READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) c->ready |= CONN_WRITABLE;
    if (c->state == CONN_APP && (events & (EPOLLHUP | EPOLLERR) || (c->ended && c->w->draining))) {
        conn_close(c, "nobody waits for this answer");
        return;
    }
    run(c);
}

void conn_drain(struct conn *c) {
    if (conn_idle(c)) conn_deadline(c, RETIRED_MS);
    if (c->state == CONN_APP && c->ended) conn_close(c, "nobody waits for this answer");
}

static void poll_conn(struct conn *c) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(c->w->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0) conn_close(c, "the poll set is full");
}

/* A request that is there already is read at once, and a short connection then never enters the poll set (4 system calls from accept to close).
 * Whether one is there depends on how busy the callers and we are: when it seldom is, only every 16th connection tries, to notice a change. */
void conn_start(struct conn *c) {
    struct worker *w = c->w;
    conn_deadline(c, c->state == CONN_HANDSHAKE ? settings(c)->handshake_ms : settings(c)->header_ms);
    c->want = CONN_READABLE;
    c->ready = CONN_WRITABLE;
    if (w->early >= 128 || w->starts++ % 16 == 0) {
        c->ready |= CONN_READABLE;
        run(c);
        bool there = c->state == CONN_DEAD || c->ready & CONN_READABLE || c->rq || c->requests;
        w->early += ((there ? 256 : 0) - w->early) / 8;
        if (c->state == CONN_DEAD) return;
    }
    poll_conn(c);
}
