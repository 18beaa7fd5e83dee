/* The words for one change: what happens to the socket, and to whom. */
#include "plan/plan_diff.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct plan_socket *old_of(const struct diff_input *in, int32_t i) {
    return i >= 0 ? &in->old.plan->socket[i] : NULL;
}

static const struct plan_socket *now_of(const struct diff_input *in, int32_t i) {
    return i >= 0 ? &in->now.plan->socket[i] : NULL;
}

void plan_diff_place(const struct diff_input *in, const struct diff_item *i, char out[DIFF_PLACE]) {
    const struct plan_socket *s = i->now >= 0 ? now_of(in, i->now) : old_of(in, i->old);
    uint16_t port = i->old >= 0 && in->old.port ? in->old.port[i->old] : 0;
    plan_at_text(s, port, out);
    size_t n = strlen(out);
    if (!port && s->at.port == 0 && n > 2) snprintf(out + n - 2, PLAN_NAME + 32, " (a free port, listener %s)", s->name);
}

static bool because(struct buf *out, const struct plan_because *b) {
    char line[16] = "";
    if (b->line) snprintf(line, sizeof line, ":%" PRIu32, b->line);
    return buf_fmt(out, "%s%s%s%s%s%s", b->file[0] ? b->file : "built-in default", line, b->entry[0] ? " " : "", b->entry,
                   b->row[0] ? ", row " : "", b->row);
}

static bool what(struct buf *out, const struct plan *p, const struct plan_socket *s) {
    char services[128], to[PLAN_TO];
    if (s->services == SVC_SHUTDOWN) return buf_str(out, "the shutdown command");
    plan_services_text(s->services, services, sizeof services);
    plan_backends_text(p, s->backends, to, sizeof to);
    bool good = buf_fmt(out, "%s%s%s%s%s%s", plan_scheme_text(s), s->certificate[0] ? " with certificate " : "", s->certificate,
                        s->external_tls ? " (TLS in front)" : "", s->proxy ? " behind a PROXY header from list " : "", s->proxy_from);
    return good && (s->services & SVC_TUNNELS ? buf_fmt(out, ", a tunnel to %s", to) : buf_fmt(out, " for %s", services));
}

/* "its 12 connections finish their requests" */
static bool those_connected(const struct diff_input *in, uint32_t n, const char *one, const char *many, struct buf *out) {
    if (!in->live_known) return buf_fmt(out, "its connections %s", many);
    if (n == 0) return buf_str(out, "nobody is connected");
    if (n == 1) return buf_fmt(out, "its one connection %s", one);
    return buf_fmt(out, "its %" PRIu32 " connections %s", n, many);
}

static bool finish(const struct diff_input *in, uint32_t n, struct buf *out) {
    return those_connected(in, n, "finishes its request", "finish their requests", out);
}

/* ---- what is changed on a socket that stays ---- */

static void who_may(const struct plan_socket *s, char out[PLAN_NAME + 40]) {
    if (s->restriction == RESTRICT_NONE) snprintf(out, PLAN_NAME + 40, "everybody may call");
    else snprintf(out, PLAN_NAME + 40, "%s list %s may call", s->restriction == RESTRICT_GRANT ? "only" : "all but", s->list);
}

static bool scheme(const struct diff_input *in, const struct plan_socket *a, const struct plan_socket *b, uint32_t live, struct buf *out) {
    bool tls = b->scheme == SCHEME_HTTPS, tunnel = b->services & SVC_TUNNELS;
    return a &&
           buf_fmt(out, "; it speaks %s from now on%s%s: new callers must too, ",
                   tunnel ? tls ? "TLS itself" : "no TLS itself"
                   : tls  ? "HTTPS instead of HTTP"
                          : "plain HTTP instead of HTTPS",
                   tls ? " with certificate " : "", b->certificate) &&
           those_connected(in, live, "goes on as it is until it ends", "go on as they are until they end", out);
}

static bool services(const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    char gone[128], more[128];
    uint32_t lost = a->services & ~b->services, won = b->services & ~a->services;
    plan_services_text(lost, gone, sizeof gone);
    plan_services_text(won, more, sizeof more);
    bool good = true;
    if (lost) good = buf_fmt(out, "; it no longer carries %s: such requests get 404, on open connections too", gone);
    if (won) good = good && buf_fmt(out, "; it carries %s besides", more);
    return good;
}

static bool limit(const char *name, uint32_t a, uint32_t b, struct buf *out) {
    if (a == b) return true;
    if (b == 0) return buf_fmt(out, "; %s: %" PRIu32 " before, no limit now", name, a);
    if (a == 0) return buf_fmt(out, "; %s: no limit before, %" PRIu32 " now", name, b);
    return buf_fmt(out, "; %s: %" PRIu32 " before, %" PRIu32 " now", name, a, b);
}

static void rate_text(const struct plan_rate *r, char *out, size_t cap) {
    if (r->n) snprintf(out, cap, "%" PRIu32 " in %" PRIu32 " ms", r->n, r->ms);
    else snprintf(out, cap, "no limit");
}

static bool rates(const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    bool good = true;
    for (unsigned i = 0; good && i < PLAN_RATES; i++) {
        char before[48], after[48];
        rate_text(&a->rate[i], before, sizeof before);
        rate_text(&b->rate[i], after, sizeof after);
        if (strcmp(before, after) != 0)
            good = buf_fmt(out, "; %s: %s before, %s now", plan_limit_name((enum plan_limit)(LIMIT_RATES + i)), before, after);
    }
    return good;
}

static bool bits(const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    bool good = true;
    for (uint8_t family = 4; good && family <= 6; family += 2)
        for (unsigned net = 0; good && net < 2; net++) {
            unsigned x = plan_bits(a, family, net), y = plan_bits(b, family, net);
            if (x != y) good = buf_fmt(out, "; one %s of IPv%u: %u bits before, %u now", net ? "net" : "caller", family, x, y);
        }
    if (good && a->give_way != b->give_way)
        good = buf_str(out, b->give_way ? "; at the maximum the idlest connection gives way to a client"
                                        : "; no connection gives way to a client any more");
    return good;
}

static bool limits(const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    return limit("connections at once", a->max_connections, b->max_connections, out) &&
           limit("connections of one address", a->max_per_address, b->max_per_address, out) &&
           limit("reserve for clients", a->reserve, b->reserve, out) && rates(a, b, out) && bits(a, b, out) &&
           buf_str(out, " (new callers are counted so, open connections stay)");
}

static bool restriction(const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    char before[PLAN_NAME + 40], after[PLAN_NAME + 40];
    who_may(a, before);
    who_may(b, after);
    return buf_fmt(out, "; %s (before: %s): open connections stay", after, before);
}

static bool backends(const struct diff_input *in, const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    char before[PLAN_TO], after[PLAN_TO];
    plan_backends_text(in->old.plan, a->backends, before, sizeof before);
    plan_backends_text(in->now.plan, b->backends, after, sizeof after);
    bool good = buf_fmt(out, "; new callers are taken to %s instead of %s, open tunnels stay where they are", after[0] ? after : "nobody",
                        before[0] ? before : "nobody");
    if (a->proxy_out != b->proxy_out)
        good = good && buf_fmt(out, "; PROXY header to the backend: %s instead of %s", plan_proxy_out_words[b->proxy_out],
                               plan_proxy_out_words[a->proxy_out]);
    return good;
}

static bool proxy(const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    bool same = a->proxy == b->proxy && a->proxy_inside == b->proxy_inside;
    if (b->proxy == PROXY_OFF) return buf_str(out, "; no PROXY header is expected any more: callers must begin without");
    if (same)
        return buf_fmt(out, "; PROXY headers are believed from list %s instead of %s: open connections stay", b->proxy_from, a->proxy_from);
    return buf_fmt(out, "; new callers must begin with a PROXY header (%s%s) and come from list %s, open connections stay",
                   plan_proxy_words[b->proxy], b->proxy_inside ? ", within TLS" : "", b->proxy_from);
}

static bool client(const struct plan_socket *a, const struct plan_socket *b, struct buf *out) {
    if (b->client == CLIENT_OFF) return buf_str(out, "; new callers are not asked for a certificate any more");
    if (b->client == a->client) return buf_str(out, "; certificates of callers must come from other CAs, open connections are let finish");
    return buf_str(out, b->client == CLIENT_REQUIRE
                            ? "; new callers must show a certificate, open connections are let finish"
                            : "; new callers are asked for a certificate and may come without, open connections are let finish");
}

/* Each difference as "; …". */
static bool fields(const struct diff_input *in, uint32_t f, const struct plan_socket *a, const struct plan_socket *b, uint32_t live,
                   struct buf *out) {
    bool good = true;
    if (f & DIFF_SCHEME) good = scheme(in, a, b, live, out);
    if (good && (f & DIFF_TLS_FRONT))
        good =
            buf_str(out, b->external_tls ? "; TLS is taken to end in front of it (Ext)" : "; TLS is no longer taken to end in front of it");
    if (good && (f & DIFF_CERTIFICATE))
        good =
            buf_fmt(out, "; new callers get certificate %s instead of %s, open connections notice nothing", b->certificate, a->certificate);
    if (good && (f & DIFF_RENEWED))
        good = buf_fmt(out, "; new callers get the new certificate %s, open connections notice nothing", b->certificate);
    if (good && (f & DIFF_SERVICES)) good = services(a, b, out);
    if (good && (f & DIFF_RESTRICTION)) good = restriction(a, b, out);
    if (good && (f & DIFF_LIST))
        good = buf_fmt(out, "; list %s has other lines: new callers are judged by them, open connections stay", b->list);
    if (good && (f & DIFF_LIMITS)) good = limits(a, b, out);
    if (good && (f & DIFF_BACKLOG))
        good = buf_fmt(out, "; %" PRIu32 " callers may wait to be accepted instead of %" PRIu32 ": nobody notices", b->backlog, a->backlog);
    if (good && (f & DIFF_BACKENDS)) good = backends(in, a, b, out);
    if (good && (f & DIFF_PROXY)) good = proxy(a, b, out);
    if (good && (f & DIFF_CLIENT)) good = client(a, b, out);
    if (good && (f & DIFF_LISTENER)) good = buf_fmt(out, "; it belongs to listener %s instead of %s", b->name, a->name);
    return good;
}

/* The same, the first one without its "; ". */
static bool fields_first(const struct diff_input *in, uint32_t f, const struct plan_socket *a, const struct plan_socket *b, uint32_t live,
                         struct buf *out) {
    struct buf part = {0};
    bool good = fields(in, f, a, b, live, &part) && (part.n < 2 || buf_add(out, part.p + 2, part.n - 2));
    buf_free(&part);
    return good;
}

bool plan_diff_effect(const struct diff_input *in, const struct plan_diff *d, const struct diff_item *i, struct buf *out) {
    const struct plan_socket *a = old_of(in, i->old), *b = now_of(in, i->now);
    (void)d;
    switch (i->kind) {
    case DIFF_KEPT: return buf_str(out, b->waiting ? "still waits for its address" : "stays open: nobody notices");
    case DIFF_CHANGED:
        return buf_str(out, b->waiting ? "still waits for its address, but " : "stays open, but ") &&
               fields_first(in, i->fields, a, b, i->live, out);
    case DIFF_OPENED:
        return buf_str(out, a ? "opens, since its address has come: " : "opens: ") && what(out, in->now.plan, b) &&
               buf_str(out, "; because ") && because(out, &b->because);
    case DIFF_CLOSED:
        return buf_str(out, b ? "closes until its address comes back to this machine: " : "closes: ") && finish(in, i->live, out) &&
               buf_str(out, ", new callers are refused");
    case DIFF_WAITS:
        return buf_str(out, "waits until its address is on this machine, and opens then: ") && what(out, in->now.plan, b) &&
               buf_str(out, "; because ") && because(out, &b->because);
    default: return buf_str(out, "is no longer waited for: nobody notices");
    }
}

bool plan_diff_reach_effect(const struct diff_input *in, const struct diff_swap *s, const struct diff_reach *r, struct buf *out) {
    const struct plan_socket *a = old_of(in, r->old), *b = now_of(in, r->now);
    if (!a) return buf_str(out, "is served from now on");
    if (!b) return buf_str(out, "is no longer served: ") && finish(in, r->live, out) && buf_str(out, ", new callers are refused");
    return buf_fmt(out, "is served on without a gap: new callers meet %s, ",
                   s->to_wildcard ? "the socket for all addresses" : "a socket of its own") &&
           finish(in, r->live, out) && (in->live_known && r->live == 0 ? true : buf_str(out, " and then call anew")) &&
           fields(in, r->fields & ~(uint32_t)DIFF_LISTENER, a, b, r->live, out);
}
