/* The life of a connection, whatever it speaks: opening, closing, deadlines, the poll set, and TLS before it speaks. */
#include "base/log.h"
#include "engine/conn_i.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEAR_OUT_MOST 65536u

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

static void link_conn(struct conn *c) {
    struct worker *w = c->w;
    c->next = w->conns;
    if (w->conns) w->conns->prev = c;
    w->conns = c;
    atomic_fetch_add_explicit(&w->live, 1, memory_order_relaxed);
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
    c->speech = speech_of(a->listener->plan);
    c->ready = CONN_WRITABLE;
    c->gen = generation_ref(a->gen);
    link_conn(c);
    if (a->listener->plan->proxy != PROXY_OFF) conn_greet(c);
    else if (conn_judge(c, STAGE_PEER) == JUDGED_IN) conn_enter(c);
    return c->state == CONN_DEAD ? NULL : c;
}

void conn_close(struct conn *c, const char *why) {
    struct worker *w = c->w;
    if (c->state == CONN_DEAD) return;
    log_debug("conn", "closed: %s", why);
    if (c->state == CONN_PARKED) w->parked--;
    if (c->speaking && c->speech->close) c->speech->close(c);
    if (c->via || c->state == CONN_PREFACE) conn_forget_header(c);
    c->state = CONN_DEAD;
    wheel_clear(&c->timer);
    if (c->stream) {
        c->ops->free(c->stream);
        c->stream = NULL;
    }
    ticket_give(&c->ticket, w->eng->live); /* first: a caller who sees the close and calls again must find the place free */
#ifdef __SANITIZE_THREAD__
    close(c->fd); /* it has to see where a descriptor's life ends, or takes the next holder of the number for the same */
#else
    syscall(SYS_close, c->fd); /* not a cancellation point, see src/net/stream.c */
#endif
    if (c->guest) conn_forget_guest(c);
    COUNT(w->count, closed);
    if (c->prev) c->prev->next = c->next;
    else w->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    if (w->reap_next == c) w->reap_next = c->next;
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
    return c->state >= CONN_TALK && c->state != CONN_DEAD && c->speech->idle && c->speech->idle(c);
}

uint8_t conn_secure(const struct conn *c) {
    const struct plan_socket *s = c->listener->plan;
    if (s->scheme == SCHEME_HTTPS) return 1;
    return s->external_tls && (!c->via || !c->via->ssl || c->via->tls) ? 2 : 0;
}

const char *conn_state_name(const struct conn *c) {
    switch (c->state) {
    case CONN_PREFACE: return "waiting for the PROXY header";
    case CONN_PARKED: return "delayed";
    case CONN_HANDSHAKE: return "handshake";
    case CONN_DEAD: return "closed";
    default: return c->speech->state ? c->speech->state(c) : c->speech->name;
    }
}

void conn_move(struct conn *c, struct generation *g) {
    struct gen_listener *same = generation_same(g, c->listener);
    const struct plan_socket *was = c->listener->plan;
    /* clear text must not count as secure because its socket now speaks TLS, nor a certificate as good because it was so to others */
    if (!same || !plan_same_speech(was, same->plan) || c->speech != speech_of(same->plan) ||
        !tls_client_same(c->gen->certs, was, g->certs, same->plan)) {
        c->retired = true;
        conn_deadline(c, RETIRED_MS); /* it holds the old generation */
        return;
    }
    c->listener = same;
    generation_unref(c->gen);
    c->gen = generation_ref(g);
}

void conn_renew(struct conn *c, struct generation *g) {
    if (conn_idle(c)) conn_move(c, g);
    else if (c->state >= CONN_TALK && c->state != CONN_DEAD && c->speech->renew) c->speech->renew(c, g);
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
    if (c->state == CONN_PARKED && c->guest && c->guest->room) {
        conn_close(c, "nobody gave way in time");
        return;
    }
    if (c->state == CONN_PARKED) {
        conn_unpark(c);
        return;
    }
    if (c->state >= CONN_TALK && c->speech->timeout) {
        c->speech->timeout(c);
        return;
    }
    if (!c->leaving) COUNT(w->count, timeouts);
    if (c->state == CONN_PREFACE) conn_header_late(c);
    else conn_close(c, "deadline");
}

/* ---- the poll set ---- */

#define HANGUP      (EPOLLHUP | EPOLLERR)
#define PARKED_GONE "the client went away while it was delayed"

void conn_event(struct conn *c, uint32_t events) {
    if (c->state == CONN_DEAD) return; /* closed earlier in this batch */
    if (events & (EPOLLRDHUP | HANGUP)) c->ended = true;
    if (events & (EPOLLIN | EPOLLRDHUP | HANGUP)) c->ready |= CONN_READABLE;
    if (events & (EPOLLOUT | HANGUP)) c->ready |= CONN_WRITABLE;
    if (c->ended && c->state >= CONN_TALK && c->speech->hangup) c->speech->hangup(c, events);
    if (c->state == CONN_PARKED && (events & HANGUP || (c->ended && c->w->draining))) conn_close(c, PARKED_GONE);
    conn_run(c);
}

void conn_drain(struct conn *c) {
    if (c->state == CONN_PARKED && c->ended)
        conn_close(c, PARKED_GONE); /* a half-closed one may be there still: it waits, but holds up no end */
    if (c->state >= CONN_TALK && c->state != CONN_DEAD && c->speech->drain) c->speech->drain(c);
}

/* A certificate that is demanded is a matter of admission: on record as a refusal, with the entry that demands it. */
static void handshake_failed(struct conn *c) {
    const struct plan_socket *s = c->listener->plan;
    const char *why = tls_turned_away(c->stream);
    char who[ADDR_TEXT];
    COUNT(c->w->count, tls_failures);
    if (why) {
        conn_turn_away(c, LIMIT_CLIENT, "", "ClientCertificate=%s of listener %s: %s", s->client == CLIENT_REQUIRE ? "Require" : "Ask",
                       s->name, why);
        return;
    }
    addr_format_ip(&c->remote, who);
    log_info("tls", "%s on %s: handshake failed: %s", who, s->name, tls_why(c->stream));
    conn_close(c, "handshake failed");
}

/* What policies may ask of the caller's TLS, and where he was asked for a certificate, what they and handlers may ask of that. */
static bool identify(struct conn *c) {
    bool asked = c->listener->plan->client != CLIENT_OFF;
    struct guest *g = asked ? conn_guest(c) : c->guest;
    if (!g) return !asked;
    if (!asked && !g->has_hello) return true;
    tls_identify(c->stream, &g->identity);
    return g->has_identity = true;
}

/* Its handshake has failed and the alert is out: what it still sends is thrown away until it closes, within bounds. */
static void hear_out(struct conn *c) {
    for (;;) {
        ssize_t n = recv(c->fd, c->w->scratch, WORKER_SCRATCH, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            conn_blocked(c, STREAM_WANT_READ);
            return;
        }
        if (n > 0) c->guest->thrown += (uint32_t)n;
        if (n <= 0 || c->guest->thrown > HEAR_OUT_MOST) {
            conn_close(c, "refused");
            return;
        }
    }
}

static void shake_hands(struct conn *c) {
    int r = c->ops->handshake(c->stream, c->fd);
    if (r == STREAM_HELLO) {
        c->guest->has_hello = true;
        (void)conn_judge(c, STAGE_HELLO); /* let in: the next turn of conn_run goes on */
        return;
    }
    if (r == STREAM_WANT_READ || r == STREAM_WANT_WRITE) {
        conn_blocked(c, r);
        return;
    }
    if (r != 1) {
        handshake_failed(c);
        return;
    }
    COUNT(c->w->count, tls_handshakes);
    if (!identify(c)) {
        conn_close(c, "out of memory");
        return;
    }
    if (conn_header_due(c)) conn_await_header(c);
    else if (conn_judge(c, STAGE_IDENTITY) == JUDGED_IN) conn_speak(c);
}

/* Readiness is latched (edge-triggered polling): go on as long as what is wanted is there. */
void conn_run(struct conn *c) {
    while (c->state != CONN_DEAD && (c->ready & c->want)) {
        if (c->state >= CONN_TALK) c->speech->advance(c);
        else if (c->state == CONN_HANDSHAKE) c->leaving ? hear_out(c) : shake_hands(c);
        else if (c->state == CONN_PREFACE) conn_read_header(c);
        else break;
    }
}

/* A request that is there already is read at once, and a short connection then never enters the poll set (4 system calls from accept to close).
 * Whether one is there depends on how busy the callers and we are: when it seldom is, only every 16th connection tries, to notice a change. */
void conn_start(struct conn *c) {
    struct worker *w = c->w;
    if (c->state != CONN_PARKED && (w->early >= 128 || w->starts++ % 16 == 0)) {
        c->ready |= CONN_READABLE;
        conn_run(c);
        bool there = c->state == CONN_DEAD || c->ready & CONN_READABLE || c->rq || c->requests;
        w->early += ((there ? 256 : 0) - w->early) / 8;
        if (c->state == CONN_DEAD) return;
    }
    c->polled = true;
    if (!poll_conn(c, EPOLL_CTL_ADD)) conn_close(c, "the poll set is full");
}
