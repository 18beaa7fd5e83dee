/* Who comes in, at each stage of a connection: the one place that takes tickets, judges, counts, records and closes. */
#include "base/log.h"
#include "engine/banning.h"
#include "engine/conn_i.h"
#include "engine/decisions.h"
#include "engine/giveway.h"
#include "gate/record.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define PARKED_MOST \
    4096u /* delayed connections of a worker; beyond it a delay is a refusal: who is to wait must not be able to fill the memory */
#define ANSWERING_MOST 1024u /* refused ones of a worker that are still to hear why; beyond it they are closed without a word */
#define LEAVING_MOST   256u  /* the same of those who are to hear the alert of their handshake */
#define SEE_OFF_MS     2000

struct guest *conn_guest(struct conn *c) {
    if (!c->guest && (c->guest = calloc(1, sizeof *c->guest))) c->guest->only = UINT32_MAX;
    return c->guest;
}

void conn_forget_guest(struct conn *c) {
    if (c->leaving) c->w->leaving--;
    else if (c->guest->status) c->w->answering--;
    giveway_forget(c);
    free(c->guest);
    c->guest = NULL;
}

void conn_facts(struct conn *c, enum stage s, struct facts *f) {
    const struct guest *g = c->guest;
    f->stage = s;
    f->remote = c->remote;
    f->via = c->via ? &c->via->device : NULL;
    f->clear = c->via && c->via->ssl && !c->via->tls;
    f->fd = c->fd;
    f->listener = c->listener->plan;
    f->local_port = c->listener->port;
    f->listener_id = c->listener->id;
    f->lists = &c->gen->lists;
    f->hello = g && g->has_hello && s >= STAGE_HELLO ? &g->hello : NULL;
    f->identity = g && g->has_identity && s >= STAGE_IDENTITY ? &g->identity : NULL;
    f->request = s == STAGE_REQUEST ? &c->rq->x : NULL;
    f->tags = g ? &g->tags : NULL;
    f->real_ms = c->w->real_ms;
    worker_fill_facts(c->w, c->listener, f);
    if (s == STAGE_PEER) return; /* the ticket fills the counts */
    f->counts.active = atomic_load_explicit(&c->w->eng->live->listener[c->listener->id], memory_order_relaxed);
    f->counts.from_address = c->ticket.counted ? live_peek(c->w->eng->live, c->ticket.key) : UINT32_MAX;
}

static void policy_failed(struct conn *c, const struct err *e, const struct verdict *v) {
    COUNT(c->w->count, policy_errors);
    if (health_suspended(&c->gen->health) && c->gen == c->w->gen)
        atomic_store(&c->w->eng->counters->policy_suspended_ms, atomic_load(&c->gen->health.suspended_ms));
    log_error("admission", "%s: the connection was %s", e->text,
              v->last_good               ? "given the policy's last good verdict"
              : v->kind == VERDICT_ALLOW ? "judged by the built-in rules"
                                         : "refused");
}

/* The turn's time would not tell which of two workers was first. */
static void stamp(struct decision *d) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    d->ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    d->us = (uint16_t)(now.tv_nsec / 1000 % 1000);
}

void worker_record(struct worker *w, const struct generation *g, const struct addr *local, const struct facts *f, const struct verdict *v) {
    struct engine *eng = w->eng;
    __attribute__((uninitialized)) struct record_texts t;
    __attribute__((uninitialized)) struct decision d;
    record_make(f, v, g->id, &t, &d);
    stamp(&d);
    if (local->family) d.local = *local;
    if (v->refusal != REFUSE_NONE) record_count(w->count, v->refusal);
    if (recorder_add(eng->recorder, w->index, &d)) decisions_wake(eng->decisions, v->refusal != REFUSE_NONE);
}

static void reset(struct conn *c) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static bool remember(struct conn *c, const struct verdict *v) {
    if (v->only == UINT32_MAX && v->tags.n == 0) return true;
    struct guest *g = conn_guest(c);
    if (!g) return false;
    g->only &= v->only;
    for (uint32_t i = 0; i < v->tags.n; i++) (void)tags_add(&g->tags, v->tags.name[i]); /* what is one too many is not kept */
    return true;
}

/* The session starts, hears the answer, and ends (G15). It has no place of the listener's any more: its ticket goes back now. */
static enum judged answer(struct conn *c, const struct verdict *v) {
    struct guest *g = c->speech->answer && c->w->answering < ANSWERING_MOST ? conn_guest(c) : NULL;
    if (!g) {
        conn_close(c, "refused");
        return JUDGED_OUT;
    }
    ticket_give(&c->ticket, c->w->eng->live);
    g->status = v->status;
    memcpy(g->text, v->text, sizeof g->text);
    c->w->answering++;
    return JUDGED_IN;
}

/* It is to hear the alert that its handshake ended with, though it may still be sending: closed at once, a reset could overtake it. */
static bool see_off(struct conn *c) {
    if (c->w->leaving >= LEAVING_MOST || !conn_guest(c) || c->guest->status) return false;
    ticket_give(&c->ticket, c->w->eng->live);
    c->w->leaving++;
    c->leaving = true;
    c->ops->free(c->stream); /* the alert is sent: what is left is the socket */
    c->stream = NULL;
    (void)shutdown(c->fd, SHUT_WR);
    conn_want(c, CONN_READABLE);
    conn_deadline(c, SEE_OFF_MS);
    return true;
}

static enum judged refuse(struct conn *c, const struct verdict *v) {
    if (v->kind == VERDICT_ANSWER) return answer(c, v);
    if (c->state == CONN_HANDSHAKE && c->stream && tls_turned_away(c->stream) && see_off(c)) return JUDGED_OUT;
    if (v->kind == VERDICT_RESET) reset(c);
    conn_close(c, "refused");
    return JUDGED_OUT;
}

bool conn_park_room(const struct worker *w) {
    return w->parked < PARKED_MOST;
}

static enum judged park(struct conn *c, const struct verdict *v) {
    if (!conn_park_room(c->w)) {
        log_warn("admission", "%u connections of this worker are being delayed: one more was closed", PARKED_MOST);
        conn_close(c, "too many are delayed");
        return JUDGED_OUT;
    }
    c->w->parked++;
    c->parked = (uint8_t)v->stage;
    c->state = CONN_PARKED;
    conn_want(c, 0);
    conn_deadline(c, v->delay_ms);
    return JUDGED_WAIT;
}

/* Rules in C tell the numbers that they let a caller come to, so his place is taken when all have let him in: at once, or not at all. A rule in
 * Lua may count by itself: where there is one, the place is taken before it is asked, so that it never lets in one too many (and may refuse one
 * while another who is being refused still holds a place). */
static void take_place(struct conn *c, struct facts *f) {
    struct engine *eng = c->w->eng;
    unsigned bits = plan_bits(f->listener, c->remote.family, false);
    if (c->listener->counts_in_lua) ticket_take(&c->ticket, eng->counters, eng->live, f->listener_id, &c->remote, bits, &f->counts);
    else ticket_look(&c->ticket, eng->counters, eng->live, f->listener_id, &c->remote, bits, &f->counts);
}

static void take_within(struct conn *c, struct facts *f, struct verdict *v) {
    struct hooks *h = c->gen->hooks[c->w->index];
    struct rule_bounds b;
    hooks_bounds(h, f, v, &b);
    if (!ticket_take_within(&c->ticket, c->w->eng->live, b.active, b.from_address, &f->counts)) hooks_over(h, f, v);
}

enum judged conn_judge(struct conn *c, enum stage s) {
    struct worker *w = c->w;
    if (c->guest && c->guest->status) return JUDGED_IN; /* it is already on its way to its answer */
    if (s != STAGE_PEER && !(c->listener->asks & 1u << s)) return JUDGED_IN;
    if (s != STAGE_PEER && conn_header_due(c)) return JUDGED_IN; /* TLS with a device: whom it brings is judged behind its header */
    struct facts f;
    conn_facts(c, s, &f);
    if (s == STAGE_PEER) take_place(c, &f);
    __attribute__((uninitialized)) struct verdict v; /* a kilobyte and a half to zero at each connection otherwise */
    __attribute__((uninitialized)) struct err e;
    if (!hooks_judge(c->gen->hooks[w->index], &f, &v, &e)) policy_failed(c, &e, &v);
    if (s == STAGE_PEER && v.kind == VERDICT_ALLOW && !c->ticket.held) take_within(c, &f, &v);
    if (v.kind != VERDICT_ALLOW && s == STAGE_PEER && giveway_ask(c, &f, &v)) return JUDGED_WAIT;
    worker_record(w, c->gen, &c->local, &f, &v);
    if (v.kind != VERDICT_ALLOW) return refuse(c, &v);
    if (!remember(c, &v)) {
        conn_close(c, "out of memory");
        return JUDGED_OUT;
    }
    return v.delay_ms ? park(c, &v) : JUDGED_IN;
}

void conn_turn_away(struct conn *c, enum plan_limit entry, const char *list, const char *fmt, ...) {
    enum stage stage = entry == LIMIT_CLIENT ? STAGE_IDENTITY : STAGE_PEER;
    struct facts f = {0};
    struct verdict v;
    va_list ap;
    conn_facts(c, stage, &f);
    verdict_clear(&v, stage);
    v.kind = VERDICT_REFUSE;
    v.refusal = entry == LIMIT_CLIENT ? REFUSE_CERTIFICATE : REFUSE_PROXY;
    v.limit = entry;
    snprintf(v.list, sizeof v.list, "%s", list);
    va_start(ap, fmt);
    vsnprintf(v.because, sizeof v.because, fmt, ap);
    va_end(ap);
    worker_record(c->w, c->gen, &c->local, &f, &v);
    (void)refuse(c, &v);
}

bool conn_judge_device(struct conn *c) {
    const struct plan_socket *s = c->listener->plan;
    const struct pset *devices = lists_find(&c->gen->lists, s->proxy_from);
    struct facts f = {0};
    struct verdict v;
    char line[sizeof v.list] = "";
    conn_facts(c, STAGE_PEER, &f);
    hooks_judge_device(c->gen->hooks[c->w->index], &f, &v);
    if (v.kind != VERDICT_ALLOW) {
        worker_record(c->w, c->gen, &c->local, &f, &v);
        (void)refuse(c, &v);
        return false;
    }
    struct pset_hit hit = devices ? facts_ask(&f, devices) : (struct pset_hit){0};
    if (hit.in) return true;
    if (devices) (void)lists_where(devices, hit, line, sizeof line);
    conn_turn_away(c, LIMIT_PROXY_FROM, line, "ProxyFrom=%s of listener %s: %s", s->proxy_from, s->name,
                   line[0] ? line : "it is not in that list");
    return false;
}

/* What the header says of TLS is judged from this stage on (hello, identity), then it speaks. Without such a header it just speaks. */
static void judge_told(struct conn *c, enum stage from) {
    bool told = c->via && !conn_own_tls(c) && (c->via->tls || c->via->sni[0]);
    if (told && from <= STAGE_HELLO && conn_judge(c, STAGE_HELLO) != JUDGED_IN) return;
    if (told && from <= STAGE_IDENTITY && conn_judge(c, STAGE_IDENTITY) != JUDGED_IN) return;
    conn_speak(c);
}

void conn_unpark(struct conn *c) {
    c->w->parked--;
    c->state = CONN_PREFACE; /* parked no more, whatever comes */
    switch ((enum stage)c->parked) {
    case STAGE_PEER: conn_enter(c); break;
    case STAGE_HELLO:
        if (c->via && !conn_own_tls(c) && !c->speaking) {
            judge_told(c, STAGE_IDENTITY);
            break;
        }
        c->state = c->speaking ? CONN_TALK : CONN_HANDSHAKE; /* a tunnel looks at the hello itself */
        conn_want(c, CONN_READABLE);
        c->ready |= CONN_READABLE; /* the handshake goes on by itself: its bytes are here */
        conn_deadline(c, conn_settings(c)->handshake_ms);
        break;
    case STAGE_IDENTITY: conn_speak(c); break;
    default:
        c->state = CONN_HEAD;
        conn_want(c, CONN_READABLE);
        conn_deadline(c, conn_settings(c)->header_ms);
        conn_serve_on(c);
        break;
    }
    conn_run(c);
}

void conn_enter(struct conn *c) {
    const struct plan_socket *s = c->listener->plan;
    if (s->scheme != SCHEME_HTTPS || c->stream) { /* with TLS to a device there is a stream already */
        judge_told(c, STAGE_HELLO);
        return;
    }
    c->stream = tls_accept(c->gen->certs, s->certificate, c->fd);
    if (c->stream) c->ops = &stream_tls;
    if (!c->stream || (s->client != CLIENT_OFF && !tls_want_client(c->stream, s))) {
        conn_close(c, "out of memory");
        return;
    }
    bool asked = c->listener->asks_tls || c->listener->asks & 1u << STAGE_HELLO;
    struct guest *g = asked ? conn_guest(c) : NULL;
    if (g) tls_want_hello(c->stream, &g->hello);
    if (asked && !g) {
        conn_close(c, "out of memory");
        return;
    }
    c->state = CONN_HANDSHAKE;
    conn_want(c, CONN_READABLE);
    conn_deadline(c, conn_settings(c)->handshake_ms);
}

void conn_speak(struct conn *c) {
    c->state = CONN_TALK;
    c->speaking = true;
    if (c->guest && c->guest->status) c->speech->answer(c);
    else if (c->guest && !(c->listener->plan->services & (c->guest->only | SVC_HTTP))) /* HTTP says so itself, request by request */
        conn_close(c, "no service of its socket is open to it");
    else c->speech->start(c);
}
