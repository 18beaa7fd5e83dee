/* A generation that the supervisor offers: built beside the living one, its threads started, swapped in, or thrown away. */
#include "base/log.h"
#include "engine/access.h"
#include "engine/app.h"
#include "engine/control_i.h"
#include "engine/decisions.h"
#include "engine/guards.h"
#include "engine/probe.h"
#include "engine/remotelog.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_ROOM 16u /* workers a reload may grow to without a restart */

void control_throw(struct control *k) {
    app_states_drop(k->pending_states);
    generation_unref(k->pending);
    k->pending = NULL;
    k->pending_states = NULL;
    generation_bury(&k->eng);
}

static void fail(struct control *k, uint64_t id, const struct err *e) {
    control_throw(k);
    control_say(k, WIRE_FAILED, "generation %llu\n\n%s", (unsigned long long)id, e->text);
}

static void spool_done(void *ctx, unsigned producer, uint64_t upto, bool ok) {
    struct engine *eng = ctx;
    worker_committed(eng->worker[producer], upto, ok);
}

static bool start_remotelog(struct engine *eng, const struct generation *g, struct err *e) {
    bool wanted = false;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) wanted |= (g->plan.socket[i].services & SVC_REMOTE_LOG) != 0;
    if (wanted && !eng->remotelog && !(eng->remotelog = remotelog_start(eng, e))) return false;
    if (eng->remotelog) remotelog_limits(eng->remotelog, g->plan.set.remote_log_bytes, g->plan.set.remote_log_files);
    return true;
}

static bool start_spool(struct engine *eng, struct generation *g, struct err *e) {
    uint32_t services = 0;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) services |= g->plan.socket[i].services;
    if (eng->spool || !(services & SVC_TRACKER)) return true;
    snprintf(eng->tracker_id, sizeof eng->tracker_id, "%s", hooks_tracker_id(g->hooks[0]));
    char dir[512];
    snprintf(dir, sizeof dir, "%s/spool", eng->state_dir);
    struct spool_config cfg = {.dir = dir,
                               .tracker_id = eng->tracker_id,
                               .max_bytes = g->plan.set.spool_max,
                               .producers = eng->workers_most,
                               .done = spool_done,
                               .ctx = eng};
    eng->spool = spool_start(&cfg, e);
    return eng->spool != NULL;
}

/* Threads are started with the generation that first wants them, and stay. */
static bool start_threads(struct control *k, struct generation *g, struct err *e) {
    struct engine *eng = &k->eng;
    if (!eng->access) {
        char path[512];
        snprintf(path, sizeof path, "%s/log/access.log", eng->state_dir);
        if (!(eng->access = access_start(path, e))) return false;
    }
    while (eng->nworkers < g->nworkers) {
        if (!(eng->worker[eng->nworkers] = worker_start(eng, eng->nworkers, e))) return false;
        eng->nworkers++;
    }
    if (!start_spool(eng, g, e) || !start_remotelog(eng, g, e)) return false;
    if (!eng->probe && !(eng->probe = probe_start(eng, e))) return false;
    if (!eng->app && !(eng->app = app_create(eng, (unsigned)g->plan.set.app_threads, e))) return false;
    return true;
}

void control_prepare(struct control *k, uint64_t id) {
    struct err e;
    struct generation *g = k->pending;
    if (!g || g->id != id) return;
    struct engine *eng = &k->eng;
    if (!eng->workers_most) eng->workers_most = g->nworkers > WORKERS_ROOM ? g->nworkers : WORKERS_ROOM;
    if (g->nworkers > eng->workers_most) {
        err_set(&e, "portreeve.ini: Workers: this engine has room for %u workers, not for %u: restart it to have more", eng->workers_most,
                g->nworkers);
        fail(k, id, &e);
        return;
    }
    bool fine = generation_prepare(g, eng, &e) && (k->forced || !eng->current || guards_reload(eng, g, eng->current, &e)) &&
                start_threads(k, g, &e) && (k->pending_states = app_prepare(eng->app, g, &e));
    if (fine) control_say(k, WIRE_PREPARED, "generation %llu\n", (unsigned long long)id);
    else fail(k, id, &e);
}

void control_begin(struct control *k, struct fdlink_msg *m) {
    uint64_t id = 0, workers = 0;
    struct err e;
    control_throw(k);
    wire_number(m->data, "generation", &id);
    uint64_t base = 0, forced = 0;
    wire_number(m->data, "base", &base);
    k->forced = wire_number(m->data, "force", &forced) && forced;
    if (base && (!k->eng.current || k->eng.current->id != base))
        err_set(&e, "the supervisor counts on generation %llu, which this engine does not serve: restart it", (unsigned long long)base);
    else if (m->nfds == 2 && wire_number(m->data, "workers", &workers) && workers >= 1 && workers <= PLAN_MAX_WORKERS)
        k->pending = generation_create(&k->eng, id, m->fds[0], m->fds[1], (unsigned)workers, &e);
    else err_set(&e, "the supervisor offered a generation without plan, bundle or workers");
    for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
    if (!k->pending) fail(k, id, &e);
}

void control_rehearse(struct control *k, struct fdlink_msg *m) {
    uint64_t id = 0, forced = 0;
    struct err words = {"warning: whom it would shut out was not asked: the supervisor sent no plan and bundle\n"};
    wire_number(m->data, "generation", &id);
    wire_number(m->data, "force", &forced);
    bool refused = m->nfds == 2 && guards_rehearse(&k->eng, m->fds[0], m->fds[1], forced, &words);
    for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
    control_say(k, WIRE_REHEARSED, "generation %llu\nrefused %d\n\n%s", (unsigned long long)id, refused, words.text);
}

void control_sockets(struct control *k, struct fdlink_msg *m) {
    struct err e;
    struct wire_socket w[FDLINK_FDS];
    bool fits = k->pending && m->n == m->nfds * sizeof *w;
    if (!fits) {
        for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
        return;
    }
    memcpy(w, m->data, m->n);
    uint64_t id = k->pending->id;
    if (!generation_sockets(k->pending, w, m->fds, m->nfds, &e)) fail(k, id, &e);
}

void control_kept(struct control *k, struct fdlink_msg *m) {
    struct err e;
    struct wire_kept run;
    for (uint32_t at = 0; k->pending && at + sizeof run <= m->n; at += (uint32_t)sizeof run) {
        memcpy(&run, m->data + at, sizeof run);
        uint64_t id = k->pending->id;
        if (!generation_keep(k->pending, k->eng.current, &run, &e)) fail(k, id, &e);
    }
}

void control_all(struct engine *eng, enum mail_kind kind, struct generation *g) {
    pthread_mutex_lock(&eng->lock);
    for (unsigned i = 0; i < eng->nworkers; i++) eng->worker[i]->acks = 0;
    pthread_mutex_unlock(&eng->lock);
    unsigned sent = 0;
    for (unsigned i = 0; i < eng->nworkers; i++) sent += worker_post(eng->worker[i], kind, g ? generation_ref(g) : NULL, 0);
    pthread_mutex_lock(&eng->lock);
    for (;;) {
        unsigned acks = 0;
        for (unsigned i = 0; i < eng->nworkers; i++) acks += eng->worker[i]->acks;
        if (acks >= sent) break;
        pthread_cond_wait(&eng->turned, &eng->lock);
    }
    pthread_mutex_unlock(&eng->lock);
}

void control_commit(struct control *k, uint64_t id) {
    struct engine *eng = &k->eng;
    struct generation *g = k->pending;
    if (!g || g->id != id) return;
    k->pending = NULL;
    log_setup(STDERR_FILENO, g->plan.set.log_json != 0, LOG_LVL_INFO);
    control_all(eng, MAIL_SWAP, g);
    pthread_mutex_lock(&eng->lock);
    struct generation *old = eng->current;
    eng->current = g;
    atomic_store(&eng->counters->policy_suspended_ms, 0);
    pthread_mutex_unlock(&eng->lock);
    probe_generation(eng->probe, g);
    struct app_states *old_states = app_swap(eng->app, k->pending_states);
    k->pending_states = NULL;
    control_say(k, WIRE_COMMITTED, "generation %llu\n", (unsigned long long)id);
    atomic_store(&eng->live_generation, true);
    decisions_settings(eng->decisions, &g->plan.set);
    app_states_drop(old_states); /* closing Lua states takes milliseconds that nobody should wait for */
    generation_unref(old);
}
