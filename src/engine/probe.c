#include "base/clock.h"
#include "base/log.h"
#include "engine/probe_i.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS     128
#define TOLD_LINES 100u
#define PATIENCE   30 /* s, of who waits for a round */
#define NICE       10 /* a worker's work goes before */

int64_t probe_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void wake(struct probe *p) {
    const uint64_t one = 1;
    if (write(p->table->wake, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("probe", "the self-probe cannot be woken: %s", strerror(errno));
}

static void ask(struct probe *p, struct target *t) {
    if (!t->inode) return;
    if (!t->busy) t->due = 0;
    p->unanswered += !t->fresh;
    t->fresh = true;
}

static void begin(struct probe *p, bool all) {
    int64_t now = clock_mono_ms();
    p->begun = true;
    p->round_ms = p->look_ms = now;
    p->look_backoff_ms = 0;
    p->next_due = 0;
    p->cursor = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (all || p->target[i].due != NEVER) ask(p, &p->target[i]);
    p->counting = all || p->unanswered;
}

/* ---- the thread ---- */

static void call_again(struct probe *p) {
    pthread_mutex_lock(&p->lock);
    uint32_t *list = p->recall, n = p->nrecall;
    bool ours = p->gen && p->recall_of == p->gen->id;
    p->recall = NULL;
    p->nrecall = 0;
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; ours && i < n; i++)
        if (list[i] < p->n) ask(p, &p->target[list[i]]);
    if (n) p->next_due = 0;
    free(list);
}

/* Wishes of other threads. false: end. */
static bool take_wishes(struct probe *p) {
    pthread_mutex_lock(&p->lock);
    struct generation *coming = p->coming;
    p->coming = NULL;
    p->adopting |= coming != NULL;
    bool stop = p->stop, again = p->asked > p->taken, rest = p->rest;
    uint64_t may = p->begin, asked = p->asked;
    pthread_mutex_unlock(&p->lock);
    if (stop) {
        generation_unref(coming);
        return false;
    }
    if (coming) probe_adopt(p, coming);
    if (rest) {
        for (unsigned i = 0; i < PROBE_SLOTS; i++) probe_hang_up(p, &p->slot[i]);
        p->begun = false;
    } else if (p->gen && may == p->gen->id && (!p->begun || again)) {
        p->taken = asked;
        begin(p, again);
    }
    if (p->begun) call_again(p);
    return true;
}

static struct target *next_target(struct probe *p, int64_t now) {
    for (; p->cursor < p->n; p->cursor++)
        if (!p->target[p->cursor].busy && p->target[p->cursor].due <= now) return &p->target[p->cursor++];
    p->next_due = NEVER;
    for (uint32_t i = 0; i < p->n; i++)
        if (!p->target[i].busy && p->target[i].due < p->next_due) p->next_due = p->target[i].due;
    p->cursor = 0;
    return NULL;
}

static void call_due(struct probe *p, int64_t now) {
    for (unsigned i = 0; i < PROBE_SLOTS && p->next_due <= now; i++) {
        if (p->slot[i].busy) continue;
        struct target *t = next_target(p, now);
        if (t) probe_call(p, &p->slot[i], (uint32_t)(t - p->target));
    }
}

/* When there is something to do again without anybody calling. */
static int64_t next_time(const struct probe *p) {
    int64_t at = p->news && p->begun ? p->told_ms + PROBE_TELL_MS : NEVER;
    bool room = false;
    for (unsigned i = 0; i < PROBE_SLOTS; i++) {
        room |= !p->slot[i].busy;
        if (p->slot[i].busy && p->slot[i].deadline < at) at = p->slot[i].deadline;
    }
    if (p->begun && room && p->next_due < at) at = p->next_due;
    if (p->begun && p->look_ms < at) at = p->look_ms;
    return at;
}

static void wait_for_events(struct probe *p) {
    struct epoll_event ev[EVENTS];
    int64_t at = next_time(p), ms = at == NEVER ? -1 : at - clock_mono_ms();
    int n = epoll_wait(p->epoll, ev, EVENTS, at == NEVER ? -1 : ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms);
    bool claims = false;
    for (int i = 0; i < n; i++) {
        if (ev[i].data.u32 < PROBE_SLOTS) probe_step(p, &p->slot[ev[i].data.u32]);
        else claims = true;
    }
    uint64_t count;
    if (!claims || read(p->table->wake, &count, sizeof count) < 0) return;
    for (unsigned i = 0; i < PROBE_SLOTS; i++)
        if (p->slot[i].busy && !p->slot[i].claimed) probe_step(p, &p->slot[i]);
}

static void *prober_main(void *arg) {
    struct probe *p = arg;
    pthread_setname_np(pthread_self(), "probe");
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    while (take_wishes(p)) {
        int64_t now = clock_mono_ms();
        for (unsigned i = 0; i < PROBE_SLOTS; i++)
            if (p->slot[i].busy && now >= p->slot[i].deadline) probe_expire(p, &p->slot[i]);
        if (p->begun) probe_look_around(p, now);
        if (p->begun) call_due(p, now);
        probe_end_round(p);
        probe_tell(p);
        wait_for_events(p);
    }
    for (unsigned i = 0; i < PROBE_SLOTS; i++) probe_hang_up(p, &p->slot[i]);
    return NULL;
}

/* ---- what others ask ---- */

void probe_destroy(struct probe *p) {
    if (!p) return;
    tls_asker_destroy(p->asker);
    if (p->epoll >= 0) close(p->epoll);
    generation_unref(p->gen);
    generation_unref(p->coming);
    free(p->target);
    free(p->ours);
    free(p->recall);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->round);
    free(p);
}

struct probe *probe_start(struct engine *eng, struct err *e) {
    struct probe *p = calloc(1, sizeof *p);
    if (!p) return (void)err_set(e, "out of memory"), NULL;
    p->eng = eng;
    p->table = &eng->probes;
    p->probing = 1; /* until the first generation has been looked at */
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&p->round, &mono);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->asker = tls_asker_create();
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = PROBE_SLOTS};
    bool fine = p->epoll >= 0 && p->asker && epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->table->wake, &ev) == 0;
    if (fine && pthread_create(&p->thread, NULL, prober_main, p) == 0) return p;
    probe_destroy(p);
    return (void)err_set(e, "the self-probe cannot be started"), NULL;
}

void probe_stop(struct probe *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->round);
    pthread_mutex_unlock(&p->lock);
    wake(p);
    pthread_join(p->thread, NULL);
}

void probe_generation(struct probe *p, struct generation *g) {
    pthread_mutex_lock(&p->lock);
    struct generation *skipped = p->coming;
    p->coming = generation_ref(g);
    pthread_mutex_unlock(&p->lock);
    generation_unref(skipped);
    wake(p);
}

/* Under lock. What there is no memory for is asked again by itself, if later. */
static void note_recall(struct probe *p, uint64_t generation, const char *sockets) {
    if (p->recall_of != generation) p->nrecall = 0;
    p->recall_of = generation;
    while (*sockets) {
        char *end;
        unsigned long i = strtoul(sockets, &end, 10);
        uint32_t *more = end > sockets && p->nrecall < PLAN_MAX_SOCKETS ? reallocarray(p->recall, p->nrecall + 1, sizeof *more) : NULL;
        if (!more) return;
        p->recall = more;
        p->recall[p->nrecall++] = i < PLAN_MAX_SOCKETS ? (uint32_t)i : UINT32_MAX;
        sockets = end + (*end == '\n');
    }
}

void probe_begin(struct probe *p, uint64_t generation, const char *sockets) {
    pthread_mutex_lock(&p->lock);
    p->begin = generation;
    note_recall(p, generation, sockets);
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

void probe_rest(struct probe *p) {
    pthread_mutex_lock(&p->lock);
    p->rest = true;
    pthread_cond_broadcast(&p->round);
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

bool probe_again(struct probe *p) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE;
    pthread_mutex_lock(&p->lock);
    uint64_t mine = ++p->asked;
    wake(p);
    while (p->answered < mine && !p->stop && !p->rest && pthread_cond_timedwait(&p->round, &p->lock, &until) == 0) continue;
    bool answered = p->answered >= mine;
    pthread_mutex_unlock(&p->lock);
    return answered;
}

void probe_look(struct probe *p, const struct generation *g, uint32_t i, struct proof *out) {
    pthread_mutex_lock(&p->lock);
    *out =
        p->gen == g && i < p->n ? p->target[i].shown : (struct proof){.state = g->plan.socket[i].waiting ? PROOF_WAITING : PROOF_PROBING};
    pthread_mutex_unlock(&p->lock);
}

static void unproved_lines(const struct probe *p, struct buf *out) {
    uint32_t said = 0, left = p->probing + p->failed;
    char at[ADDR_TEXT], words[PROOF_WORDS];
    buf_fmt(out, "%u of %u sockets not proved\n", left, p->n);
    for (uint32_t i = 0; i < p->n && said < TOLD_LINES; i++) {
        const struct target *t = &p->target[i];
        if (t->shown.state != PROOF_PROBING && t->shown.state != PROOF_FAILED) continue;
        addr_format(&t->at, at);
        proof_words(&t->shown, words);
        buf_fmt(out, "%s %s (listener %s): %s\n", plan_scheme_text(t->plan), at, t->plan->name, words);
        said++;
    }
    if (left > said) buf_fmt(out, "… and %u more\n", left - said);
}

bool probe_ready(struct probe *p, struct buf *out) {
    pthread_mutex_lock(&p->lock);
    bool adopting = p->coming || p->adopting || !p->gen, ready = !adopting && p->probing + p->failed == 0;
    if (adopting) buf_str(out, "the sockets of a new generation are being proved\n");
    else if (!ready) unproved_lines(p, out);
    pthread_mutex_unlock(&p->lock);
    return ready;
}
