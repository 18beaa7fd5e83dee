#include "base/log.h"
#include "engine/app.h"
#include "engine/conn_i.h"
#include <sys/socket.h>

#define LINGER_MS 2000

void conn_go_idle(struct conn *c) {
    conn_give_state(c->w, c->rq);
    c->rq = NULL;
    c->state = CONN_HEAD;
    conn_want(c, CONN_READABLE);
    conn_deadline(c, conn_settings(c)->idle_ms);
    if (c->gen != c->w->gen && !c->retired) conn_move(c, c->w->gen);
    if (c->w->draining || c->retired) conn_deadline(c, RETIRED_MS);
}

static void linger(struct conn *c) {
    if (c->ops->shutdown) c->ops->shutdown(c->stream, c->fd);
    shutdown(c->fd, SHUT_WR);
    c->state = CONN_LINGER;
    c->rq->out_sent = 0; /* counts what is thrown away from here on */
    conn_want(c, CONN_READABLE);
    conn_deadline(c, LINGER_MS);
}

/* Send what stands in out. true = all of it left (or the connection is closed: look at the state). */
bool conn_flush(struct conn *c) {
    struct request_state *rq = c->rq;
    bool last = rq->close_after && !rq->body_next; /* conn_after_write ends the connection */
    while (rq->out_sent < rq->out.n) {
        ssize_t n = c->ops->write(c->stream, c->fd, rq->out.p + rq->out_sent, rq->out.n - rq->out_sent, last);
        if (n > 0) {
            rq->out_sent += (uint32_t)n;
            continue;
        }
        if (n == STREAM_WANT_READ || n == STREAM_WANT_WRITE) {
            conn_blocked(c, n);
            if (c->state != CONN_WRITE) conn_deadline(c, conn_settings(c)->write_ms);
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
void conn_finish(struct conn *c) {
    struct request_state *rq = c->rq;
    if (rq->abandoned || rq->in_n > rq->pos || rq->rest.n || unread(c)) {
        linger(c);
        return;
    }
    if (c->ops->shutdown) c->ops->shutdown(c->stream, c->fd);
    conn_close(c, "answered and closed");
}

void conn_after_write(struct conn *c) {
    struct request_state *rq = c->rq;
    if (rq->close_after) {
        conn_finish(c);
        return;
    }
    if (rq->body_next) {
        rq->body_next = false;
        c->state = CONN_BODY;
        conn_want(c, CONN_READABLE);
        conn_deadline(c, conn_settings(c)->body_ms);
        return;
    }
    c->state = CONN_HEAD;
    if (rq->pos < rq->in_n || rq->rest.n) conn_serve(c);
    else conn_go_idle(c);
}

void conn_end_exchange(struct conn *c) {
    struct request_state *rq = c->rq;
    respond_log(c);
    buf_clear(&rq->body);
    rq->scan = (struct h1_scan){0};
    rq->began_ms = 0;
    if (c->gen != c->w->gen && !c->retired)
        conn_move(c, c->w->gen); /* here, too: who always sends a piece of the next request is never idle */
}

void conn_resume(struct conn *c) {
    if (c->rq->job) { /* an app thread's answer */
        struct job *j = c->rq->job;
        c->rq->job = NULL;
        respond_job(c, j);
        job_free(j);
    }
    conn_end_exchange(c);
    if (conn_flush(c)) conn_after_write(c);
    conn_run(c);
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
    conn_end_exchange(c);
    if (conn_flush(c)) conn_after_write(c);
    conn_run(c);
}

/* An error answer to something that never became a whole request; what else the client sends is thrown away. */
void conn_abandon(struct conn *c, int status) {
    c->rq->abandoned = true;
    respond_error(c, status, true);
    if (conn_flush(c)) conn_finish(c);
}

void conn_refuse(struct conn *c, const struct h1_bad *bad) {
    COUNT(c->w->count, bad_requests);
    char who[ADDR_TEXT];
    addr_format_ip(&c->remote, who);
    log_info("http", "%s: request refused with %d: %s", who, bad->status, bad->why);
    conn_abandon(c, bad->status);
}
