#include "base/log.h"
#include "engine/app_i.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <time.h>

static int task_should_stop(lua_State *L) {
    struct state *s = vm_owner(vm_of(L));
    lua_pushboolean(L, atomic_load(s->stop) || s->app->eng->draining);
    return 1;
}

static void *task_main(void *arg) {
    struct task *t = arg;
    struct state *s = t->state;
    lua_State *L = vm_lua(s->vm);
    char name[16];
    snprintf(name, sizeof name, "%.15s", s->task);
    pthread_setname_np(pthread_self(), name);
    int64_t pause = 100;
    while (!atomic_load(&t->stop)) {
        struct err e;
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2);
        lua_pushcfunction(L, task_should_stop);
        if (vm_call(s->vm, 2, 0, &e)) break;
        log_error("task", "%s failed and is started again in %lld ms: %s; %s", s->task, (long long)pause, e.text, vm_traceback(s->vm));
        lua_settop(L, 2);
        for (int64_t w = 0; w < pause && !atomic_load(&t->stop); w += 50) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        pause = pause * 2 < 60000 ? pause * 2 : 60000;
    }
    return NULL;
}

static void start_tasks(struct app_states *s) {
    for (unsigned i = 0; i < s->ntasks; i++) s->task[i].runs = pthread_create(&s->task[i].id, NULL, task_main, &s->task[i]) == 0;
}

static void stop_tasks(struct app_states *s) {
    for (unsigned i = 0; i < s->ntasks; i++) atomic_store(&s->task[i].stop, true);
    for (unsigned i = 0; i < s->ntasks; i++)
        if (s->task[i].runs) pthread_join(s->task[i].id, NULL);
}

static void *manager_main(void *arg) {
    struct app *a = arg;
    struct app_states *running = NULL;
    pthread_setname_np(pthread_self(), "tasks");
    for (bool stop = false; !stop;) {
        pthread_mutex_lock(&a->lock);
        while (!a->tasks_change && !a->stopping) pthread_cond_wait(&a->turned, &a->lock);
        stop = a->stopping;
        struct app_states *next = a->tasks_next;
        a->tasks_next = NULL;
        a->tasks_change = false;
        pthread_mutex_unlock(&a->lock);
        if (running) stop_tasks(running); /* before the new ones start: a task is alone with its cursor */
        if (running && a->eng->spool) spool_turn(a->eng->spool);
        app_states_drop(running);
        running = next;
        if (running && !stop) start_tasks(running);
    }
    app_states_drop(running);
    return NULL;
}

void app_tasks_hand(struct app *a, struct app_states *s) {
    pthread_mutex_lock(&a->lock);
    struct app_states *unused = a->tasks_next; /* a generation that was replaced before its tasks ever ran */
    if (s) atomic_fetch_add(&s->refs, 1);
    a->tasks_next = s;
    a->tasks_change = true;
    pthread_cond_signal(&a->turned);
    pthread_mutex_unlock(&a->lock);
    app_states_drop(unused);
}

bool app_tasks_begin(struct app *a) {
    return pthread_create(&a->manager, NULL, manager_main, a) == 0;
}
