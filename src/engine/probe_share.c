/* Strangers in our SO_REUSEPORT groups. The kernel lets a process of the same user join a group, and from then on it gets a share of the callers;
 * single calls find it only by luck, so the kernel is asked for everybody who listens. */
#include "engine/probe_i.h"
#include "net/diag.h"
#include <limits.h>
#include <stdlib.h>

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Who listens at a specific address takes the callers of that address from a wildcard too. */
static bool takes_from(const struct diag_socket *l, const struct target *t) {
    return l->at.port == t->at.port && l->at.family == t->at.family && (addr_is_any(&t->at) || addr_same_ip(&l->at, &t->at));
}

static bool each(void *ctx, const struct diag_socket *l) {
    struct probe *p = ctx;
    uint64_t inode = l->inode;
    /* A socket bound to the interface that does not exist is one of ours on its way out (sock_deafen). */
    if (inode == 0 || l->device == INT_MAX || bsearch(&inode, p->ours, p->nours, sizeof inode, by_number)) return true;
    for (uint32_t i = 0; i < p->n; i++) {
        struct target *t = &p->target[i];
        if (t->at.udp || !takes_from(l, t) || t->inode == 0) continue;
        t->seen = inode;
        t->sharer_uid = l->uid;
    }
    return true;
}

bool probe_sharers(struct probe *p) {
    for (uint32_t i = 0; i < p->n; i++) p->target[i].seen = 0;
    return diag_listeners(each, p);
}

bool probe_own(struct probe *p, const struct generation *g) {
    uint64_t *ours = malloc((g->nsockets ? g->nsockets : 1) * sizeof *ours);
    if (!ours) return false;
    for (unsigned i = 0; i < g->nsockets; i++) ours[i] = g->socket[i].inode;
    qsort(ours, g->nsockets, sizeof *ours, by_number);
    free(p->ours);
    p->ours = ours;
    p->nours = g->nsockets;
    return true;
}
