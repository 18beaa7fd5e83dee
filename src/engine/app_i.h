/* What app.c (threads and their queues), app_states.c (the Lua states of a generation), app_job.c (one request through Lua) and app_tasks.c
 * (background tasks) share; nobody else includes this. */
#ifndef PORTREEVE_ENGINE_APP_I_H
#define PORTREEVE_ENGINE_APP_I_H
#include "engine/app.h"
#include "engine/status.h"
#include "engine/worker.h"
#include "script/lib_token.h"

#define TASKS_MOST   8u
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
    struct app_thread {
        struct pool *pool;
        unsigned index;
        pthread_t id;
        bool runs;
        struct state *state;
    } thread[THREADS_MOST];
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

struct app_kind {
    uint32_t service;
    const char *module;
    unsigned threads;
}; /* threads: 0 = AppThreads */
extern const struct app_kind app_kinds[POOLS];

/* Load a component and leave the function that its handler(conf) gives referenced. NULL: e says why. The state is the caller's. */
struct state *app_handler(struct app *a, struct generation *g, const char *module, struct err *e);
void app_run(struct state *s, struct job *j);             /* status 0 = the handler failed, and the log says how */
bool app_tasks_begin(struct app *a);                      /* the thread on which tasks change hands; false: it cannot be started */
void app_tasks_hand(struct app *a, struct app_states *s); /* these take over; holds a reference of its own */
#endif
