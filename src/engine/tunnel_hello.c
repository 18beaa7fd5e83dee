/* TLS that goes through: its ClientHello is looked at where it lies (MSG_PEEK), so that the backend reads it as it came. Bounded (HELLO_MOST), within
 * HandshakeTimeout; where more has to come, the kernel is told how much (SO_RCVLOWAT), so that a hello which comes byte by byte is looked at a
 * handful of times. */
#include "base/log.h"
#include "engine/tunnel_i.h"
#include "net/hello.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void wait_for(struct conn *c, size_t bytes) {
    struct tunnel *t = c->talk;
    int n = (int)bytes;
    if (bytes != 1 || t->lowat) t->lowat = setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof n) == 0 && bytes != 1;
}

static void refuse(struct conn *c, const char *why) {
    char who[ADDR_TEXT];
    addr_format_ip(&c->remote, who);
    COUNT(c->w->count, tls_failures);
    log_info("tunnel", "%s on %s: no ClientHello: %s: closed", who, c->listener->plan->name, why);
    conn_close(c, "no ClientHello");
}

/* Fatal alert unrecognized_name (RFC 6066, 3). What the caller has sent is read first: bytes nobody read would make the close a reset, which may
 * overtake the alert. */
void tunnel_unknown(struct conn *c) {
    static const char alert[] = {21, 3, 1, 0, 2, 2, 112};
    (void)!recv(c->fd, c->w->scratch, WORKER_SCRATCH, MSG_DONTWAIT);
    (void)!send(c->fd, alert, sizeof alert, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(c->fd, SHUT_WR);
}

/* The hello stage of admission, with what a hello that goes through shows. true = let in. */
static bool judged(struct conn *c, const struct hello *h) {
    if (!(c->listener->asks & 1u << STAGE_HELLO)) return true;
    struct guest *g = conn_guest(c);
    if (!g) {
        conn_close(c, "out of memory");
        return false;
    }
    if (g->has_hello && strcmp(g->hello.sni, h->sni) == 0) return true; /* it was delayed, and is let in now; or a device has told of it */
    tls_hello_of(h, &g->hello);
    g->has_hello = true;
    return conn_judge(c, STAGE_HELLO) == JUDGED_IN;
}

static void read_hello(struct conn *c, size_t n) {
    struct tunnel *t = c->talk;
    struct hello h;
    const char *why = "";
    size_t need = 0;
    uint8_t *p = (uint8_t *)c->w->scratch;
    switch (hello_read(p, n, &h, &need, &why)) {
    case HELLO_BAD: refuse(c, why); return;
    case HELLO_MORE:
        if (c->ended) {
            refuse(c, "the caller ended before it was whole");
            return;
        }
        wait_for(c, need);
        conn_blocked(c, STREAM_WANT_READ);
        return;
    case HELLO_DONE: break;
    }
    if (!judged(c, &h)) return;
    wait_for(c, 1);
    if (h.sni[0] && !(t->sni = strdup(h.sni))) {
        conn_close(c, "out of memory");
        return;
    }
    tunnel_choose(c, h.sni);
}

void tunnel_look(struct conn *c) {
    ssize_t n = recv(c->fd, c->w->scratch, HELLO_MOST, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) {
        read_hello(c, (size_t)n);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        conn_blocked(c, STREAM_WANT_READ);
        return;
    }
    conn_close(c, n == 0 ? "the caller closed before it said anything" : "reset before it said anything");
}
