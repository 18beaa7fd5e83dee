#include "base/log.h"
#include "engine/conn_i.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BODIES       (128u << 20) /* what the bodies of all requests of a worker may hold before further ones get 503 */
#define LINGER_BYTES (256u << 10)

/* A plain read that took less than it asked for has emptied the socket: the next byte, or the end, is a new edge. TLS reads in records and
 * cannot tell. */
static void note_read(struct conn *c, ssize_t got, size_t asked) {
    if (got > 0 && (size_t)got < asked && !c->stream && !c->ended) c->ready &= (uint8_t)~CONN_READABLE;
}

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
    rq->close_after = !rq->x.req.keep_alive || c->w->draining || c->retired || c->requests >= (uint64_t)conn_settings(c)->max_requests;
    if (!respond(c)) { /* APP or COMMIT: somebody will call back; what the client sends meanwhile waits in the kernel */
        conn_want(c, 0);
        return false;
    }
    conn_end_exchange(c);
    if (rq->close_after || rq->out.n > OUT_KEEP || !(rq->pos < rq->in_n || rq->rest.n)) {
        if (conn_flush(c)) conn_after_write(c);
        return false;
    }
    return true;
}

/* MaxRequestBody bounds one body, BODIES all of them together, so that many slow senders cannot take the memory. Small ones pass: an
 * unsubscribe is not refused because others send much. */
static bool keep_body(struct conn *c, const char *p, size_t n, struct h1_bad *bad) {
    struct worker *w = c->w;
    struct buf *b = &c->rq->body;
    size_t cap = b->cap, one = 2 * (size_t)conn_settings(c)->max_body;
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
            conn_refuse(c, &bad);
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
    conn_want(c, CONN_READABLE);
    if (!rq->out.n) return;
    rq->body_next = true;
    if (conn_flush(c)) rq->body_next = false;
}

static bool begin_body(struct conn *c) {
    struct request_state *rq = c->rq;
    rq->body.max = (size_t)conn_settings(c)->max_body + 1;
    h1_body_start(&rq->body_state, &rq->x.req);
    if (h1_body_none(&rq->body_state)) return true;
    c->state = CONN_BODY;
    conn_deadline(c, conn_settings(c)->body_ms);
    enum h1_result r = H1_MORE;
    if (rq->pos < rq->in_n) {
        char *p = rq->in + rq->pos;
        size_t n = rq->in_n - rq->pos;
        rq->in_n = rq->pos; /* the rest of the input belongs to the body, or goes to `rest` */
        r = eat_body(c, p, n);
    } else if (rq->x.req.expect_continue) h1_write_continue(&rq->out);
    if (r == H1_MORE) await_body(c);
    if (r == H1_DONE) c->state = CONN_HEAD;
    return r == H1_DONE;
}

static void finish_body(struct conn *c) {
    struct request_state *rq = c->rq;
    rq->x.req.body = (struct slice){rq->body.p, (uint32_t)rq->body.n};
}

/* The head is whole: is this request let in? It is asked before its body is read. */
static bool let_in(struct conn *c) {
    bool asks = c->listener->asks & 1u << STAGE_REQUEST;
    if (__builtin_expect(!asks && !c->guest, 1)) return true;
    if (asks && conn_judge(c, STAGE_REQUEST) != JUDGED_IN) return false;
    if (!c->guest || !c->guest->status) return true;
    respond_refused(c, c->guest->status, c->guest->text);
    if (conn_flush(c)) conn_finish(c);
    return false;
}

/* The request in rq is let in. true = it is answered, go on with the next. */
static bool take_request(struct conn *c) {
    if (!begin_body(c)) return false;
    finish_body(c);
    return exchange_ready(c);
}

/* The next head out of the input. H1_DONE: it stands in rq. */
static enum h1_result next_head(struct conn *c) {
    struct request_state *rq = c->rq;
    size_t used = 0;
    struct h1_bad bad;
    if (rq->pos == rq->in_n) return H1_MORE;
    enum h1_result r = h1_head(&rq->scan, rq->in + rq->pos, rq->in_n - rq->pos, &c->gen->limits, rq->field, &rq->x.req, &used, &bad);
    if (r == H1_BAD) conn_refuse(c, &bad);
    if (r != H1_DONE) return r;
    rq->pos += (uint32_t)used;
    rq->x.at_ms = c->w->real_ms;
    if (!rq->began_ms) rq->began_ms = c->w->now_ms;
    return r;
}

/* Where requests are judged one by one, the answers to earlier ones leave first: the next may have to wait, or end the connection. */
static bool flushed_for_judging(struct conn *c) {
    return !(c->listener->asks & 1u << STAGE_REQUEST) || !c->rq->out.n || c->rq->pos == c->rq->in_n || conn_flush(c);
}

/* Parse and answer what stands in the input, as far as it goes. */
void conn_serve(struct conn *c) {
    struct request_state *rq = c->rq;
    for (;;) {
        if (rq->pos == rq->in_n && !next_from_rest(rq)) {
            conn_close(c, "out of memory");
            return;
        }
        if (!flushed_for_judging(c)) return;
        enum h1_result r = next_head(c);
        if (r == H1_BAD) return;
        if (r == H1_MORE) break;
        if (!let_in(c) || !take_request(c)) return;
    }
    if (rq->out.n && !conn_flush(c)) return;
    if (rq->pos == rq->in_n) {
        conn_go_idle(c);
        return;
    }
    if (!rq->began_ms) { /* the head's deadline counts from its first byte and is not moved by later ones */
        rq->began_ms = c->w->now_ms;
        conn_deadline(c, conn_settings(c)->header_ms);
    }
    conn_want(c, CONN_READABLE);
}

void conn_serve_on(struct conn *c) {
    if (take_request(c)) conn_serve(c);
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
            conn_give_state(c->w, c->rq);
            c->rq = NULL;
        }
        conn_blocked(c, n);
        return;
    }
    conn_close(c, n == 0 ? "the client closed" : "read failed");
}

static void read_head(struct conn *c) {
    if (!c->rq && !(c->rq = conn_take_state(c->w))) {
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
    conn_serve(c);
    /* TLS may hold decrypted bytes that the descriptor will never announce. */
    while (c->state == CONN_HEAD && c->rq && c->ops->pending && c->ops->pending(c->stream) > 0) {
        if (c->rq->in_n == c->rq->in_cap && !make_room(c)) break;
        n = c->ops->read(c->stream, c->fd, c->rq->in + c->rq->in_n, c->rq->in_cap - c->rq->in_n);
        if (n <= 0) break;
        c->rq->in_n += (uint32_t)n;
        conn_serve(c);
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
            if (exchange_ready(c)) conn_serve(c);
            return;
        }
    } while (c->ops->pending && c->ops->pending(c->stream) > 0);
}

static void read_linger(struct conn *c) {
    ssize_t n = recv(c->fd, c->w->scratch, WORKER_SCRATCH, 0);
    if (n < 0 && errno == EAGAIN) {
        conn_blocked(c, STREAM_WANT_READ);
        return;
    }
    if (n > 0 && (c->rq->out_sent += (uint32_t)n) < LINGER_BYTES) return;
    conn_close(c, "said goodbye");
}

void conn_read(struct conn *c) {
    switch (c->state) {
    case CONN_HEAD: read_head(c); break;
    case CONN_BODY: read_body(c); break;
    case CONN_WRITE:
        if (conn_flush(c)) conn_after_write(c);
        break;
    case CONN_LINGER: read_linger(c); break;
    default: break;
    }
}
