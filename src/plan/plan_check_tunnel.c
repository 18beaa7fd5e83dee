/* What a plan must say of its tunnels: backends that can be called, sockets that are nothing but a tunnel, and no way back to where it began. */
#include "plan/plan_check_i.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool sni_good(const char *s) {
    if (s[0] == '*' && s[1] == '.') s += 2;
    if (!*s || *s == '.') return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || strchr("-_.", *s)) || (*s == '.' && (s[1] == '.' || !s[1])))
            return false;
    return true;
}

static bool refuse(const struct plan_backend *b, struct err *e, const char *what) {
    const char *file = b->because.file[0] ? b->because.file : "plan";
    return err_at(e, file, b->because.line, "%s%sbackend of %s%s%s: %s", b->because.entry, b->because.entry[0] ? ": " : "", b->set,
                  b->sni[0] ? " for " : "", b->sni, what);
}

bool plan_check_backends(const struct plan *p, struct err *e) {
    struct plan_to to[PLAN_TO_MOST];
    unsigned n;
    if (p->nbackends > PLAN_MAX_BACKENDS)
        return err_set(e, "plan: %" PRIu32 " backends, at most %u are allowed", p->nbackends, PLAN_MAX_BACKENDS);
    for (uint32_t i = 0; i < p->nbackends; i++) {
        const struct plan_backend *b = &p->backend[i];
        struct err why;
        if (!b->set[0]) return refuse(b, e, "no name of its set");
        if (b->sni[0] && !sni_good(b->sni)) return refuse(b, e, "not a host name in small letters (or *. and one)");
        if (!plan_to_parse(b->to, to, &n, &why)) return refuse(b, e, why.text);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(p->backend[k].sni, b->sni) == 0 && strcmp(p->backend[k].set, b->set) == 0) return refuse(b, e, "is there twice");
    }
    return true;
}

/* No tunnel, and nothing that only a tunnel has. */
static bool check_other(const struct plan_socket *s, struct err *e) {
    if (s->backends[0]) return plan_refuse(s, e, "a backend is for the services tunnel and tls-tunnel only");
    return s->proxy_out == PROXY_OUT_OFF || plan_refuse(s, e, "a PROXY header is sent to the backend of a tunnel only");
}

bool plan_check_tunnel(const struct plan *p, const struct plan_socket *s, struct err *e) {
    uint32_t rest = 0, names = 0;
    if (!(s->services & SVC_TUNNELS)) return check_other(s, e);
    char services[128];
    plan_services_text(s->services, services, sizeof services);
    if (s->services != SVC_TUNNEL && s->services != SVC_TLS_TUNNEL)
        return plan_refuse(s, e, "services %s: a tunnel is alone on its socket, since it does not look at what goes through", services);
    if (s->proxy_out > PROXY_OUT_V2) return plan_refuse(s, e, "unknown word for the PROXY header");
    if (s->services == SVC_TUNNEL && s->scheme == SCHEME_HTTPS)
        return plan_refuse(s, e, "a tunnel does not end TLS: use the service tls-tunnel, or leave TLS to the backend");
    if (s->external_tls)
        return plan_refuse(s, e, "a tunnel makes no difference between encrypted and clear callers: InitTLS=Ext is nothing to it");
    for (uint32_t i = 0; i < p->nbackends; i++) {
        if (strcmp(p->backend[i].set, s->backends) != 0) continue;
        rest += !p->backend[i].sni[0];
        names += p->backend[i].sni[0] != 0;
    }
    if (!s->backends[0] || rest + names == 0)
        return plan_refuse(s, e, "a tunnel needs a backend: add %s.Backend=ADDRESS:PORT to listeners.ini",
                           s->backends[0] ? s->backends : s->name);
    if (s->services == SVC_TUNNEL && (names || !rest))
        return plan_refuse(s, e, "a backend by server name is for the service tls-tunnel only: a tunnel does not see the name");
    return true;
}

/* ---- loops ---- */

#define CHAIN_MOST 64u

struct graph {
    const struct plan *p;
    bool (*here)(void *ctx, const struct addr *a);
    void *ctx;
    uint8_t *seen; /* of each socket: 1 = on the way, 2 = leads nowhere back */
    unsigned depth;
};

static bool bound_in(const struct plan *p, const struct addr *a) {
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (addr_same_ip(&p->socket[i].at, a)) return true;
    return false;
}

/* Would somebody who calls `to` meet socket s? */
static bool leads_to(const struct graph *g, const struct addr *to, const struct plan_socket *s) {
    if (to->port != s->at.port || to->family != s->at.family) return false;
    if (!addr_is_any(&s->at)) return addr_same_ip(to, &s->at);
    return addr_is_loopback(to) || bound_in(g->p, to) || (g->here && g->here(g->ctx, to));
}

static bool walk(struct graph *g, uint32_t i, struct err *e);

static bool follow(struct graph *g, const struct plan_socket *from, const struct addr *to, struct err *e) {
    for (uint32_t k = 0; k < g->p->nsockets; k++) {
        const struct plan_socket *s = &g->p->socket[k];
        if (!(s->services & SVC_TUNNELS) || !leads_to(g, to, s)) continue;
        if (g->seen[k] == 1) {
            struct origin o = plan_origin(s);
            char text[ADDR_TEXT];
            addr_format(to, text);
            return plan_refuse(from, e, "its backend %s is %s, so a connection would go round for ever", text,
                               s == from ? "this socket itself" : o.text);
        }
        if (!g->seen[k] && !walk(g, k, e)) return false;
    }
    return true;
}

/* Each socket is entered once. */
static bool walk(struct graph *g, uint32_t i, struct err *e) {
    const struct plan_socket *s = &g->p->socket[i];
    struct plan_to to[PLAN_TO_MOST];
    unsigned n;
    g->seen[i] = 1;
    if (++g->depth > CHAIN_MOST) return plan_refuse(s, e, "it is behind a chain of %u tunnels of this plan", CHAIN_MOST);
    for (uint32_t b = 0; b < g->p->nbackends; b++) {
        if (strcmp(g->p->backend[b].set, s->backends) != 0 || !plan_to_parse(g->p->backend[b].to, to, &n, NULL)) continue;
        for (unsigned k = 0; k < n; k++)
            if (to[k].at.family && !follow(g, s, &to[k].at, e)) return false;
    }
    g->seen[i] = 2;
    g->depth--;
    return true;
}

bool plan_check_loops(const struct plan *p, bool (*here)(void *ctx, const struct addr *a), void *ctx, struct err *e) {
    struct graph g = {.p = p, .here = here, .ctx = ctx, .seen = p->nbackends ? calloc(p->nsockets ? p->nsockets : 1, 1) : NULL};
    bool good = g.seen || !p->nbackends || err_set(e, "plan: out of memory");
    const char *done = ""; /* sockets of one set lead to the same places, and stand together */
    for (uint32_t i = 0; good && g.seen && i < p->nsockets; i++) {
        if (g.seen[i] || !(p->socket[i].services & SVC_TUNNELS) || strcmp(p->socket[i].backends, done) == 0) continue;
        good = walk(&g, i, e);
        done = p->socket[i].backends;
    }
    free(g.seen);
    return good;
}
