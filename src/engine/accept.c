#include "engine/accept.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/conn.h"
#include "engine/udp.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ACCEPT_BATCH   64
#define RETIRE_BATCHES 1024 /* more than any backlog holds */
#define PAUSE_MS       250
#define REST_FROM      8  /* refused in a row within a millisecond */
#define REST_BATCH     32 /* a quarter of a millisecond of refusing */

void snapshot_unref(struct snapshot *s) {
    if (atomic_fetch_sub(&s->refs, 1) != 1) return;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->done);
    buf_free(&s->out);
    free(s);
}

static void listen_to(struct acceptor *a) {
    if (!a->polled) a->polled = worker_poll(a->worker, EPOLL_CTL_ADD, a->fd, EPOLLIN, POLLED_ACCEPTOR, a);
    if (!a->polled) log_error("worker", "a listening socket cannot be polled: %s: it is left to the other workers", strerror(errno));
}

static void ignore(struct acceptor *a) {
    if (a->polled) worker_unpoll(a->worker, a->fd);
    a->polled = false;
}

static void wake(struct acceptor *a) {
    struct acceptor **at = &a->worker->resting;
    if (!a->resting) return;
    while (*at != a) at = &(*at)->rest_next;
    *at = a->rest_next;
    a->resting = false;
}

void accept_resume(struct worker *w) {
    w->resume_ms = 0;
    if (w->draining) return;
    for (struct acceptor *a = w->acceptors; a; a = a->next) listen_to(a);
}

/* Out of descriptors or memory: spinning on a readable listener would burn the core, so every listener of this worker rests a moment. */
static void pause_accepting(struct worker *w, const char *why) {
    COUNT(w->count, accept_pauses);
    log_warn("worker", "accept pauses for %d ms: %s", PAUSE_MS, why);
    for (struct acceptor *a = w->acceptors; a; a = a->next) {
        wake(a);
        ignore(a);
    }
    w->resume_ms = w->now_ms + PAUSE_MS;
}

/* Rarely, the caller is our own self-probe: it gets the connection back, and nothing else hears of it. */
static bool own_question(struct acceptor *a, int fd, const struct sockaddr *caller) {
    struct probe_claim c = {
        .fd = fd, .gen = generation_ref(a->gen), .listener = (uint32_t)(a->listener - a->gen->listener), .worker = a->worker->index};
    if (probe_table_claim(&a->worker->eng->probes, caller, &c)) return true;
    generation_unref(c.gen);
    return false;
}

/* Straight to the kernel, see src/net/stream.c; but the thread sanitizer has to see where a descriptor's new life begins. */
static int take(int fd, struct sockaddr_storage *sa, socklen_t *n) {
#ifdef __SANITIZE_THREAD__
    return accept4(fd, (struct sockaddr *)sa, n, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    return (int)syscall(SYS_accept4, fd, sa, n, SOCK_NONBLOCK | SOCK_CLOEXEC);
#endif
}

/* All that this engine may hold are there. Remembered and told of like any other refusal. */
static void turn_away(struct acceptor *a, int fd, const struct sockaddr *caller) {
    struct worker *w = a->worker;
    struct verdict v;
    struct facts f = {.fd = fd,
                      .listener = a->listener->plan,
                      .local_port = a->listener->port,
                      .listener_id = a->listener->id,
                      .lists = &a->gen->lists,
                      .real_ms = w->real_ms};
    addr_from_sockaddr(caller, &f.remote);
    f.counts.active = atomic_load_explicit(&w->eng->live->listener[a->listener->id], memory_order_relaxed);
    verdict_clear(&v, STAGE_PEER);
    v.kind = VERDICT_REFUSE;
    v.refusal = REFUSE_MAXIMUM;
    snprintf(v.because, sizeof v.because, "portreeve.ini: MaxConnections=%lld, all listeners together",
             (long long)w->gen->plan.set.max_connections);
    worker_record(w, a->gen, &(struct addr){0}, &f, &v);
    close(fd);
}

/* One accept. 1 = a connection (or its refusal), 0 = nobody there, -1 = paused. */
static int accept_one(struct acceptor *a, struct conn **out) {
    struct worker *w = a->worker;
    struct sockaddr_storage sa;
    socklen_t n = sizeof sa;
    *out = NULL;
    int fd = take(a->fd, &sa, &n);
    if (fd >= 0) {
        if (__builtin_expect(atomic_load_explicit(&w->eng->probes.open, memory_order_relaxed) != 0, 0) &&
            own_question(a, fd, (struct sockaddr *)&sa))
            return 1;
        if (atomic_load_explicit(&w->live, memory_order_relaxed) >= (uint64_t)w->gen->plan.set.max_connections / w->gen->nworkers + 1) {
            turn_away(a, fd, (struct sockaddr *)&sa);
            return 1;
        }
        *out = conn_open(a, fd, (struct sockaddr *)&sa);
        return 1;
    }
    switch (errno) {
    case EAGAIN: return 0;
    case EMFILE:
    case ENFILE: pause_accepting(w, "no file descriptors left (raise LimitNOFILE)"); return -1;
    case ENOBUFS:
    case ENOMEM: pause_accepting(w, "no memory for sockets"); return -1;
    default: return 1; /* ECONNABORTED, EPROTO and whatever the network says of one caller: the next one may be fine */
    }
}

/* At most `most` (≤ ACCEPT_BATCH) accepts; *taken = how many there were, *in = who came in. false: nobody waits any more (or accepting pauses). */
static bool accept_batch(struct acceptor *a, int most, int *taken, int *in) {
    struct conn *batch[ACCEPT_BATCH];
    int n = 0;
    bool more = true;
    for (*taken = 0; more && *taken < most; *taken += more) {
        struct conn *c;
        more = accept_one(a, &c) > 0;
        if (c) batch[n++] = c;
    }
    /* Reading comes after the whole batch: by then the first callers' requests have often arrived. */
    for (int i = 0; i < n; i++) conn_start(batch[i]);
    *in = n;
    return more;
}

/* A caller who comes in is not to wait for a turn of ours. */
static bool flooded(struct acceptor *a, int taken, int in) {
    int64_t now = a->worker->now_ms;
    if (in > 0 || now != a->refused_ms) a->refused = 0;
    a->refused_ms = now;
    a->refused += taken - in;
    return a->refused >= REST_FROM;
}

static void rest(struct acceptor *a) {
    struct worker *w = a->worker;
    ignore(a);
    if (!w->resting) w->rest_us = clock_mono_us() + ACCEPT_REST_US;
    a->resting = true;
    a->rest_next = w->resting;
    w->resting = a;
}

/* Its callers are few again when a rest brought no more than one; the first who comes in ends it too. */
void accept_rested(struct worker *w) {
    bool more = false;
    for (struct acceptor *a = w->resting, *next; a; a = next) {
        int taken, in;
        next = a->rest_next;
        bool left = accept_batch(a, REST_BATCH, &taken, &in);
        more |= left;
        if (left || (taken > 1 && in == 0)) continue;
        wake(a);
        if (!w->draining && !w->resume_ms) listen_to(a);
    }
    w->rest_us = more ? 0 : clock_mono_us() + ACCEPT_REST_US; /* who is left comes next, behind what else is to be done */
}

/* Callers come one by one or in crowds, and tend to go on as they began: expecting as many as last time spares the accept that finds nobody.
 * Who is left is announced again (the listener is polled level-triggered). */
void accept_ready(struct acceptor *a) {
    int taken, in;
    if (a->listener->plan->at.udp) {
        udp_ready(a);
        return;
    }
    bool more = accept_batch(a, a->expected, &taken, &in);
    if (flooded(a, taken, in) && !more && a->polled) rest(a);
    if (more) a->expected = a->expected * 2 < ACCEPT_BATCH ? a->expected * 2 : ACCEPT_BATCH;
    else a->expected = taken > 0 ? taken : 1;
}

static struct acceptor **slot_of(struct worker *w, uint64_t inode) {
    return &w->by_inode[inode % ACCEPTOR_SLOTS];
}

static struct acceptor *acceptor_of(struct worker *w, uint64_t inode) {
    for (struct acceptor *a = *slot_of(w, inode); a; a = a->same)
        if (a->inode == inode) return a;
    return NULL;
}

static void add_acceptor(struct worker *w, struct generation *g, struct gen_socket *s) {
    struct acceptor *a = calloc(1, sizeof *a);
    if (!a) {
        log_error("worker", "out of memory: a listening socket is left to the other workers");
        return;
    }
    *a = (struct acceptor){.next = w->acceptors,
                           .worker = w,
                           .gen = generation_ref(g),
                           .listener = &g->listener[s->listener],
                           .fd = s->fd,
                           .inode = s->inode,
                           .expected = 1,
                           .cpu = -2};
    a->same = *slot_of(w, a->inode);
    *slot_of(w, a->inode) = a;
    s->fd = -1;
    s->acceptor = a;
    w->acceptors = a;
    if (!w->draining && !w->resume_ms) listen_to(a);
}

static void empty_queue(struct acceptor *a) {
    if (a->listener->plan->at.udp) {
        udp_empty(a);
        return;
    }
    for (int i = 0, taken, in; i < RETIRE_BATCHES && accept_batch(a, ACCEPT_BATCH, &taken, &in); i++) continue;
}

static void keep_acceptor(struct acceptor *a, struct generation *g, struct gen_socket *s) {
    if (!plan_same_speech(a->listener->plan, g->listener[s->listener].plan))
        empty_queue(a);           /* who has called already expects the old one */
    if (s->fd >= 0) close(s->fd); /* a second descriptor of a socket this worker already polls */
    s->fd = -1;
    s->acceptor = a;
    generation_unref(a->gen);
    a->gen = generation_ref(g);
    a->listener = &g->listener[s->listener];
    a->retired = false;
}

void accept_adopt(struct worker *w, struct generation *g) {
    if (w->draining) return; /* listeners may be closed already, and what is new is not for this engine */
    for (struct acceptor *a = w->acceptors; a; a = a->next) a->retired = true;
    for (unsigned i = 0; i < g->nsockets; i++) {
        struct gen_socket *s = &g->socket[i];
        if (s->worker != w->index || (s->fd < 0 && !s->acceptor)) continue;
        struct acceptor *a = s->acceptor ? s->acceptor : acceptor_of(w, s->inode);
        if (a) keep_acceptor(a, g, s);
        else add_acceptor(w, g, s);
    }
}

static void close_acceptor(struct acceptor *a) {
    struct acceptor **at = slot_of(a->worker, a->inode);
    while (*at != a) at = &(*at)->same;
    *at = a->same;
    wake(a);
    ignore(a); /* the supervisor may hold a duplicate, so closing alone would leave the registration */
    close(a->fd);
    generation_unref(a->gen);
    free(a);
}

void accept_retire(struct worker *w) {
    for (struct acceptor **at = &w->acceptors; *at;) {
        struct acceptor *a = *at;
        if (!a->retired) {
            at = &a->next;
            continue;
        }
        empty_queue(a);
        *at = a->next;
        close_acceptor(a);
    }
}

void accept_stop(struct worker *w, bool close_fds) {
    w->resume_ms = 0;
    for (struct acceptor *a = w->acceptors; a; a = a->next) {
        wake(a);
        ignore(a);
    }
    if (!close_fds) return;
    while (w->acceptors) {
        struct acceptor *a = w->acceptors;
        w->acceptors = a->next;
        close_acceptor(a);
    }
}
