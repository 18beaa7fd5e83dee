#include "engine/udp.h"
#include "base/log.h"
#include "engine/banning.h"
#include "engine/remotelog.h"
#include "proto/syslog.h"
#include "script/hooks.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH   32
#define TURN    4     /* batches a turn: connections are waiting too */
#define LEAST   512u  /* bytes of its buffer that the kernel charges for the smallest datagram, at least */
#define FLOWS   1024u /* verdicts remembered, 2 in each place; a third one pushes out the older */
#define FLOW_MS 1000  /* … for so long: a ban or a counter must not wait */

struct flow {
    uint64_t generation, bans; /* of the set of bans: a new one counts at once */
    int64_t until;
    struct addr from;
    uint16_t listener_id;
    bool in;
};
struct udp_state {
    struct flow flow[FLOWS];
    struct mmsghdr msg[BATCH];
    struct iovec piece[BATCH];
    struct sockaddr_storage from[BATCH];
    char text[BATCH][SYSLOG_MOST];
};

static struct udp_state *state_of(struct worker *w) {
    if (w->udp || !(w->udp = calloc(1, sizeof *w->udp))) return w->udp;
    struct udp_state *u = w->udp;
    for (unsigned i = 0; i < BATCH; i++) {
        u->piece[i] = (struct iovec){.iov_base = u->text[i], .iov_len = SYSLOG_MOST};
        u->msg[i].msg_hdr = (struct msghdr){.msg_name = &u->from[i], .msg_iov = &u->piece[i], .msg_iovlen = 1};
    }
    return u;
}

void udp_finish(struct worker *w) {
    free(w->udp);
    w->udp = NULL;
}

/* ---- verdicts ---- */

/* Callers choose the addresses, so where they meet must not be theirs to choose: the key is this run's secret. */
static struct flow *place_of(const struct worker *w, uint16_t id, const struct addr *a) {
    uint64_t x, y, key = w->eng->counters->hash_key[0];
    memcpy(&x, a->ip, 8);
    memcpy(&y, a->ip + 8, 8);
    uint64_t h = (x ^ key) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29) ^ y ^ w->eng->counters->hash_key[1]) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 32) ^ id) * 0x94d049bb133111ebu;
    return &w->udp->flow[(h >> 40) % (FLOWS / 2) * 2];
}

static bool is_flow(const struct flow *f, const struct acceptor *a, const struct addr *from) {
    return f->generation == a->gen->id && f->bans == a->worker->bans_turn && f->listener_id == a->listener->id &&
           f->until > a->worker->now_ms && f->from.family == from->family && memcmp(f->from.ip, from->ip, sizeof from->ip) == 0 &&
           f->from.scope == from->scope;
}

/* One judgement of a flow, at the peer stage. Delays, tags and rates have no meaning for datagrams; whatever kind a refusal is, it is silence. */
static bool judge(struct acceptor *a, const struct addr *from) {
    struct worker *w = a->worker;
    struct facts f = {.stage = STAGE_PEER,
                      .remote = *from,
                      .fd = a->fd,
                      .listener = a->listener->plan,
                      .local_port = a->listener->port,
                      .listener_id = a->listener->id,
                      .lists = &a->gen->lists,
                      .real_ms = w->real_ms};
    struct verdict v;
    struct err e;
    worker_fill_facts(w, a->listener, &f);
    f.counters = NULL; /* a flow is judged anew each second: that is no rate of anything */
    if (!hooks_judge(a->gen->hooks[w->index], &f, &v, &e)) {
        COUNT(w->count, policy_errors);
        log_error("admission", "%s: the datagram was %s", e.text, v.kind == VERDICT_ALLOW ? "let in all the same" : "dropped");
    }
    worker_record(w, a->gen, &(struct addr){0}, &f, &v);
    return v.kind == VERDICT_ALLOW && (v.only & f.listener->services);
}

static bool let_in(struct acceptor *a, const struct addr *from) {
    struct flow *f = place_of(a->worker, a->listener->id, from);
    worker_take_bans(a->worker);
    if (is_flow(&f[0], a, from)) return f[0].in;
    if (is_flow(&f[1], a, from)) return f[1].in;
    struct flow *to = f[0].until <= f[1].until ? &f[0] : &f[1];
    bool in = judge(a, from);
    *to = (struct flow){.generation = a->gen->id,
                        .bans = a->worker->bans_turn,
                        .until = a->worker->now_ms + FLOW_MS,
                        .from = *from,
                        .listener_id = a->listener->id,
                        .in = in};
    return to->in;
}

/* ---- reading ---- */

static void hand_over(struct acceptor *a, const struct addr *from, const struct mmsghdr *m) {
    struct worker *w = a->worker;
    bool cut = m->msg_hdr.msg_flags & MSG_TRUNC;
    struct log_note note = {.ms = w->real_ms, .from = *from, .listener_id = a->listener->id, .way = LOG_WAY_UDP, .cut = cut};
    size_t n = m->msg_len < SYSLOG_MOST ? m->msg_len : SYSLOG_MOST;
    worker_log(w, &note, m->msg_hdr.msg_iov->iov_base, n);
}

/* One batch. false: there is no more, or no memory. */
static bool read_batch(struct acceptor *a) {
    struct worker *w = a->worker;
    struct udp_state *u = state_of(w);
    if (!u) return false;
    for (unsigned i = 0; i < BATCH; i++) u->msg[i].msg_hdr.msg_namelen = sizeof u->from[i];
    int n = recvmmsg(a->fd, u->msg, BATCH, MSG_DONTWAIT, NULL);
    if (n < 0) return errno == EINTR || errno == ECONNREFUSED;
    for (int i = 0; i < n; i++) {
        struct addr from;
        addr_from_sockaddr((const struct sockaddr *)&u->from[i], &from);
        COUNT(w->count, datagrams);
        if (!let_in(a, &from)) COUNT(w->count, datagrams_refused);
        else if (u->msg[i].msg_len > 0) hand_over(a, &from, &u->msg[i]);
    }
    return n == BATCH;
}

void udp_ready(struct acceptor *a) {
    for (int i = 0; i < TURN && read_batch(a); i++) continue;
}

/* What stands in its buffer now, and no more: until the last of its descriptors is closed the kernel fills it again, and a flood would hold the
 * worker here. */
void udp_empty(struct acceptor *a) {
    int room = 0;
    socklen_t n = sizeof room;
    if (getsockopt(a->fd, SOL_SOCKET, SO_RCVBUF, &room, &n) != 0 || room < 0) room = 0;
    for (unsigned i = 0, most = (unsigned)room / LEAST / BATCH + 1; i < most && read_batch(a); i++) continue;
}
