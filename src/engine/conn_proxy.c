/* The PROXY header: who may send one, reading it without taking a byte of what is behind it, and what it changes. Where it comes first the bytes are
 * only looked at until it is whole, so a device that takes its time costs no memory; within TLS exactly its bytes are read. From the header on
 * the connection is the caller's whom it names: his address is judged, and his ticket counts. */
#include "base/utf8.h"
#include "engine/conn_i.h"
#include "net/proxy.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert((int)PROXY_ONLY_V1 == PROXY_V1 && (int)PROXY_ONLY_V2 == PROXY_V2 && (int)PROXY_EITHER == (PROXY_V1 | PROXY_V2),
               "the plan's words are the parser's bits");
_Static_assert(PROXY_MAX <= WORKER_SCRATCH, "a header is looked at in the worker's scratch memory");

struct within { /* in c->talk: what has been read of a header within TLS */
    size_t n;
    char p[PROXY_MAX];
};

void conn_forget_header(struct conn *c) {
    if (c->state == CONN_PREFACE && !c->speaking) {
        free(c->talk);
        c->talk = NULL;
    }
    free(c->via);
    c->via = NULL;
}

void conn_header_late(struct conn *c) {
    const struct plan_settings *set = conn_settings(c);
    bool before_tls = c->listener->plan->scheme == SCHEME_HTTPS && !c->stream;
    conn_turn_away(c, LIMIT_PROXY, "", "no whole PROXY header within %lld ms",
                   (long long)(before_tls ? set->handshake_ms : set->header_ms));
}

void conn_await_header(struct conn *c) {
    bool tls = c->listener->plan->scheme == SCHEME_HTTPS;
    if (c->stream && !(c->talk = calloc(1, sizeof(struct within)))) {
        conn_close(c, "out of memory");
        return;
    }
    c->state = CONN_PREFACE;
    conn_want(c, CONN_READABLE);
    conn_deadline(c, tls && !c->stream ? conn_settings(c)->handshake_ms : conn_settings(c)->header_ms);
}

void conn_greet(struct conn *c) {
    if (!conn_judge_device(c)) return;
    if (c->listener->plan->proxy_inside) conn_enter(c);
    else conn_await_header(c);
}

/* ---- what it says ---- */

static const char *keep(char **at, struct proxy_text t) {
    char *text = *at;
    for (size_t i = 0; i < t.n; i++) text[i] = (uint8_t)t.p[i] < 0x20 || t.p[i] == 0x7f ? '?' : t.p[i];
    text[t.n] = '\0';
    *at += t.n + 1;
    return text;
}

/* Bytes of any kind as text. */
static const char *keep_bytes(char **at, struct proxy_text t) {
    char *text = *at;
    keep(at, t);
    for (size_t i = 0; i < t.n; i++)
        if ((uint8_t)text[i] > 0x7e) text[i] = '?';
    return text;
}

static struct via *via_create(const struct proxy_header *h, const struct addr *device) {
    size_t text = h->authority.n + h->alpn.n + h->unique_id.n + h->tls_version.n + h->cipher.n + h->cn.n + 6;
    struct via *v = malloc(sizeof *v + text);
    if (!v) return NULL;
    char *at = (char *)(v + 1);
    *v = (struct via){.device = *device,
                      .to = h->to,
                      .local = h->local,
                      .ssl = h->ssl,
                      .tls = h->tls,
                      .cert = h->cert || h->cert_session,
                      .verified = h->verified};
    v->sni = keep(&at, h->authority);
    v->alpn = keep_bytes(&at, h->alpn);
    v->id = keep_bytes(&at, h->unique_id);
    v->version = keep(&at, h->tls_version);
    v->cipher = keep(&at, h->cipher);
    v->cn = keep(&at, h->cn);
    return v;
}

static void lower(char *s) {
    for (; *s; s++)
        if (*s >= 'A' && *s <= 'Z') *s = (char)(*s | 32);
}

/* "CN=…" as RFC 2253 writes it: a name that holds a comma must not look like two. What does not fit is cut off. */
static void subject_of(const char *cn, char *out, size_t cap) {
    static const char more[] = "…";
    char text[2 * sizeof(((struct via *)0)->cn) + 8] = "CN=";
    size_t n = 3, len = strlen(cn);
    for (size_t i = 0; i < len; i++) {
        bool edge = (i == 0 && (cn[i] == ' ' || cn[i] == '#')) || (i + 1 == len && cn[i] == ' ');
        if (edge || strchr(",+\"\\<>;", cn[i])) text[n++] = '\\';
        text[n++] = cn[i];
    }
    int fits = n < cap ? (int)n : utf8_shown(text, n, (int)(cap - sizeof more));
    snprintf(out, cap, "%.*s%s", fits, text, n < cap ? "" : more);
}

/* What a policy may ask about the caller's TLS is the device's word. false: out of memory. */
static bool tell_policy(struct conn *c) {
    const struct via *v = c->via;
    bool told = v->tls || v->sni[0];
    bool asked = told && (c->listener->asks_tls || (v->cert && v->verified)); /* route.lua may want to know about the certificate */
    struct guest *g = asked ? conn_guest(c) : c->guest;
    if (!g) return !asked;
    g->has_hello = g->has_identity = told;
    g->hello = (struct tls_hello){0};
    g->identity = (struct tls_identity){.shown = v->cert, .verified = v->cert && v->verified, .reason = ""};
    snprintf(g->hello.sni, sizeof g->hello.sni, "%s", v->sni);
    lower(g->hello.sni);
    snprintf(g->hello.alpn, sizeof g->hello.alpn, "%s", v->alpn);
    snprintf(g->identity.version, sizeof g->identity.version, "%s", v->version);
    snprintf(g->identity.cipher, sizeof g->identity.cipher, "%s", v->cipher);
    if (v->cert && v->cn[0]) subject_of(v->cn, g->identity.subject, sizeof g->identity.subject);
    snprintf(g->identity.cn, sizeof g->identity.cn, "%s", v->cn);
    return true;
}

static void take(struct conn *c, const struct proxy_header *h) {
    c->via = via_create(h, &c->remote);
    if (!c->via || (!conn_own_tls(c) && !tell_policy(c))) {
        conn_close(c, "out of memory");
        return;
    }
    if (h->from.family) c->remote = h->from;
    if (conn_judge(c, STAGE_PEER) == JUDGED_IN) conn_enter(c);
}

/* ---- reading ---- */

static void bad(struct conn *c, const char *why) {
    conn_turn_away(c, LIMIT_PROXY, "", "PROXY header: %s", why);
}

static void cut(struct conn *c, size_t n) {
    if (n) bad(c, "the connection ended within it");
    else conn_close(c, "the device closed"); /* as health checks do that only connect */
}

static bool skip(struct conn *c, size_t n) { /* bytes that have been looked at */
    char seen[512];
    for (ssize_t r; n > 0; n -= (size_t)r) {
        r = recv(c->fd, seen, n < sizeof seen ? n : sizeof seen, 0);
        if (r < 0 && errno == EINTR) r = 0;
        else if (r <= 0) return false;
    }
    return true;
}

static void look(struct conn *c) {
    struct proxy_header h;
    const char *why;
    size_t used;
    ssize_t n = recv(c->fd, c->w->scratch, PROXY_MAX, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (errno == EAGAIN) conn_blocked(c, STREAM_WANT_READ);
        return;
    }
    if (n <= 0) {
        cut(c, 0);
        return;
    }
    switch (proxy_parse(c->w->scratch, (size_t)n, c->listener->plan->proxy, &h, &used, &why)) {
    case PROXY_BAD: bad(c, why); return;
    case PROXY_MORE:
        if (c->ended) cut(c, (size_t)n);
        else conn_blocked(c, STREAM_WANT_READ);
        return;
    default: break;
    }
    if (skip(c, used)) take(c, &h);
    else conn_close(c, "read failed");
}

static void look_within(struct conn *c) {
    struct within *b = c->talk;
    struct proxy_header h;
    const char *why;
    size_t used;
    enum proxy_result r = PROXY_MORE;
    while (r == PROXY_MORE) {
        ssize_t n = c->ops->read(c->stream, c->fd, b->p + b->n, proxy_wants(b->p, b->n));
        if (n == STREAM_WANT_READ || n == STREAM_WANT_WRITE) {
            conn_blocked(c, n);
            return;
        }
        if (n <= 0) {
            cut(c, b->n);
            return;
        }
        b->n += (size_t)n;
        r = proxy_parse(b->p, b->n, c->listener->plan->proxy, &h, &used, &why);
    }
    if (r == PROXY_BAD) {
        bad(c, why);
        return;
    }
    c->talk = NULL; /* the texts of h stand in it */
    take(c, &h);
    free(b);
}

void conn_read_header(struct conn *c) {
    if (c->stream) look_within(c);
    else look(c);
}
