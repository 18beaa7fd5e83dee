/* Reaching a backend: its addresses one after the other, each with ConnectTimeout, and the PROXY header that tells it who calls. */
#include "base/log.h"
#include "engine/tunnel_i.h"
#include "net/proxy.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void reached(struct conn *c) {
    struct tunnel *t = c->talk;
    backend_reached(t->to, c->w->now_ms);
    atomic_fetch_add_explicit(&t->to->active, 1, memory_order_relaxed);
    COUNT(c->w->count, tunnels);
    relay_init(&t->relay, c->ops, c->stream, c->fd, &stream_tcp, NULL, t->fd);
    t->relay.end[1].ready = RELAY_READABLE | RELAY_WRITABLE;
}

static struct proxy_text text(const char *s) {
    return (struct proxy_text){s, s ? strlen(s) : 0};
}

/* What a backend is told of its caller. */
static size_t header(struct conn *c, char out[PROXY_MAX]) {
    const struct tunnel *t = c->talk;
    enum plan_proxy_out kind = c->listener->plan->proxy_out;
    if (kind == PROXY_OUT_OFF) return 0;
    if (kind == PROXY_OUT_V1) return proxy_put_v1(out, &c->remote, conn_local(c));
    struct proxy_header h = {.version = 2, .from = c->remote, .to = *conn_local(c)};
    h.authority = text(c->stream ? tls_sni(c->stream) : t->sni);
    if (c->stream) {
        h.ssl = h.tls = true;
        h.tls_version = text(tls_version(c->stream));
        const struct tls_identity *who = c->guest && c->guest->has_identity && conn_own_tls(c) ? &c->guest->identity : NULL;
        h.cert_session = who && who->shown;
        h.cert = h.cert_session && !who->resumed;
        h.verified = who && who->verified;
        if (who && who->verified) h.cn = text(who->cn); /* what anybody could have written is told to nobody */
    }
    return proxy_put_v2(out, PROXY_MAX, &h, false);
}

/* Everything stands: from here on bytes. */
static void begin(struct conn *c, uint32_t events) {
    struct tunnel *t = c->talk;
    char first[PROXY_MAX];
    reached(c);
    t->relay.end[1].hung = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR); /* said with its first bytes: it is not announced again */
    t->phase = TUNNEL_RELAY;
    size_t n = header(c, first);
    if (n && !relay_first(&t->relay, first, n)) {
        conn_close(c, "out of memory");
        return;
    }
    tunnel_relay(c);
}

static void hang_up(struct tunnel *t) {
    if (t->fd >= 0) close(t->fd);
    t->fd = -1;
    backend_drop(t->to);
    t->to = NULL;
}

/* Those that were not down last time come first, in the order of the file; then the rest. */
static struct backend *next(struct tunnel *t, int64_t now_ms) {
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < t->route->n; i++) {
            if (t->tried & 1u << i || (pass == 0 && !backend_rested(t->route->to[i], now_ms))) continue;
            t->tried |= (uint8_t)(1u << i);
            return t->route->to[i];
        }
    return NULL;
}

enum called { CALL_BEGUN, CALL_DONE, CALL_FAILED, CALL_OWN, CALL_IMPOSSIBLE };

/* Our console or the supervisor's control socket? The planner refuses such paths; this is for a link that somebody has turned since. */
static bool own_socket(int fd) {
    struct ucred peer; /* of who called listen(), unix(7) */
    socklen_t n = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && peer.pid > 0 && (peer.pid == getpid() || peer.pid == getppid());
}

static enum called call(struct conn *c) {
    static const int on = 1;
    struct tunnel *t = c->talk;
    t->fd = socket(t->to->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0) return errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ? CALL_IMPOSSIBLE : CALL_FAILED;
    if (t->to->at.any.sa_family != AF_UNIX) (void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bool done = connect(t->fd, &t->to->at.any, t->to->size) == 0;
    if (!done && errno != EINPROGRESS) return CALL_FAILED;
    if (done && t->to->at.any.sa_family == AF_UNIX && own_socket(t->fd)) return CALL_OWN;
    if (!worker_poll(c->w, EPOLL_CTL_ADD, t->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, POLLED_OTHER, &t->polled))
        return CALL_IMPOSSIBLE;
    return done ? CALL_DONE : CALL_BEGUN;
}

static void failed(struct conn *c, const char *why) {
    struct tunnel *t = c->talk;
    COUNT(c->w->count, backend_failures);
    backend_failed(t->to, &t->route->plan->because, why, c->w->now_ms);
}

void tunnel_call(struct conn *c) {
    struct tunnel *t = c->talk;
    t->phase = TUNNEL_CALL;
    conn_want(c, 0);
    for (;;) {
        hang_up(t);
        struct backend *b = next(t, c->w->now_ms);
        if (!b) {
            COUNT(c->w->count, tunnels_refused);
            conn_close(c, "no backend can be reached");
            return;
        }
        t->to = backend_ref(b);
        switch (call(c)) {
        case CALL_BEGUN: conn_deadline(c, conn_settings(c)->connect_ms); return;
        case CALL_DONE: begin(c, 0); return;
        case CALL_FAILED: failed(c, strerrordesc_np(errno)); break;
        case CALL_OWN:
            failed(c, "it is a socket of this server itself, which takes whoever comes through a tunnel for its administrator");
            break;
        case CALL_IMPOSSIBLE:
            COUNT(c->w->count, tunnels_refused);
            log_error("tunnel", "backend %s of listener %s cannot be called: %s (raise LimitNOFILE)", b->text, b->listener,
                      strerrordesc_np(errno));
            conn_close(c, "no descriptor for its backend");
            return;
        }
    }
}

/* Only this descriptor's own events come here, and an event that comes while connecting ends it one way or the other. */
void tunnel_answered(struct conn *c, uint32_t events) {
    struct tunnel *t = c->talk;
    int why = 0;
    socklen_t n = sizeof why;
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &why, &n) != 0) why = errno;
    if (why) {
        failed(c, strerrordesc_np(why));
        tunnel_call(c);
        return;
    }
    if (events & EPOLLOUT) begin(c, events);
}

void tunnel_choose(struct conn *c, const char *sni) {
    struct tunnel *t = c->talk;
    t->route = routes_find(&c->gen->routes, c->listener->plan->backends, sni);
    if (t->route) {
        tunnel_call(c);
        return;
    }
    char who[ADDR_TEXT];
    addr_format_ip(&c->remote, who);
    log_info("tunnel", "%s on %s: no backend for %s, and none for all others: closed", who, c->listener->plan->name,
             sni[0] ? sni : "callers who ask for no name");
    COUNT(c->w->count, tunnels_refused);
    if (!c->stream) tunnel_unknown(c);
    conn_close(c, "no backend for that name");
}
