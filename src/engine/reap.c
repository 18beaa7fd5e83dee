#include "engine/reap.h"
#include "base/log.h"
#include "engine/conn_i.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define A_TURN 256u /* connections judged before others have their turn */
#define WAIT_S 60

/* Places that those who are to go still hold: who is judged after them must not be turned away for these. */
struct doomed {
    uint64_t key;
    uint32_t n;
};

struct reap {
    struct worker_call call;
    struct polled part; /* goes on at the next turn */
    struct engine *eng;
    struct worker *w; /* at whom it is */
    unsigned worker, nworkers;
    bool dry, finished;
    char who[100];
    unsigned judged, closed, closing, named;
    uint32_t listener[LIVE_LISTENERS];
    struct doomed *doomed;
    uint64_t mask;
    struct buf out;
    pthread_mutex_t lock; /* of finished */
    pthread_cond_t done;
    _Atomic int refs;
};

static void unref(struct reap *r) {
    if (atomic_fetch_sub(&r->refs, 1) != 1) return;
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->done);
    buf_free(&r->out);
    free(r->doomed);
    free(r);
}

static void finish(struct reap *r) {
    pthread_mutex_lock(&r->lock);
    r->finished = true;
    pthread_cond_broadcast(&r->done);
    pthread_mutex_unlock(&r->lock);
    unref(r);
}

static void drop(struct worker_call *c) {
    finish((struct reap *)(void *)c);
}

/* ---- who is to go ---- */

/* NULL: there is no room, and his place counts as taken. */
static struct doomed *place_of(struct reap *r, uint64_t key) {
    for (uint64_t i = 0; i <= r->mask; i++) {
        struct doomed *d = &r->doomed[(key + i) & r->mask];
        if (d->key == key) return d;
        if (d->key == 0) {
            d->key = key;
            return d;
        }
    }
    return NULL;
}

static void counts(struct reap *r, const struct conn *c, struct facts *f) {
    struct doomed *d = c->ticket.counted ? place_of(r, c->ticket.key) : NULL;
    uint32_t go = r->listener[f->listener_id];
    f->counts.active = go < f->counts.active ? f->counts.active - go : 1;
    if (d && d->n < f->counts.from_address) f->counts.from_address -= d->n;
}

static void doom(struct reap *r, const struct conn *c) {
    struct doomed *d = c->ticket.counted ? place_of(r, c->ticket.key) : NULL;
    if (d) d->n++;
    r->listener[c->ticket.listener_id]++;
}

static bool can_be_judged(const struct conn *c) {
    return c->state != CONN_DEAD && c->state != CONN_PREFACE && c->ticket.held && !c->retired &&
           !(c->guest && (c->guest->status || c->guest->room));
}

static bool refused(struct reap *r, struct conn *c, struct verdict *v) {
    struct worker *w = c->w;
    struct gen_listener *l = c->gen == w->gen ? c->listener : generation_same(w->gen, c->listener);
    struct facts f;
    struct err e;
    if (!l) return false; /* its listener has gone: it is ended for that */
    conn_facts(c, STAGE_PEER, &f);
    f.listener = l->plan;
    f.lists = &w->gen->lists;
    f.living = true;
    f.counts.active = atomic_load_explicit(&w->eng->live->listener[c->ticket.listener_id], memory_order_relaxed);
    f.counts.from_address = c->ticket.counted ? live_peek(w->eng->live, c->ticket.key) : 1;
    counts(r, c, &f);
    r->judged++;
    if (!hooks_judge(w->gen->hooks[w->index], &f, v, &e)) return false; /* a rule that fails must not end what works */
    return v->kind != VERDICT_ALLOW;
}

static void name(struct reap *r, const struct conn *c, const struct verdict *v) {
    char who[ADDR_TEXT];
    addr_format_ip(&c->remote, who);
    const char *kv[] = {"address", who,        "listener", c->listener->plan->name, "reason", refusal_name(v->refusal),
                        "because", v->because, NULL};
    if (!r->dry) log_kv(LOG_LVL_NOTICE, "reap", kv, "ended");
    if (r->named == REAP_SHOWN) return;
    char policy[PLAN_PATH + 16] = "";
    if (v->policy) snprintf(policy, sizeof policy, "%s:%u", v->policy, v->policy_line);
    buf_fmt(&r->out, "%s{\"address\":\"%s\"", r->named++ ? "," : "", who);
    buf_member(&r->out, "listener", c->listener->plan->name);
    buf_fmt(&r->out, ",\"state\":\"%s\",\"reason\":\"%s\"", conn_state_name(c), refusal_name(v->refusal));
    buf_member(&r->out, "because", v->because);
    buf_member(&r->out, "policy", policy);
    buf_str(&r->out, "}");
}

static void end_gently(struct reap *r, struct conn *c, const struct verdict *v) {
    bool asking = c->state == CONN_PARKED ? c->parked == STAGE_REQUEST : c->state >= CONN_TALK && !conn_idle(c);
    bool busy = c->speech == &speech_http && asking;
    name(r, c, v);
    if (busy) r->closing++;
    else r->closed++;
    if (r->dry || busy) doom(r, c); /* the places of the others are free at once */
    if (r->dry) return;
    c->retired = true; /* its answer is the last */
    if (busy && c->rq) c->rq->close_after = true;
    if (!busy) conn_close(c, "reaped");
}

/* ---- from worker to worker ---- */

static void go_on(struct reap *r);

static void part(struct polled *p, uint32_t events) {
    struct reap *r = (struct reap *)(void *)((char *)p - offsetof(struct reap, part));
    struct worker *w = r->w;
    (void)events;
    for (unsigned i = 0; i < A_TURN && w->reap_next; i++) {
        struct conn *c = w->reap_next;
        struct verdict v;
        w->reap_next = c->next;
        if (can_be_judged(c) && refused(r, c, &v)) end_gently(r, c, &v);
    }
    if (w->reap_next) {
        worker_again(w, p);
        return;
    }
    r->worker++;
    go_on(r);
}

static void arrive(struct worker *w, struct worker_call *c) {
    struct reap *r = (struct reap *)(void *)c;
    r->w = w;
    r->part = (struct polled){.event = part};
    w->reap_next = w->gen ? w->conns : NULL;
    part(&r->part, 0);
}

/* false: nobody has it any more. */
static bool pass_on(struct reap *r) {
    return r->worker < r->nworkers && worker_post(r->eng->worker[r->worker], MAIL_CALL, &r->call, 0);
}

static void go_on(struct reap *r) {
    if (!pass_on(r)) finish(r);
}

static bool tell(const struct reap *r, struct buf *out) {
    return buf_fmt(out, "{\"dry\":%s,\"judged\":%u,\"closed\":%u,\"closing\":%u,\"unnamed\":%u,\"list\":[", r->dry ? "true" : "false",
                   r->judged, r->closed, r->closing, r->closed + r->closing - r->named) &&
           (!r->out.n || buf_add(out, r->out.p, r->out.n)) && buf_str(out, "]}");
}

static struct reap *create(struct engine *eng, bool dry, const char *who) {
    struct reap *r = calloc(1, sizeof *r);
    uint64_t room = 256;
    if (!r) return NULL;
    for (unsigned i = 0; i < eng->nworkers; i++) room += atomic_load(&eng->worker[i]->live);
    for (r->mask = 1; r->mask < room * 2; r->mask *= 2) continue;
    r->doomed = calloc(r->mask, sizeof *r->doomed);
    if (!r->doomed) {
        free(r);
        return NULL;
    }
    r->mask--;
    r->eng = eng;
    r->nworkers = eng->nworkers;
    r->dry = dry;
    r->refs = 2;
    r->call = (struct worker_call){.run = arrive, .drop = drop};
    snprintf(r->who, sizeof r->who, "%s", who);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&r->done, &mono);
    return r;
}

bool reap_run(struct engine *eng, bool dry, const char *who, struct buf *out) {
    struct reap *r = create(eng, dry, who);
    if (!r) return false;
    if (!pass_on(r)) {
        r->finished = true;
        atomic_store(&r->refs, 1);
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&r->lock);
    while (!r->finished && pthread_cond_timedwait(&r->done, &r->lock, &until) == 0) continue;
    bool fine = r->finished && tell(r, out);
    if (r->finished)
        log_notice("reap", "%s by %s: %u connections judged again, %u closed, %u close after their answer", dry ? "tried" : "asked for",
                   who, r->judged, r->closed, r->closing);
    pthread_mutex_unlock(&r->lock);
    unref(r);
    return fine;
}
