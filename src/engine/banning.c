#include "engine/banning.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/worker.h"

bool banning_start(struct engine *eng, struct err *e) {
    eng->holder = counters_holder(eng->counters, eng->instance);
    if (eng->holder.me == 0) return err_set(e, "the supervisor has not numbered this engine: are both of one version?");
    pthread_mutex_init(&eng->bans_making, NULL);
    pthread_mutex_init(&eng->bans_lock, NULL);
    return banning_renew(eng) || err_set(e, "out of memory for the bans");
}

void banning_stop(struct engine *eng) {
    ban_set_unref(eng->bans);
    eng->bans = NULL;
}

bool banning_renew(struct engine *eng) {
    pthread_mutex_lock(&eng->bans_making);
    struct ban_set *s = ban_set_create(&eng->counters->bans, eng->holder, clock_mono_ms()), *old = NULL;
    if (s) {
        pthread_mutex_lock(&eng->bans_lock);
        old = eng->bans;
        eng->bans = s;
        atomic_fetch_add(&eng->bans_turn, 1);
        pthread_mutex_unlock(&eng->bans_lock);
    } else log_error("ban", "out of memory: the bans before the last change hold on");
    pthread_mutex_unlock(&eng->bans_making);
    ban_set_unref(old);
    return s != NULL;
}

struct ban_set *banning_current(struct engine *eng) {
    pthread_mutex_lock(&eng->bans_lock);
    struct ban_set *s = ban_set_ref(eng->bans);
    pthread_mutex_unlock(&eng->bans_lock);
    return s;
}

void banning_tick(struct engine *eng) {
    struct ban_set *s = banning_current(eng);
    bool stale = ban_set_stale(s);
    ban_set_unref(s);
    if (stale) (void)banning_renew(eng);
}

static void take_bans(struct worker *w) {
    struct ban_set *old = w->bans;
    w->bans_turn = atomic_load(&w->eng->bans_turn);
    w->bans = banning_current(w->eng);
    ban_set_unref(old);
}

void worker_drop_bans(struct worker *w) {
    ban_set_unref(w->bans);
    w->bans = NULL;
}

void worker_take_bans(struct worker *w) {
    if (__builtin_expect(atomic_load_explicit(&w->eng->bans_turn, memory_order_acquire) != w->bans_turn, 0)) take_bans(w);
}

void worker_fill_facts(struct worker *w, const struct gen_listener *l, struct facts *f) {
    worker_take_bans(w);
    f->bans = w->bans;
    f->counters = w->eng->counters;
    f->holder = w->eng->holder;
    f->listener_key = l->key;
    f->mono_ms = w->now_ms;
    f->living = false;
}
