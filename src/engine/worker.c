#include "engine/worker.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/accept.h"
#include "engine/access.h"
#include "engine/affinity.h"
#include "engine/app.h"
#include "engine/banning.h"
#include "engine/conn.h"
#include "engine/remotelog.h"
#include "engine/udp.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define POLL_BATCH 256
#define GATHER_MS  2

static void note_time(struct worker *w) {
    w->now_ms = clock_mono_ms();
    int64_t real = clock_real_ms();
    if (real / 1000 != w->real_ms / 1000) h1_date(real / 1000, w->date);
    w->real_ms = real;
}

bool worker_poll(struct worker *w, int op, int fd, uint32_t events, enum polled_kind kind, void *what) {
    struct epoll_event ev = {.events = events, .data.u64 = (uint64_t)(uintptr_t)what | kind};
    return epoll_ctl(w->epoll, op, fd, &ev) == 0;
}

void worker_unpoll(struct worker *w, int fd) {
    epoll_ctl(w->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void worker_again(struct worker *w, struct polled *p) {
    if (p->again) return;
    p->again = true;
    p->next_again = w->again;
    w->again = p;
}

static void run_again(struct worker *w) {
    struct polled *p = w->again;
    w->again = NULL;
    while (p) {
        struct polled *next = p->next_again;
        p->again = false;
        if (p->event) p->event(p, 0);
        p = next;
    }
}

void worker_bury(struct worker *w, struct polled *p) {
    for (struct polled **at = &w->again; p->again && *at; at = &(*at)->next_again)
        if (*at == p) {
            *at = p->next_again;
            p->again = false;
            break;
        }
    p->event = NULL;
    p->next_dead = w->dead_others;
    w->dead_others = p;
}

static void free_others(struct worker *w) {
    while (w->dead_others) {
        struct polled *p = w->dead_others;
        w->dead_others = p->next_dead;
        p->free(p);
    }
}

static void wake(struct worker *w) {
    uint64_t one = 1;
    if (!atomic_exchange(&w->woken, true) && write(w->wake, &one, sizeof one) != sizeof one)
        log_error("worker", "worker %u cannot be woken: %s", w->index, strerror(errno));
}

bool worker_post(struct worker *w, enum mail_kind kind, void *p, int64_t ms) {
    struct mail *m = kind == MAIL_JOB ? ((struct job *)p)->letter : calloc(1, sizeof *m);
    if (!m) return false;
    if (kind == MAIL_JOB) ((struct job *)p)->letter = NULL;
    m->kind = kind;
    switch (kind) {
    case MAIL_SWAP: m->gen = p; break;
    case MAIL_JOB: m->job = p; break;
    case MAIL_SNAPSHOT: m->snapshot = p; break;
    case MAIL_CALL: m->call = p; break;
    default: m->ms = ms; break;
    }
    pthread_mutex_lock(&w->lock);
    *w->mail_tail = m;
    w->mail_tail = &m->next;
    pthread_mutex_unlock(&w->lock);
    wake(w);
    return true;
}

void worker_committed(struct worker *w, uint64_t upto, bool ok) {
    pthread_mutex_lock(&w->lock);
    struct commit_note *last = w->nnotes ? &w->note[w->nnotes - 1] : NULL;
    if (last && (last->ok == ok || w->nnotes == sizeof w->note / sizeof *w->note)) {
        last->upto = upto;
        last->ok &= ok; /* more turns of luck than fit: say the worse of the two */
    } else w->note[w->nnotes++] = (struct commit_note){upto, ok};
    pthread_mutex_unlock(&w->lock);
    wake(w);
}

void worker_log(struct worker *w, const struct log_note *note, const char *p, size_t n) {
    COUNT(w->count, log_messages);
    struct buf *letter = &w->letter[remotelog_kind(note)];
    if (remotelog_add(letter, note, p, n)) return;
    remotelog_put(w->eng->remotelog, letter);
    if (!remotelog_add(letter, note, p, n)) COUNT(w->count, log_dropped);
}

static void post_log(struct worker *w) {
    for (unsigned k = 0; k < REMOTELOG_KINDS; k++)
        if (w->letter[k].n) remotelog_put(w->eng->remotelog, &w->letter[k]);
}

static void answer_committed(struct worker *w, struct commit_note note) {
    while (w->commit_first && w->commit_first->rq->ticket <= note.upto) {
        struct conn *c = w->commit_first;
        w->commit_first = c->rq->commit_next;
        if (!w->commit_first) w->commit_last = NULL;
        conn_committed(c, note.ok);
    }
}

static void acknowledge(struct worker *w) {
    pthread_mutex_lock(&w->eng->lock);
    w->acks++;
    pthread_cond_broadcast(&w->eng->turned);
    pthread_mutex_unlock(&w->eng->lock);
}

static void adopt(struct worker *w, struct generation *g) {
    struct generation *old = w->gen;
    w->gen = g;
    accept_adopt(w, g);
    affinity_adopt(w);
    for (struct conn *c = w->conns, *next; c; c = next) {
        next = c->next;
        if (c->gen != g) conn_renew(c, g);
    }
    generation_unref(old);
}

static void begin_drain(struct worker *w, bool close_listeners) {
    w->draining = true;
    accept_stop(w, close_listeners);
    for (struct conn *c = w->conns, *next; c; c = next) {
        next = c->next;
        conn_drain(c);
    }
}

static void take_snapshot(struct worker *w, struct snapshot *s) {
    pthread_mutex_lock(&s->lock);
    for (struct conn *c = w->conns; c && s->n < s->limit; c = c->next, s->n++) {
        char remote[ADDR_TEXT], local[ADDR_TEXT];
        addr_format(&c->remote, remote);
        addr_format(conn_local(c), local);
        buf_fmt(&s->out, "%s{\"worker\":%u,\"remote\":\"%s\",\"local\":\"%s\"", s->n ? "," : "", w->index, remote, local);
        buf_member(&s->out, "listener", c->listener->plan->name);
        if (c->via) {
            addr_format(&c->via->device, remote);
            buf_fmt(&s->out, ",\"via\":\"%s\"", remote);
        }
        buf_fmt(&s->out, ",\"state\":\"%s\",\"tls\":\"%s\",\"requests\":%u,\"generation\":%llu,\"age_ms\":%lld", conn_state_name(c),
                c->stream && c->state > CONN_HANDSHAKE ? tls_version(c->stream) : "", c->requests, (unsigned long long)c->gen->id,
                (long long)(w->now_ms - c->since_ms));
        if (c->speaking && c->speech->describe) c->speech->describe(c, &s->out);
        buf_str(&s->out, "}");
    }
    s->waiting--;
    pthread_cond_broadcast(&s->done);
    pthread_mutex_unlock(&s->lock);
    snapshot_unref(s);
}

static void read_letter(struct worker *w, struct mail *m) {
    switch (m->kind) {
    case MAIL_SWAP:
        adopt(w, m->gen);
        acknowledge(w);
        break;
    case MAIL_RETIRE:
        accept_retire(w);
        acknowledge(w);
        break;
    case MAIL_DRAIN: begin_drain(w, m->ms != 0); break;
    case MAIL_CLOSE_ALL:
        for (struct conn *c = w->conns, *next; c; c = next) {
            next = c->next;
            conn_close(c, "drain time is over");
        }
        break;
    case MAIL_STOP: w->stopping = true; break;
    case MAIL_JOB:
        if (m->job->conn) conn_resume(m->job->conn);
        else job_free(m->job);
        break;
    case MAIL_SNAPSHOT: take_snapshot(w, m->snapshot); break;
    case MAIL_CALL: m->call->run(w, m->call); break;
    }
}

static void read_mail(struct worker *w) {
    struct commit_note note[sizeof w->note / sizeof *w->note];
    atomic_store(&w->woken, false); /* before looking: a letter that comes from here on wakes again */
    pthread_mutex_lock(&w->lock);
    unsigned n = w->nnotes;
    memcpy(note, w->note, n * sizeof *note);
    w->nnotes = 0;
    struct mail *m = w->mail;
    w->mail = NULL;
    w->mail_tail = &w->mail;
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < n; i++) answer_committed(w, note[i]);
    while (m) {
        struct mail *next = m->next;
        read_letter(w, m);
        free(m);
        m = next;
    }
}

static void tick(struct worker *w) {
    w->tick_ms = w->now_ms + WHEEL_TICK_MS;
    wheel_run(&w->wheel, w->now_ms, conn_timeout, w);
    if (w->resume_ms && w->now_ms >= w->resume_ms) accept_resume(w);
    if (w->access.n) access_put(w->eng->access, &w->access);
    if (++w->ticks % 10 == 0) conn_trim(w, false);
}

/* Answers before new callers, so that the requests of the new have had time to arrive when they are read; mail last, since it may take
 * acceptors away that this batch still names. */
static void handle(struct worker *w, const struct epoll_event *ev, int n) {
    static const uint64_t kind = 3; /* the low bits of a pointer */
    bool others = false;
    for (int i = 0; i < n; i++) {
        if ((ev[i].data.u64 & kind) == POLLED_CONN) conn_event(ev[i].data.ptr, ev[i].events);
        else others = true;
    }
    if (!others) return;
    bool mail = false;
    for (int i = 0; i < n; i++) {
        struct polled *other = (struct polled *)(uintptr_t)(ev[i].data.u64 & ~kind);
        if ((ev[i].data.u64 & kind) == POLLED_OTHER && other->event) other->event(other, ev[i].events);
    }
    for (int i = 0; i < n; i++) {
        if ((ev[i].data.u64 & kind) == POLLED_ACCEPTOR) accept_ready((struct acceptor *)(uintptr_t)(ev[i].data.u64 & ~kind));
        mail |= (ev[i].data.u64 & kind) == POLLED_MAIL;
    }
    if (mail) read_mail(w);
}

/* A commit costs as much for one event as for a hundred, so the spool is woken when nothing is ready any more (or 2 ms have gone), not after
 * the first event: with 64 busy connections that halves the number of commits. */
static void wake_spool(struct worker *w, bool quiet) {
    if (!w->pushed_ms) w->pushed_ms = w->now_ms;
    if (!quiet && w->now_ms - w->pushed_ms < GATHER_MS) return;
    w->pushed = false;
    w->pushed_ms = 0;
    spool_wake(w->eng->spool);
}

/* Straight to the kernel, see src/net/stream.c. */
static int wait_events(const struct worker *w, struct epoll_event *ev) {
    int64_t left = w->tick_ms - w->now_ms;
    if (w->resting && !w->pushed && !w->again && left > 0) {
        int64_t us = w->rest_us ? w->rest_us - clock_mono_us() : 0;
        const struct timespec rest = {.tv_nsec = us > 0 ? us * 1000 : 0};
        int n = (int)syscall(SYS_epoll_pwait2, w->epoll, ev, POLL_BATCH, &rest, NULL, 0);
        if (n >= 0 || errno != ENOSYS) return n;
        left = 1; /* a kernel before 5.11 */
    }
    return (int)syscall(SYS_epoll_pwait, w->epoll, ev, POLL_BATCH, w->pushed || w->again || left < 0 ? 0 : (int)left, NULL, 0);
}

static void run(struct worker *w) {
    struct epoll_event ev[POLL_BATCH];
    while (!w->stopping) {
        int n = wait_events(w, ev);
        note_time(w);
        if (w->again) run_again(w);
        handle(w, ev, n);
        if (w->resting && clock_mono_us() >= w->rest_us) accept_rested(w);
        if (w->pushed) wake_spool(w, n <= 0);
        if (w->now_ms >= w->tick_ms) tick(w);
        post_log(w);
        free_others(w);
        conn_reap(w); /* only now: callers further up, and later events of the batch, may still have named them */
    }
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    char name[16];
    snprintf(name, sizeof name, "worker %u", w->index);
    pthread_setname_np(pthread_self(), name);
    note_time(w);
    run(w);
    accept_stop(w, true);
    for (struct conn *c = w->conns, *next; c; c = next) {
        next = c->next;
        conn_close(c, "the engine ends");
    }
    free_others(w);
    conn_reap(w);
    if (w->access.n) access_put(w->eng->access, &w->access);
    worker_drop_bans(w);
    post_log(w);
    generation_unref(w->gen);
    w->gen = NULL;
    return NULL;
}

static bool prepare_loop(struct worker *w) {
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->epoll >= 0 && w->wake >= 0 && worker_poll(w, EPOLL_CTL_ADD, w->wake, EPOLLIN | EPOLLET, POLLED_MAIL, NULL);
}

static void close_loop(struct worker *w) {
    if (w->epoll >= 0) close(w->epoll);
    if (w->wake >= 0) close(w->wake);
}

struct worker *worker_start(struct engine *eng, unsigned index, struct err *e) {
    struct worker *w = calloc(1, sizeof *w);
    if (!w) return (void)err_set(e, "out of memory"), NULL;
    w->index = index;
    w->cpu = -1;
    w->epoll = w->wake = -1;
    w->eng = eng;
    w->count = &eng->counters->worker[index];
    w->mail_tail = &w->mail;
    w->scratch = malloc(WORKER_SCRATCH);
    w->access.max = 1 << 20;
    pthread_mutex_init(&w->lock, NULL);
    note_time(w);
    wheel_init(&w->wheel, w->now_ms);
    if (!w->scratch || !prepare_loop(w) || pthread_create(&w->thread, NULL, worker_main, w) != 0) {
        close_loop(w);
        free(w->scratch);
        free(w);
        return (void)err_set(e, "worker %u cannot be started", index), NULL;
    }
    return w;
}

static void free_spares(struct worker *w) {
    conn_trim(w, true);
    while (w->spare_conns) {
        struct conn *c = w->spare_conns;
        w->spare_conns = c->next;
        free(c);
    }
}

void worker_quit(struct worker *w) {
    pthread_join(w->thread, NULL);
}

void worker_destroy(struct worker *w) {
    if (!w) return;
    while (w->mail) { /* what came after the last turn */
        struct mail *m = w->mail;
        w->mail = m->next;
        if (m->kind == MAIL_SWAP) generation_unref(m->gen);
        if (m->kind == MAIL_JOB) job_free(m->job);
        if (m->kind == MAIL_SNAPSHOT) snapshot_unref(m->snapshot);
        if (m->kind == MAIL_CALL) m->call->drop(m->call);
        free(m);
    }
    free_spares(w);
    buf_free(&w->access);
    for (unsigned k = 0; k < REMOTELOG_KINDS; k++) buf_free(&w->letter[k]);
    udp_finish(w);
    close_loop(w);
    free(w->scratch);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
