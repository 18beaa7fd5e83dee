/* The remote log over TCP and TLS (RFC 6587, RFC 5425): messages one behind the other, nothing is ever answered. What has come of a message that is
 * not whole yet is all that a connection holds. */
#include "engine/conn_i.h"
#include "engine/remotelog.h"
#include "proto/syslog.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TURN_BYTES (1u << 20) /* of one connection, before the others have their turn */
#define REST_MS    1          /* the next tick of the wheel */

struct log_talk {
    struct syslog_frames frames;
    bool resting, timed; /* timed: a message is under way, with its deadline */
    uint32_t n;          /* of the message under way */
    char text[];
};

static struct log_talk *talk_of(const struct conn *c) {
    return c->talk;
}

/* A peer that has gone without a word is noticed by the kernel; a quiet one may stay. */
static void keep_alive(int fd) {
    int on = 1, idle = 60, every = 15, times = 4;
    (void)(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times) == 0);
}

static void start(struct conn *c) {
    if (!(c->talk = calloc(1, sizeof(struct log_talk)))) {
        conn_close(c, "out of memory");
        return;
    }
    keep_alive(c->fd);
    conn_want(c, CONN_READABLE);
    wheel_clear(&c->timer);
}

static void pass_on(struct conn *c, struct slice msg, bool cut) {
    struct worker *w = c->w;
    struct log_note note = {
        .ms = w->real_ms, .from = c->remote, .listener_id = c->listener->id, .way = c->stream ? LOG_WAY_TLS : LOG_WAY_TCP, .cut = cut};
    worker_log(w, &note, msg.p, msg.n);
}

/* Keep what is not a whole message yet. Its deadline is absolute, from its first byte on. */
static bool keep(struct conn *c, const char *p, size_t n) {
    struct log_talk *t = talk_of(c);
    if (n != t->n) {
        struct log_talk *more = realloc(t, sizeof *t + n);
        if (!more) return false;
        c->talk = t = more;
    }
    if (n) memcpy(t->text, p, n);
    t->n = (uint32_t)n;
    return true;
}

static bool idle(const struct conn *c) {
    const struct log_talk *t = talk_of(c);
    return t->n == 0 && !t->frames.skip && !t->frames.skip_line && !t->resting;
}

/* Between messages there is no deadline, and a change of generation is taken up. */
static void set_deadline(struct conn *c) {
    struct log_talk *t = talk_of(c);
    if (!idle(c)) {
        if (!t->timed) conn_deadline(c, conn_settings(c)->body_ms);
        t->timed = true;
        return;
    }
    t->timed = false;
    wheel_clear(&c->timer);
    if (c->w->draining) conn_deadline(c, RETIRED_MS);
    if (c->gen != c->w->gen) conn_move(c, c->w->gen);
}

/* The n bytes of the worker's scratch: every whole message in them. */
static bool take(struct conn *c, const char *p, size_t n) {
    struct log_talk *t = talk_of(c);
    struct slice msg;
    size_t used, at = 0;
    bool cut;
    while (syslog_next(&t->frames, p + at, n - at, &used, &msg, &cut)) {
        pass_on(c, msg, cut);
        at += used;
        t->timed = false; /* what follows is another message, with a deadline of its own */
    }
    at += used;
    if (!keep(c, p + at, n - at)) return false;
    set_deadline(c);
    return true;
}

static void ended(struct conn *c) {
    struct log_talk *t = talk_of(c);
    struct slice msg;
    if (syslog_last(&t->frames, t->text, t->n, &msg)) pass_on(c, msg, false);
    conn_close(c, "the peer has ended");
}

static void rest(struct conn *c) {
    talk_of(c)->resting = true;
    conn_want(c, 0);
    conn_deadline(c, REST_MS);
}

static void advance(struct conn *c) {
    struct worker *w = c->w;
    for (size_t taken = 0;;) {
        struct log_talk *t = talk_of(c);
        if (taken >= TURN_BYTES || remotelog_crowded(w->eng->remotelog)) {
            rest(c);
            return;
        }
        size_t n = t->n;
        memcpy(w->scratch, t->text, n);
        ssize_t k = c->ops->read(c->stream, c->fd, w->scratch + n, WORKER_SCRATCH - n);
        if (k == STREAM_WANT_READ || k == STREAM_WANT_WRITE) {
            conn_blocked(c, k);
            return;
        }
        if (k <= 0) {
            k == 0 ? ended(c) : conn_close(c, "the connection broke");
            return;
        }
        taken += (size_t)k;
        if (!take(c, w->scratch, n + (size_t)k)) {
            conn_close(c, "out of memory");
            return;
        }
    }
}

static void timeout(struct conn *c) {
    struct log_talk *t = talk_of(c);
    if (!t->resting) {
        COUNT(c->w->count, timeouts);
        conn_close(c, c->retired || c->w->draining ? "its listener goes" : "a message did not come to its end");
        return;
    }
    t->resting = t->timed = false;
    set_deadline(c);
    conn_want(c, CONN_READABLE);
    conn_run(c);
}

static void drain(struct conn *c) {
    if (idle(c)) conn_deadline(c, RETIRED_MS);
}

static void done(struct conn *c) {
    free(c->talk);
    c->talk = NULL;
}

const struct speech speech_log = {
    .name = "remote-log",
    .start = start,
    .advance = advance,
    .timeout = timeout,
    .close = done,
    .idle = idle,
    .drain = drain,
};
