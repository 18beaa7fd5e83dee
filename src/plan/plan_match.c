/* Which sockets of a new plan are sockets of the old one: by sorting both, so that thousands cost no more than their number. */
#include "base/sort.h"
#include "plan/plan_check.h"
#include <stdlib.h>
#include <string.h>

struct place {
    struct addr at;   /* port as planned, or as bound */
    const char *name; /* where the port is the kernel's choice the listener's name tells sockets apart; else "" */
    const struct plan_socket *socket;
    uint32_t index;
};

int plan_by_place(const struct addr *x, const struct addr *y) {
    if (x->family != y->family) return x->family < y->family ? -1 : 1;
    if (x->udp != y->udp) return x->udp ? 1 : -1;
    if (x->port != y->port) return x->port < y->port ? -1 : 1;
    int c = memcmp(x->ip, y->ip, sizeof x->ip);
    if (c) return c;
    return x->scope < y->scope ? -1 : x->scope > y->scope;
}

static int same_place(const struct place *x, const struct place *y) {
    int c = plan_by_place(&x->at, &y->at);
    if (c == 0) c = (int)x->socket->v6only - (int)y->socket->v6only;
    if (c == 0) c = (int)x->socket->waiting - (int)y->socket->waiting;
    if (c == 0) c = strcmp(x->socket->zone, y->socket->zone);
    return c ? c : strcmp(x->name, y->name);
}

static int in_order(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    int c = same_place(x, y);
    return c ? c : x->index < y->index ? -1 : x->index > y->index;
}

/* The sockets of p that are not matched yet, sorted. bound: go by the ports really bound; sockets without one are left out. */
static uint32_t collect(const struct plan *p, const uint16_t *bound, const bool *used, const int32_t *keep, struct place *out) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->nsockets; i++) {
        const struct plan_socket *s = &p->socket[i];
        if ((used && used[i]) || (keep && keep[i] >= 0) || (bound && (!bound[i] || s->waiting))) continue;
        out[n] = (struct place){.at = s->at, .socket = s, .index = i};
        if (bound) out[n].at.port = bound[i];
        out[n].name = out[n].at.port ? "" : s->name;
        n++;
    }
    sort_runs(out, n, sizeof *out, in_order);
    return n;
}

static void join(const struct place *o, uint32_t no, const struct place *w, uint32_t nw, int32_t *keep, bool *used) {
    for (uint32_t i = 0, j = 0; i < no && j < nw;) {
        int c = same_place(&o[i], &w[j]);
        if (c == 0) {
            keep[w[j].index] = (int32_t)o[i].index;
            used[o[i].index] = true;
        }
        if (c <= 0) i++;
        if (c >= 0) j++;
    }
}

static bool same_socket(const struct plan_socket *x, const struct plan_socket *y) {
    return x->at.port && plan_by_place(&x->at, &y->at) == 0 && x->v6only == y->v6only && x->waiting == y->waiting &&
           strcmp(x->zone, y->zone) == 0;
}

/* Plans mostly keep their order: hand in hand through both, over one that is new, gone or another. What is left is sorted. */
static void walk(const struct plan *old, const struct plan *now, int32_t *keep, bool *used) {
    const struct plan_socket *o = old->socket, *w = now->socket;
    for (uint32_t i = 0, j = 0; i < old->nsockets && j < now->nsockets; i++, j++) {
        if (!same_socket(&o[i], &w[j])) {
            if (i + 1 < old->nsockets && same_socket(&o[i + 1], &w[j])) i++;
            else if (j + 1 < now->nsockets && same_socket(&o[i], &w[j + 1])) j++;
            else continue;
        }
        keep[j] = (int32_t)i;
        used[i] = true;
    }
}

bool plan_match(const struct plan *old, const uint16_t *bound, const struct plan *now, int32_t *keep, bool *used) {
    struct place *o = calloc(old->nsockets ? old->nsockets : 1, sizeof *o), *w = calloc(now->nsockets ? now->nsockets : 1, sizeof *w);
    if (o && w) {
        memset(used, 0, old->nsockets * sizeof *used);
        for (uint32_t i = 0; i < now->nsockets; i++) keep[i] = -1;
        walk(old, now, keep, used);
        join(o, collect(old, NULL, used, NULL, o), w, collect(now, NULL, NULL, keep, w), keep, used);
        if (bound) join(o, collect(old, bound, used, NULL, o), w, collect(now, NULL, NULL, keep, w), keep, used);
    }
    bool good = o && w;
    free(o);
    free(w);
    return good;
}

static bool same_certs(const struct plan *a, const struct plan *b) {
    bool same = a->ncerts == b->ncerts;
    for (uint32_t i = 0; same && i < a->ncerts; i++) same = plan_cert_equal(&a->cert[i], &b->cert[i]);
    return same;
}

static bool same_backends(const struct plan *a, const struct plan *b) {
    bool same = a->nbackends == b->nbackends;
    for (uint32_t i = 0; same && i < a->nbackends; i++) same = plan_backend_equal(&a->backend[i], &b->backend[i]);
    return same;
}

bool plan_same(const struct plan *a, const struct plan *b) {
    uint32_t n = a->nsockets;
    if (n != b->nsockets || strcmp(a->components, b->components) != 0 || memcmp(&a->set, &b->set, sizeof a->set) != 0 ||
        !same_certs(a, b) || !same_backends(a, b))
        return false;
    int32_t *keep = calloc(n ? n : 1, sizeof *keep);
    bool *used = calloc(n ? n : 1, sizeof *used);
    bool same = keep && used && plan_match(a, NULL, b, keep, used);
    for (uint32_t i = 0; same && i < n; i++) same = keep[i] >= 0 && plan_socket_equal(&a->socket[keep[i]], &b->socket[i]);
    free(keep);
    free(used);
    return same;
}
