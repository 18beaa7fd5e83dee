/* The engine process: what every thread of it shares. Made once by engine_main, immutable afterwards but for what is marked.
 * Threads: control (main thread; wire, generations), workers, spool, app threads, console, access-log writer, self-probe. */
#ifndef PORTREEVE_ENGINE_ENGINE_H
#define PORTREEVE_ENGINE_ENGINE_H
#include "base/err.h"
#include "engine/backend.h"
#include "engine/probe_table.h"
#include "gate/counters.h"
#include "gate/recorder.h"
#include "plan/plan.h"
#include "svc/spool.h"
#include <pthread.h>
#include <stdatomic.h>

#ifndef PORTREEVE_VERSION
#define PORTREEVE_VERSION "0.1.0"
#endif

struct worker;
struct generation;
struct app;
struct access_log;
struct decisions;
struct remotelog;
struct probe;
struct ask;

struct engine {
    char state_dir[256], luadir[256] /* "": the library is held (plan/library.h) */, tracker_id[64];
    int wire;
    unsigned instance;
    bool beside; /* another engine served when this one began: it need not make do */
    struct counters *counters;
    struct counters_live *live;
    struct recorder *recorder;   /* shared with the supervisor and other engines */
    struct decisions *decisions; /* what tells of refusals: log and file */
    struct spool *spool;         /* NULL where no tracker is installed */
    struct access_log *access;
    struct remotelog *remotelog; /* NULL until a listener has the service; set before a worker sees that listener */
    struct app *app;
    struct probe *probe;
    struct backends backends;  /* of tunnels */
    struct probe_table probes; /* calls of the self-probe under way: accept asks */
    _Atomic unsigned nworkers; /* running; worker[i] is set before it grows */
    unsigned workers_most;     /* bound for the life of the engine */
    struct worker *worker[PLAN_MAX_WORKERS];
    int64_t started_ms;
    _Atomic bool draining;
    _Atomic bool live_generation; /* at least one generation has been committed */
    struct holder_id holder;      /* for the locks of the counters' memory */
    pthread_mutex_t bans_making;  /* one set is made at a time, so that an older one is never handed out after a newer */
    pthread_mutex_t bans_lock;
    struct ban_set *bans; /* under bans_lock; bans_turn counts its changes */
    _Atomic uint64_t bans_turn;

    /* Under lock: read by console, app threads and /metrics, written by control. */
    pthread_mutex_t lock;
    pthread_cond_t turned;      /* acks or answers of the supervisor came */
    struct generation *current; /* referenced */
    struct generation *dead;    /* to be freed by the control thread */
    char *last_reload;          /* JSON object text, NULL = none yet */
    struct ask *asks;           /* what waits for an answer of the supervisor (ask.h) */
    uint64_t asked;
    bool asks_over;
    char listener_name[LIVE_LISTENERS][PLAN_NAME]; /* id → name; ids are stable for the life of the engine */
};

/* The living generation with a reference taken (generation_unref), or NULL before the first commit. Any thread. */
struct generation *engine_current(struct engine *e);
/* Id of a listener name for live counts. -1 when LIVE_LISTENERS names have been used. Control thread. */
int engine_listener_id(struct engine *e, const char *name);
#endif
