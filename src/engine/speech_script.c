/* Protocols written in Lua (script/scripts.h): a line comes, an answer goes. One exchange and the end, or as many as the script wants. */
#include "base/log.h"
#include "engine/conn_i.h"
#include "script/scripts.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TURN_LINES 64u    /* of one connection, before the others have their turn */
#define LINES_MOST 10000u /* of a connection */
#define REST_MS    1
#define END_MS     2000
#define END_BYTES  65536u /* thrown away of who goes on talking after the end */

struct script_talk {
    struct buf out, state;
    size_t sent, thrown;
    uint32_t lines, turn;
    bool has_state, closing, ended, resting;
    uint32_t n;
    char in[SCRIPT_LINE + 2]; /* and CR LF */
};

static struct script_talk *talk_of(const struct conn *c) {
    return c->talk;
}

static void tell_listener(void *ctx, uint32_t i, struct script_listener *out) {
    const struct conn *c = ctx;
    const struct gen_listener *l = &c->gen->listener[i];
    *out = (struct script_listener){.name = l->plan->name,
                                    .scheme = plan_scheme_text(l->plan),
                                    .port = l->port ? l->port : l->plan->at.port,
                                    .active = atomic_load_explicit(&c->w->eng->live->listener[l->id], memory_order_relaxed),
                                    .waiting = l->plan->waiting};
    addr_format_ip(&l->plan->at, out->address);
    plan_services_text(l->plan->services, out->services, sizeof out->services);
}

/* line NULL: the script's opening. false: it has failed and the connection is closed. */
static bool ask(struct conn *c, const char *line, size_t n) {
    struct script_talk *t = talk_of(c);
    struct worker *w = c->w;
    struct facts f;
    struct err e;
    conn_facts(c, STAGE_IDENTITY, &f);
    struct script_server server = {.version = PORTREEVE_VERSION,
                                   .generation = c->gen->id,
                                   .since_ms = w->eng->started_ms,
                                   .now_ms = w->real_ms,
                                   .listeners = c->gen->plan.nsockets,
                                   .listener = tell_listener,
                                   .ctx = c};
    struct script_call call = {.script = c->listener->plan->script,
                               .facts = &f,
                               .line = line,
                               .n = n,
                               .server = &server,
                               .state = &t->state,
                               .has_state = t->has_state,
                               .answer = &t->out};
    if (!hooks_script(c->gen->hooks[w->index], &call, &e)) {
        COUNT(w->count, policy_errors);
        log_error("script", "%s: the connection was closed", e.text);
        conn_close(c, "its script failed");
        return false;
    }
    t->has_state = call.keep;
    t->closing = !call.keep;
    return true;
}

static void wait_for_line(struct conn *c) {
    conn_want(c, CONN_READABLE);
    conn_deadline(c, conn_settings(c)->header_ms);
}

static struct script_talk *make_talk(struct conn *c) {
    struct script_talk *t = calloc(1, sizeof *t);
    c->talk = t;
    if (!t) {
        conn_close(c, "out of memory");
        return NULL;
    }
    t->out.max = SCRIPT_ANSWER + 1024;
    t->state.max = 2 * SCRIPT_STATE;
    return t;
}

/* At the next turn: the poll set says that it can be written to. */
static void begin_writing(struct conn *c) {
    conn_blocked(c, STREAM_WANT_WRITE);
    conn_deadline(c, conn_settings(c)->write_ms);
}

static void start(struct conn *c) {
    struct script_talk *t = make_talk(c);
    if (!t) return;
    if (!hooks_script_opens(c->gen->hooks[c->w->index], c->listener->plan->script)) {
        wait_for_line(c);
        return;
    }
    if (ask(c, NULL, 0)) begin_writing(c);
}

static void answer(struct conn *c) {
    struct script_talk *t = make_talk(c);
    if (!t) return;
    t->closing = true;
    if (buf_fmt(&t->out, "%s\r\n", c->guest->text[0] ? c->guest->text : "You cannot be served here.")) begin_writing(c);
    else conn_close(c, "out of memory");
}

/* Everything is sent. A caller that is still sending would lose the answer to a reset, so what it says is thrown away for a while. */
static void end(struct conn *c) {
    struct script_talk *t = talk_of(c);
    if (c->ops->shutdown) c->ops->shutdown(c->stream, c->fd);
    shutdown(c->fd, SHUT_WR);
    t->ended = true;
    conn_want(c, CONN_READABLE);
    c->ready |= CONN_READABLE;
    conn_deadline(c, END_MS);
}

static void throw_away(struct conn *c) {
    struct script_talk *t = talk_of(c);
    while (t->thrown < END_BYTES) {
        ssize_t n = c->ops->read(c->stream, c->fd, c->w->scratch, WORKER_SCRATCH);
        if (n == STREAM_WANT_READ || n == STREAM_WANT_WRITE) {
            conn_blocked(c, n);
            return;
        }
        if (n <= 0) break;
        t->thrown += (size_t)n;
    }
    conn_close(c, "answered and closed");
}

/* true: nothing is left to be sent. */
static bool flush(struct conn *c) {
    struct script_talk *t = talk_of(c);
    while (t->sent < t->out.n) {
        ssize_t n = c->ops->write(c->stream, c->fd, t->out.p + t->sent, t->out.n - t->sent, t->closing);
        if (n > 0) {
            t->sent += (size_t)n;
            continue;
        }
        if (n == STREAM_WANT_READ || n == STREAM_WANT_WRITE) conn_blocked(c, n);
        else conn_close(c, "the client went away while it was answered");
        return false;
    }
    buf_clear(&t->out);
    t->sent = 0;
    return true;
}

/* A line that is whole: answer it. false: there is none, or the connection is closed. */
static bool take_line(struct conn *c) {
    struct script_talk *t = talk_of(c);
    char line[SCRIPT_LINE + 2];
    const char *lf = memchr(t->in, '\n', t->n);
    if (!lf) return false;
    size_t n = (size_t)(lf - t->in), used = n + 1;
    memcpy(line, t->in, n);
    t->n -= (uint32_t)used;
    memmove(t->in, t->in + used, t->n);
    if (n && line[n - 1] == '\r') n--;
    COUNT(c->w->count, requests);
    c->requests++;
    t->lines++;
    t->turn++;
    if (!ask(c, line, n)) return false;
    t->closing |= t->lines >= LINES_MOST;
    conn_deadline(c, conn_settings(c)->write_ms);
    return true;
}

/* false: nothing more for now. */
static bool take_input(struct conn *c) {
    struct script_talk *t = talk_of(c);
    if (t->n == sizeof t->in) {
        log_notice("script", "listener %s: a line of more than %u bytes: the connection was closed", c->listener->plan->name, SCRIPT_LINE);
        conn_close(c, "a line is too long");
        return false;
    }
    ssize_t k = c->ops->read(c->stream, c->fd, t->in + t->n, sizeof t->in - t->n);
    if (k > 0) {
        t->n += (uint32_t)k;
        return true;
    }
    t->turn = 0; /* it is slower than we are */
    if (k == STREAM_WANT_READ || k == STREAM_WANT_WRITE) conn_blocked(c, k);
    else conn_close(c, k == 0 ? "the peer has ended" : "the connection broke");
    return false;
}

static void advance(struct conn *c) {
    struct script_talk *t = talk_of(c);
    if (t->ended) {
        throw_away(c);
        return;
    }
    for (;;) {
        bool wrote = t->out.n > 0;
        if (!flush(c)) return;
        if (t->closing) {
            end(c);
            return;
        }
        if (wrote || c->want == CONN_WRITABLE) wait_for_line(c);
        if (t->turn >= TURN_LINES) {
            t->resting = true;
            conn_want(c, 0);
            conn_deadline(c, REST_MS);
            return;
        }
        if (take_line(c)) continue;
        if (c->state == CONN_DEAD || !take_input(c)) return;
    }
}

static void timeout(struct conn *c) {
    struct script_talk *t = talk_of(c);
    if (!t->resting) {
        if (!t->ended) COUNT(c->w->count, timeouts);
        conn_close(c, "deadline");
        return;
    }
    t->resting = false;
    t->turn = 0;
    wait_for_line(c);
    c->ready |= CONN_READABLE;
    conn_run(c);
}

static void drain(struct conn *c) {
    if (talk_of(c)->n == 0 && talk_of(c)->out.n == 0) conn_deadline(c, RETIRED_MS);
}

static void done(struct conn *c) {
    struct script_talk *t = talk_of(c);
    if (!t) return;
    buf_free(&t->out);
    buf_free(&t->state);
    free(t);
    c->talk = NULL;
}

const struct speech speech_script = {
    .name = "script",
    .start = start,
    .advance = advance,
    .timeout = timeout,
    .close = done,
    .drain = drain,
    .answer = answer,
};
