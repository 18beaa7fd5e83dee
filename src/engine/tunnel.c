/* Tunnels: bytes between a caller and a backend, whatever they are (G1, Q13). A tunnel has said nothing of its own to anybody, except a PROXY header
 * to its backend where one is wanted. */
#include "base/log.h"
#include "engine/access.h"
#include "engine/tunnel_i.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK      32768u       /* measured: larger ones are copied more often, since receivers take them in parts */
#define TURN_BYTES (512u << 10) /* each way, before other connections have their turn */

static struct tunnel *tunnel_of(const struct conn *c) {
    return c->talk;
}

/* ---- bytes ---- */

static void reset_both(struct conn *c) {
    static const struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)setsockopt(tunnel_of(c)->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* What the caller's end waits for goes into c->want; writability is asked of the poll set only once it was missed. */
static void wait_for_caller(struct conn *c) {
    uint8_t want = relay_wants(&tunnel_of(c)->relay, 0);
    if (want & RELAY_WRITABLE) conn_blocked(c, STREAM_WANT_WRITE);
    conn_want(c, want);
}

static void move_bytes(struct conn *c) {
    struct tunnel *t = tunnel_of(c);
    struct relay *r = &t->relay;
    uint64_t before = r->way[0].bytes + r->way[1].bytes;
    r->end[0].ready = c->ready;
    r->end[0].hung = c->ended;
    enum relay_result done = relay_run(r, c->w->scratch, CHUNK, TURN_BYTES);
    c->ready = r->end[0].ready;
    if (r->way[0].bytes + r->way[1].bytes != before) t->moved_ms = c->w->now_ms;
    switch (done) {
    case RELAY_WAIT: wait_for_caller(c); break;
    case RELAY_MORE:
        conn_want(c, 0);
        worker_again(c->w, &t->polled);
        break;
    case RELAY_DONE: conn_close(c, "the tunnel has ended"); break;
    case RELAY_BROKEN:
        reset_both(c);
        conn_close(c, "one end of the tunnel broke");
        break;
    }
}

static void backend_event(struct polled *p, uint32_t events) {
    struct tunnel *t = (struct tunnel *)p;
    struct conn *c = t->c;
    if (t->phase == TUNNEL_CALL) {
        tunnel_answered(c, events);
        return;
    }
    struct relay_end *e = &t->relay.end[1];
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) e->hung = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) e->ready |= RELAY_READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) e->ready |= RELAY_WRITABLE;
    move_bytes(c);
}

void tunnel_relay(struct conn *c) {
    struct tunnel *t = tunnel_of(c);
    t->phase = TUNNEL_RELAY;
    t->route = NULL;
    t->moved_ms = c->w->now_ms;
    conn_deadline(c, conn_settings(c)->tunnel_ms);
    if (c->gen != c->w->gen) conn_renew(c, c->w->gen);
    c->ready |= CONN_READABLE | CONN_WRITABLE; /* what came meanwhile has been announced already */
    move_bytes(c);
}

/* ---- life ---- */

static void free_tunnel(struct polled *p) {
    free(p);
}

static void start(struct conn *c) {
    struct tunnel *t = calloc(1, sizeof *t);
    if (!t || (c->guest && !(c->guest->only & c->listener->plan->services))) {
        free(t);
        conn_close(c, t ? "the policy leaves no service to it" : "out of memory");
        return;
    }
    *t = (struct tunnel){.polled = {.event = backend_event, .free = free_tunnel}, .c = c, .fd = -1, .admitted = c->gen->id};
    c->talk = t;
    if (c->listener->plan->services & SVC_TLS_TUNNEL && !c->stream) {
        t->phase = TUNNEL_HELLO;
        conn_want(c, CONN_READABLE);
        conn_deadline(c, conn_settings(c)->handshake_ms);
    } else {
        char name[TLS_NAME] = "";
        if (c->stream) tls_name(c->stream, name);
        tunnel_choose(c, name);
    }
}

static void advance(struct conn *c) {
    switch (tunnel_of(c)->phase) {
    case TUNNEL_HELLO: tunnel_look(c); break;
    case TUNNEL_CALL: conn_want(c, 0); break;
    case TUNNEL_RELAY: move_bytes(c); break;
    }
}

/* A caller who is gone before the backend has answered leaves nobody to be called for. One who has only said all he will say may still listen. */
static void hangup(struct conn *c, uint32_t events) {
    if (tunnel_of(c)->phase == TUNNEL_CALL && events & (EPOLLHUP | EPOLLERR)) conn_close(c, "the caller went away");
}

static void timeout(struct conn *c) {
    struct tunnel *t = tunnel_of(c);
    int64_t now = c->w->now_ms, idle = t->moved_ms + conn_settings(c)->tunnel_ms;
    if (t->phase == TUNNEL_CALL) {
        backend_failed(t->to, &t->route->plan->because, "no answer within ConnectTimeout", now);
        COUNT(c->w->count, backend_failures);
        tunnel_call(c);
        return;
    }
    if (t->phase == TUNNEL_RELAY && now < idle && (!t->end_ms || now < t->end_ms)) {
        int64_t next = t->end_ms && t->end_ms < idle ? t->end_ms : idle;
        conn_deadline(c, next - now);
        return;
    }
    COUNT(c->w->count, timeouts);
    conn_close(c, t->phase == TUNNEL_HELLO        ? "no ClientHello in time"
                  : t->end_ms && now >= t->end_ms ? "its listener is gone and DrainTimeout over"
                                                  : "nothing has moved for TunnelIdleTimeout");
}

static void log_end(struct conn *c, const struct tunnel *t) {
    struct buf *b = &c->w->access;
    if (!c->gen->plan.set.access_log || !c->w->eng->access) return;
    access_begin(b, c->w->real_ms, &c->remote, c->listener->plan->name, plan_service_name(c->listener->plan->services & SVC_TUNNELS));
    buf_member(b, "backend", t->to ? t->to->text : "");
    buf_fmt(b, ",\"in\":%" PRIu64 ",\"out\":%" PRIu64 ",\"ms\":%" PRId64 ",\"tls\":\"%s\",\"sni\":\"%s\"", relay_bytes(&t->relay, 0),
            relay_bytes(&t->relay, 1), c->w->now_ms - c->since_ms, c->stream ? tls_version(c->stream) : "", t->sni ? t->sni : "");
    access_end(c->w->eng->access, b);
}

static void close_tunnel(struct conn *c) {
    struct tunnel *t = tunnel_of(c);
    if (!t) return;
    log_end(c, t);
    if (t->phase == TUNNEL_RELAY) {
        uint64_t in = relay_bytes(&t->relay, 0), out = relay_bytes(&t->relay, 1);
        atomic_fetch_sub_explicit(&t->to->active, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->to->bytes_in, in, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->to->bytes_out, out, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->w->count->tunnel_in, in, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->w->count->tunnel_out, out, memory_order_relaxed);
    }
    if (t->fd >= 0) close(t->fd); /* nobody holds a duplicate: it leaves the poll set with it */
    relay_finish(&t->relay);
    backend_drop(t->to);
    free(t->sni);
    t->c = NULL;
    c->talk = NULL;
    worker_bury(c->w, &t->polled);
}

/* A change of generation: a tunnel whose socket is still one goes on where it leads and lets the old generation go. The others have DrainTimeout. */
static void renew(struct conn *c, struct generation *g) {
    struct tunnel *t = tunnel_of(c);
    if (t->phase != TUNNEL_RELAY) return; /* soon; tunnel_relay asks again */
    struct gen_listener *same = generation_same(g, c->listener);
    if (same && c->speech == speech_of(same->plan)) {
        c->listener = same;
        generation_unref(c->gen);
        c->gen = generation_ref(g);
        return;
    }
    if (t->end_ms) return;
    c->retired = true;
    t->end_ms = c->w->now_ms + g->plan.set.drain_ms;
    conn_deadline(c, g->plan.set.drain_ms);
}

static const char *state(const struct conn *c) {
    static const char *const names[] = {"waiting for a ClientHello", "calling its backend", "tunnel"};
    if (tunnel_of(c) && tunnel_of(c)->phase == TUNNEL_RELAY && tunnel_of(c)->end_ms) return "tunnel, its listener is gone";
    return tunnel_of(c) ? names[tunnel_of(c)->phase] : "tunnel";
}

static void describe(const struct conn *c, struct buf *out) {
    const struct tunnel *t = tunnel_of(c);
    if (!t) return;
    buf_member(out, "backend", t->to ? t->to->text : "");
    buf_fmt(out, ",\"in\":%" PRIu64 ",\"out\":%" PRIu64 ",\"idle_ms\":%" PRId64 ",\"admitted\":%" PRIu64, relay_bytes(&t->relay, 0),
            relay_bytes(&t->relay, 1), t->phase == TUNNEL_RELAY ? c->w->now_ms - t->moved_ms : 0, t->admitted);
    if (t->sni) buf_fmt(out, ",\"sni\":\"%s\"", t->sni);
}

const struct speech speech_tunnel = {
    .name = "tunnel",
    .start = start,
    .advance = advance,
    .timeout = timeout,
    .hangup = hangup,
    .close = close_tunnel,
    .renew = renew,
    .state = state,
    .describe = describe,
};
