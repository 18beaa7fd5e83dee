#include "engine/app.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/status.h"
#include "engine/worker.h"
#include "script/hooks.h"
#include "script/lib.h"
#include "script/lib_response.h"
#include "script/lib_spool.h"
#include "script/lib_token.h"
#include <ctype.h>
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_MOST 8u
#define THREADS_MOST 64u

/* One Lua state of a thread: the handler's, or a task's. */
struct state {
    struct vm *vm;
    struct token_ctx *tokens;
    struct app *app;
    _Atomic bool *stop; /* of the task that runs in it */
    char task[64];
    int ref; /* the function, in the registry */
    bool broken;
};

struct pool { /* threads of one service */
    struct app *app;
    uint32_t service;
    unsigned nthreads;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *first, **last;
    unsigned queued, queue_most;
    struct app_thread { struct pool *pool; unsigned index; pthread_t id; bool runs; struct state *state; } thread[THREADS_MOST];
};

struct task { /* one background task of the generation in force */
    struct state *state;
    pthread_t id;
    _Atomic bool stop;
    bool runs;
};

enum { POOLS = 4 };
struct app {
    struct engine *eng;
    struct engine_api api;
    struct pool pool[POOLS];
    struct app_states *now; /* in force; written by control under every pool's lock */
    bool stopping;
    /* Tasks change hands on a thread of their own: an old one may sit in a long poll, and a reload must not wait for it. */
    pthread_t manager;
    bool manager_runs;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    struct app_states *tasks_next;
    bool tasks_change;
};

struct app_states {
    struct generation *gen;
    _Atomic int refs;
    struct state *handler[POOLS][THREADS_MOST];
    bool works[POOLS]; /* the service can be served */
    bool has_tasks[POOLS];
    struct task task[TASKS_MOST];
    unsigned ntasks;
};

static const struct { uint32_t service; const char *module; unsigned threads; } pool_kinds[POOLS] = {
    {SVC_HUB, "portreeve.hub", 0}, {SVC_UI, "portreeve.ui", 0}, {SVC_TRANSFER, "portreeve.transfer", 4}, {SVC_INTERNAL, "portreeve.internal", 2}};

/* ---- Lua states ---- */

static void state_free(struct state *s) {
    if (!s) return;
    vm_destroy(s->vm);
    token_ctx_free(s->tokens);
    free(s);
}

static struct state *state_open(struct app *a, const struct generation *g, struct err *e) {
    struct engine *eng = a->eng;
    struct state *s = calloc(1, sizeof *s);
    if (!s) return (void)err_set(e, "out of memory"), NULL;
    s->app = a;
    struct vm_limits lim = {.memory = 512u << 20};
    s->vm = vm_create(VM_TRUSTED, &lim, eng->luadir, e);
    s->tokens = s->vm ? token_ctx_create(g->ring) : NULL;
    if (!s->tokens) {
        if (s->vm) err_set(e, "out of memory");
        state_free(s);
        return NULL;
    }
    lua_State *L = vm_lua(s->vm);
    vm_open_libs(s->vm, VM_TRUSTED);
    lib_token_set_ctx(L, s->tokens);
    char dir[512];
    snprintf(dir, sizeof dir, "%s/spool", eng->state_dir);
    lib_spool_set(L, eng->spool, dir);
    lib_engine_set(L, &a->api);
    vm_set_owner(s->vm, s);
    return s;
}

static int task_should_stop(lua_State *L) {
    struct state *s = vm_owner(vm_of(L));
    lua_pushboolean(L, atomic_load(s->stop) || s->app->eng->draining);
    return 1;
}

/* Load a component and leave its `handler(conf)` function referenced. */
static struct state *make_handler(struct app *a, struct generation *g, const char *module, struct err *e) {
    struct state *s = state_open(a, g, e);
    if (!s) return NULL;
    lua_State *L = vm_lua(s->vm);
    bool fine = vm_require(s->vm, module, e) && (lua_getfield(L, -1, "handler"), hooks_push_conf(s->vm, g->bundle, e)) && vm_call(s->vm, 1, 1, e);
    if (fine && !lua_isfunction(L, -1)) fine = err_set(e, "%s: handler(conf) must return a function", module);
    if (!fine) {
        state_free(s);
        return NULL;
    }
    s->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, 0);
    return s;
}

static bool make_task(struct app *a, struct generation *g, const char *module, const char *name, struct app_states *out, struct err *e) {
    if (out->ntasks == TASKS_MOST) return err_set(e, "%s: more than %u tasks", module, TASKS_MOST);
    struct state *s = state_open(a, g, e);
    if (!s) return false;
    lua_State *L = vm_lua(s->vm);
    bool fine = vm_require(s->vm, module, e) && hooks_push_conf(s->vm, g->bundle, e);
    if (!fine) {
        state_free(s);
        return false;
    }
    lua_getfield(L, 1, "tasks");
    lua_getfield(L, -1, name);
    snprintf(s->task, sizeof s->task, "%.40s.%.20s", module + strlen("portreeve."), name);
    lua_replace(L, 1); /* the task's function; conf stays at 2 */
    lua_settop(L, 2);
    struct task *t = &out->task[out->ntasks++];
    t->state = s;
    s->stop = &t->stop;
    return true;
}

static bool make_tasks(struct app *a, struct generation *g, const char *module, struct state *probe, struct app_states *out, struct err *e) {
    lua_State *L = vm_lua(probe->vm);
    if (!vm_require(probe->vm, module, e)) return false;
    lua_getfield(L, -1, "tasks");
    bool fine = true;
    if (lua_istable(L, -1)) {
        lua_pushnil(L);
        while (fine && lua_next(L, -2)) {
            lua_pop(L, 1);
            fine = make_task(a, g, module, lua_tostring(L, -1), out, e);
        }
    }
    lua_settop(L, 0);
    return fine;
}

static uint32_t services_of(const struct generation *g) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) all |= g->plan.socket[i].services;
    return all;
}

/* What the handlers read of the configuration: everything but sockets and certificates. */
static bool is_read(const char *path) {
    static const char *const not_read[] = {"tomcat.ini", "listeners.ini", "certificates.ini"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof not_read / sizeof *not_read; i++)
        if (strcmp(path, not_read[i]) == 0) return false;
    return strcmp(path, "--set") == 0 || strcmp(path, "services") == 0 || (n > 4 && strcmp(path + n - 4, ".ini") == 0);
}

static bool has_all(const struct bundle *b, const struct bundle *of) {
    for (unsigned i = 0; i < bundle_count(of); i++) {
        const struct bundle_file *f = bundle_at(of, i), *same = is_read(f->path) ? bundle_find(b, f->path) : f;
        if (!same || same->size != f->size || memcmp(same->hash, f->hash, sizeof f->hash) != 0) return false;
    }
    return true;
}

/* Does pool p work under g because it works already, with the very same configuration? Its threads build their states when they need them. */
static bool works_as_before(const struct app *a, const struct generation *g, unsigned p) {
    const struct app_states *now = a->now;
    return now && now->works[p] && !now->has_tasks[p] && has_all(now->gen->bundle, g->bundle) && has_all(g->bundle, now->gen->bundle);
}

static bool prepare_pool(struct app *a, struct generation *g, unsigned p, struct app_states *s, struct err *e) {
    const char *module = pool_kinds[p].module;
    unsigned before = s->ntasks;
    if (!works_as_before(a, g, p)) {
        s->handler[p][0] = make_handler(a, g, module, e);
        if (!s->handler[p][0] || !make_tasks(a, g, module, s->handler[p][0], s, e)) return false;
    }
    s->has_tasks[p] = s->ntasks > before;
    return s->works[p] = true;
}

struct app_states *app_prepare(struct app *a, struct generation *g, struct err *e) {
    struct app_states *s = calloc(1, sizeof *s);
    if (!s) return (void)err_set(e, "out of memory"), NULL;
    s->gen = generation_ref(g);
    s->refs = 1;
    uint32_t services = services_of(g);
    bool fine = true;
    for (unsigned p = 0; fine && p < POOLS; p++) {
        if (!(services & pool_kinds[p].service)) continue;
        fine = prepare_pool(a, g, p, s, e);
    }
    if (fine) return s;
    app_states_drop(s);
    return NULL;
}

static void free_states(struct app_states *s) {
    for (unsigned p = 0; p < POOLS; p++)
        for (unsigned i = 0; i < THREADS_MOST; i++) state_free(s->handler[p][i]);
    for (unsigned i = 0; i < s->ntasks; i++) state_free(s->task[i].state);
    generation_unref(s->gen);
    free(s);
}

void app_states_drop(struct app_states *s) {
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) free_states(s);
}

/* ---- one request ---- */

static void set_text(lua_State *L, const struct job *j, const char *name, uint32_t at, uint32_t n) {
    lua_pushlstring(L, j->text.p + at, n);
    lua_setfield(L, -2, name);
}

static void push_headers(lua_State *L, const struct job *j) {
    lua_createtable(L, 0, j->nfields);
    for (uint16_t i = 0; i < j->nfields; i++) {
        char name[128];
        uint32_t n = j->field[i].name_n < sizeof name ? j->field[i].name_n : (uint32_t)sizeof name - 1;
        for (uint32_t k = 0; k < n; k++) name[k] = (char)tolower((unsigned char)j->text.p[j->field[i].name_at + k]);
        lua_pushlstring(L, name, n);
        const char *v = j->text.p + j->field[i].value_at;
        if (n == 6 && memcmp(name, "cookie", 6) == 0) { /* several Cookie fields are one (RFC 9113 8.2.3 allows them) */
            lua_pushvalue(L, -1);
            if (lua_rawget(L, -3) == LUA_TSTRING) {
                lua_pushliteral(L, "; ");
                lua_pushlstring(L, v, j->field[i].value_n);
                lua_concat(L, 3);
                lua_rawset(L, -3);
                continue;
            }
            lua_pop(L, 1);
        }
        lua_pushlstring(L, v, j->field[i].value_n);
        lua_rawset(L, -3);
    }
}

static int push_request(lua_State *L) { /* protected: runs through vm_call */
    const struct job *j = lua_touserdata(L, 1);
    lua_createtable(L, 0, 13);
    set_text(L, j, "method", j->method.at, j->method.n);
    set_text(L, j, "path", j->path.at, j->path.n);
    if (j->has_query) set_text(L, j, "query", j->query.at, j->query.n);
    set_text(L, j, "host", j->host.at, j->host.n);
    set_text(L, j, "body", j->body.at, j->body.n);
    set_text(L, j, "address", j->address.at, j->address.n);
    set_text(L, j, "socket_address", j->socket.at, j->socket.n);
    lua_pushstring(L, j->listener);
    lua_setfield(L, -2, "listener");
    lua_pushstring(L, j->secure);
    lua_setfield(L, -2, "secure");
    lua_pushinteger(L, j->local_port);
    lua_setfield(L, -2, "local_port");
    push_headers(L, j);
    lua_setfield(L, -2, "headers");
    return 1;
}

static void run_job(struct state *s, struct job *j) {
    lua_State *L = vm_lua(s->vm);
    struct err e;
    j->fields.max = 65536;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->ref);
    lua_pushcfunction(L, push_request);
    lua_pushlightuserdata(L, j);
    bool fine = vm_call(s->vm, 1, 1, &e) && vm_call(s->vm, 1, 1, &e) && response_read(L, -1, &j->status, &j->fields, &j->reply, &e);
    if (!fine) {
        j->status = 0;
        log_error("app", "%s %.*s: %s", plan_service_name(j->service), (int)(j->path.n < 200 ? j->path.n : 200), j->text.p + j->path.at, e.text);
    }
    lua_settop(L, 0);
}

/* The state of a thread that has had no job of this generation yet. */
static struct state *make_own(struct app_thread *t, struct app_states *states) {
    struct pool *p = t->pool;
    struct err e;
    struct state *s = make_handler(p->app, states->gen, pool_kinds[p - p->app->pool].module, &e);
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
        if (s)
            run_job(s, j);
        else
            j->status = 503;
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

/* ---- tasks ---- */

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
        log_error("task", "%s failed and is started again in %lld ms: %s", s->task, (long long)pause, e.text);
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

static void hand_tasks(struct app *a, struct app_states *s) {
    pthread_mutex_lock(&a->lock);
    struct app_states *unused = a->tasks_next; /* a generation that was replaced before its tasks ever ran */
    if (s) atomic_fetch_add(&s->refs, 1);
    a->tasks_next = s;
    a->tasks_change = true;
    pthread_cond_signal(&a->turned);
    pthread_mutex_unlock(&a->lock);
    app_states_drop(unused);
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
        *p = (struct pool){.app = a, .service = pool_kinds[i].service, .last = &p->first, .queue_most = 256};
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->more, NULL);
    }
    bool fine = true;
    for (unsigned i = 0; fine && i < POOLS; i++) fine = start_pool(a, i, pool_kinds[i].threads ? pool_kinds[i].threads : threads);
    a->manager_runs = fine && pthread_create(&a->manager, NULL, manager_main, a) == 0;
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
    hand_tasks(a, s);
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
