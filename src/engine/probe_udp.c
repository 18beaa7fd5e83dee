/* A UDP socket is proved by looking: nothing answers a datagram, and one that was sent for a try would stand among the messages. The kernel lists who
 * receives on its address and port: the worker's own socket must be there, and nobody else who would get a share. */
#include "engine/probe_i.h"
#include "net/diag.h"
#include <limits.h>
#include <netinet/tcp.h>
#include <stdlib.h>

struct looking {
    const struct probe *p;
    const struct target *t;
    uint32_t mine, stranger_uid;
    bool first, stranger;
};

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool each(void *ctx, const struct diag_socket *s) {
    struct looking *l = ctx;
    uint64_t inode = s->inode;
    bool same = addr_same_ip(&s->at, &l->t->at), any = addr_is_any(&l->t->at);
    if (s->at.family != l->t->at.family || inode == 0 || s->device == INT_MAX || !(same || any)) return true;
    if (bsearch(&inode, l->p->ours, l->p->nours, sizeof inode, by_number)) {
        l->mine += same;
        l->first |= inode == l->t->inode;
    } else {
        l->stranger = true;
        l->stranger_uid = s->uid;
    }
    return true;
}

void probe_datagrams(struct probe *p, struct target *t) {
    int64_t began = probe_now_us();
    struct looking l = {.p = p, .t = t};
    bool told = diag_udp(1u << TCP_CLOSE, t->at.port, each, &l);
    uint32_t us = (uint32_t)(probe_now_us() - began);
    if (!told) probe_answer(p, t, PROOF_NONE, 0, "UDP answers nobody, and the kernel does not tell who receives there");
    else if (!l.first) probe_answer(p, t, PROOF_FAILED, us, "the kernel does not list our socket there");
    else if (l.stranger)
        probe_answer(p, t, PROOF_FAILED, us,
                     "another process (of uid %u) receives there too and gets a share: `ss -lunp sport = :%u` names it", l.stranger_uid,
                     (unsigned)t->at.port);
    else probe_answer(p, t, PROOF_PROVED, us, "%u socket%s of ours in the kernel's list, nobody else's", l.mine, l.mine == 1 ? "" : "s");
}
