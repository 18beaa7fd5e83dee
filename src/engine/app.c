#include "base/log.h"
#include "engine/app_i.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state of a thread that has had no job of this generation yet. */
static struct state *make_own(struct app_thread *t, struct app_states *states) {
    struct pool *p = t->pool;
    struct err e;
    struct state *s = app_handler(p->app, states->gen, app_kinds[p - p->app->pool].module, &e);
    if (!s) log_error("app", "%s: %s", plan_service_name(p->service), e.text);
    pthread_mutex_lock(&p->lock);
    states->handler[p - p->app->pool][t->index] = s;
    if (p->app->now == states) t->state = s;
    pthread_mutex_unlock(&p->lock);
    return s;
}

static void *pool_main(void *arg) {
    struct app_thread *t = arg;
    struct pool *p = t->pool;
    char name[16];
    snprintf(name, sizeof name, "%.9s %u", plan_service_name(p->service), t->index);
    pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->first && !p->app->stopping) pthread_cond_wait(&p->more, &p->lock);
        struct job *j = p->first;
        if (!j) break;
        p->first = j->next;
        if (!p->first) p->last = &p->first;
        p->queued--;
        struct state *s = t->state;
        struct app_states *hold = p->app->now; /* app_swap changes both under every pool's lock */
        if (hold) atomic_fetch_add(&hold->refs, 1);
        bool serves = hold && hold->works[p - p->app->pool];
        pthread_mutex_unlock(&p->lock);
        if (!s && serves) s = make_own(t, hold);
        if (s) app_run(s, j);
        else j->status = 503;
        worker_post(j->worker, MAIL_JOB, j, 0);
        app_states_drop(hold);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

bool app_submit(struct app *a, struct job *j) {
    for (unsigned i = 0; i < POOLS; i++) {
        struct pool *p = &a->pool[i];
        if (p->service != j->service) continue;
        pthread_mutex_lock(&p->lock);
        bool room = p->queued < p->queue_most && !a->stopping;
        if (room) {
            j->next = NULL;
            *p->last = j;
            p->last = &j->next;
            p->queued++;
            pthread_cond_signal(&p->more);
        }
        pthread_mutex_unlock(&p->lock);
        return room;
    }
    return false;
}

/* ---- life ---- */

static bool start_pool(struct app *a, unsigned i, unsigned nthreads) {
    struct pool *p = &a->pool[i];
    p->nthreads = nthreads;
    for (unsigned t = 0; t < nthreads; t++) {
        p->thread[t] = (struct app_thread){.pool = p, .index = t};
        p->thread[t].runs = pthread_create(&p->thread[t].id, NULL, pool_main, &p->thread[t]) == 0;
        if (!p->thread[t].runs) return false;
    }
    return true;
}

struct app *app_create(struct engine *eng, unsigned threads, struct err *e) {
    struct app *a = calloc(1, sizeof *a);
    if (!a) return (void)err_set(e, "out of memory"), NULL;
    a->eng = eng;
    status_api(eng, &a->api);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->turned, NULL);
    for (unsigned i = 0; i < POOLS; i++) {
        struct pool *p = &a->pool[i];
        *p = (struct pool){.app = a, .service = app_kinds[i].service, .last = &p->first, .queue_most = 256};
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->more, NULL);
    }
    bool fine = true;
    for (unsigned i = 0; fine && i < POOLS; i++) fine = start_pool(a, i, app_kinds[i].threads ? app_kinds[i].threads : threads);
    a->manager_runs = fine && app_tasks_begin(a);
    if (a->manager_runs) return a;
    app_stop(a);
    return (void)err_set(e, "app threads cannot be started"), NULL;
}

struct app_states *app_swap(struct app *a, struct app_states *s) {
    struct app_states *old = a->now;
    for (unsigned i = 0; i < POOLS; i++) pthread_mutex_lock(&a->pool[i].lock);
    a->now = s;
    for (unsigned i = 0; i < POOLS; i++) {
        a->pool[i].queue_most = (unsigned)s->gen->plan.set.app_queue;
        for (unsigned t = 0; t < a->pool[i].nthreads; t++) a->pool[i].thread[t].state = s->handler[i][t];
    }
    for (unsigned i = 0; i < POOLS; i++) pthread_mutex_unlock(&a->pool[i].lock);
    app_tasks_hand(a, s);
    return old;
}

void app_stop(struct app *a) {
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    for (unsigned i = 0; i < POOLS; i++) pthread_mutex_lock(&a->pool[i].lock);
    a->stopping = true;
    pthread_cond_signal(&a->turned);
    for (unsigned i = 0; i < POOLS; i++) {
        pthread_cond_broadcast(&a->pool[i].more);
        pthread_mutex_unlock(&a->pool[i].lock);
    }
    pthread_mutex_unlock(&a->lock);
    if (a->manager_runs) pthread_join(a->manager, NULL);
    for (unsigned i = 0; i < POOLS; i++)
        for (unsigned t = 0; t < a->pool[i].nthreads; t++)
            if (a->pool[i].thread[t].runs) pthread_join(a->pool[i].thread[t].id, NULL);
    app_states_drop(a->now);
    free(a);
}
