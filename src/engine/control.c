#include "engine/control.h"
#include "base/clock.h"
#include "base/fdlink.h"
#include "base/log.h"
#include "engine/access.h"
#include "engine/app.h"
#include "engine/banning.h"
#include "engine/remotelog.h"
#include "engine/ask.h"
#include "engine/console.h"
#include "engine/decisions.h"
#include "engine/guards.h"
#include "engine/harden.h"
#include "engine/luadir.h"
#include "engine/probe.h"
#include "engine/welcome.h"
#include "engine/worker.h"
#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WIRE_FD 3
#define SEND_MS 10000
#define WORKERS_ROOM 16u /* workers a reload may grow to without a restart */

struct control {
    struct engine eng;
    struct ev_loop *loop;
    ev_io wire;
    ev_timer second;
    char user[64];
    bool ready; /* SETUP has come and the engine is hardened */
    struct console *console;
    struct generation *pending;
    bool forced; /* nobody is asked whom it shuts out */
    struct app_states *pending_states;
    int64_t drain_until;
    bool stopping, welcomed, quiet;
    struct fdlink_msg msg;
};

/* ---- what other threads ask of the engine ---- */

struct generation *engine_current(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    struct generation *g = generation_ref(e->current);
    pthread_mutex_unlock(&e->lock);
    return g;
}

int engine_listener_id(struct engine *e, const char *name) {
    for (int i = 0; i < (int)LIVE_LISTENERS; i++) {
        if (strcmp(e->listener_name[i], name) == 0) return i;
        if (!e->listener_name[i][0]) {
            snprintf(e->listener_name[i], PLAN_NAME, "%s", name);
            return i;
        }
    }
    return -1;
}

/* ---- to the supervisor ---- */

static void say(struct control *k, uint32_t type, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct control *k, uint32_t type, const char *fmt, ...) {
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct err e;
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (!fdlink_send(k->eng.wire, type, text, len, NULL, 0, SEND_MS, &e)) log_error("engine", "the supervisor cannot be told: %s", e.text);
}

static void throw_pending(struct control *k) {
    app_states_drop(k->pending_states);
    generation_unref(k->pending);
    k->pending = NULL;
    k->pending_states = NULL;
    generation_bury(&k->eng);
}

static void fail(struct control *k, uint64_t id, const struct err *e) {
    throw_pending(k);
    say(k, WIRE_FAILED, "generation %llu\n\n%s", (unsigned long long)id, e->text);
}

/* ---- building a generation ---- */

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
    struct spool_config cfg = {.dir = dir, .tracker_id = eng->tracker_id, .max_bytes = g->plan.set.spool_max, .producers = eng->workers_most, .done = spool_done, .ctx = eng};
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

static void prepare(struct control *k, uint64_t id) {
    struct err e;
    struct generation *g = k->pending;
    if (!g || g->id != id) return;
    struct engine *eng = &k->eng;
    if (!eng->workers_most) eng->workers_most = g->nworkers > WORKERS_ROOM ? g->nworkers : WORKERS_ROOM;
    if (g->nworkers > eng->workers_most) {
        err_set(&e, "portreeve.ini: Workers: this engine has room for %u workers, not for %u: restart it to have more", eng->workers_most, g->nworkers);
        fail(k, id, &e);
        return;
    }
    bool fine = generation_prepare(g, eng, &e) && guards_reload(eng, g, k->forced ? NULL : eng->current, &e) && start_threads(k, g, &e) && (k->pending_states = app_prepare(eng->app, g, &e));
    if (fine)
        say(k, WIRE_PREPARED, "generation %llu\n", (unsigned long long)id);
    else
        fail(k, id, &e);
}

static void begin(struct control *k, struct fdlink_msg *m) {
    uint64_t id = 0, workers = 0;
    struct err e;
    throw_pending(k);
    wire_number(m->data, "generation", &id);
    uint64_t base = 0, forced = 0;
    wire_number(m->data, "base", &base);
    k->forced = wire_number(m->data, "force", &forced) && forced;
    if (base && (!k->eng.current || k->eng.current->id != base))
        err_set(&e, "the supervisor counts on generation %llu, which this engine does not serve: restart it", (unsigned long long)base);
    else if (m->nfds == 2 && wire_number(m->data, "workers", &workers) && workers >= 1 && workers <= PLAN_MAX_WORKERS)
        k->pending = generation_create(&k->eng, id, m->fds[0], m->fds[1], (unsigned)workers, &e);
    else
        err_set(&e, "the supervisor offered a generation without plan, bundle or workers");
    for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
    if (!k->pending) fail(k, id, &e);
}

static void take_sockets(struct control *k, struct fdlink_msg *m) {
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

static void keep_sockets(struct control *k, struct fdlink_msg *m) {
    struct err e;
    struct wire_kept run;
    for (uint32_t at = 0; k->pending && at + sizeof run <= m->n; at += (uint32_t)sizeof run) {
        memcpy(&run, m->data + at, sizeof run);
        uint64_t id = k->pending->id;
        if (!generation_keep(k->pending, k->eng.current, &run, &e)) fail(k, id, &e);
    }
}

/* Post the same letter to every worker and wait until each has done it. */
static void all_workers(struct engine *eng, enum mail_kind kind, struct generation *g) {
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

static void commit(struct control *k, uint64_t id) {
    struct engine *eng = &k->eng;
    struct generation *g = k->pending;
    if (!g || g->id != id) return;
    k->pending = NULL;
    log_setup(STDERR_FILENO, g->plan.set.log_json != 0, LOG_LVL_INFO);
    all_workers(eng, MAIL_SWAP, g);
    pthread_mutex_lock(&eng->lock);
    struct generation *old = eng->current;
    eng->current = g;
    atomic_store(&eng->counters->policy_suspended_ms, 0);
    pthread_mutex_unlock(&eng->lock);
    probe_generation(eng->probe, g);
    struct app_states *old_states = app_swap(eng->app, k->pending_states);
    k->pending_states = NULL;
    say(k, WIRE_COMMITTED, "generation %llu\n", (unsigned long long)id);
    atomic_store(&eng->live_generation, true);
    access_reopen(eng->access);
    decisions_settings(eng->decisions, &g->plan.set);
    app_states_drop(old_states); /* closing Lua states takes milliseconds that nobody should wait for */
    generation_unref(old);
}

/* ---- messages ---- */

static void setup(struct control *k, struct fdlink_msg *m) {
    struct engine *eng = &k->eng;
    struct err e;
    uint64_t instance = 0;
    bool fine = m->nfds == 2 && wire_number(m->data, "instance", &instance) && instance < 2 && wire_text(m->data, "state", eng->state_dir, sizeof eng->state_dir);
    if (!fine) err_set(&e, "the supervisor's set-up message is not understood");
    fine = fine && (eng->counters = counters_map(m->fds[0], &e)) && (eng->recorder = recorder_map(m->fds[1], false, &e));
    for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
    char socket[512];
    snprintf(socket, sizeof socket, "%s/run/console.sock", eng->state_dir);
    fine = fine && harden_engine(k->user[0] ? k->user : NULL, eng->state_dir, eng->luadir, &e);
    eng->instance = (unsigned)(instance & 1);
    if (fine) eng->live = &eng->counters->live[eng->instance];
    fine = fine && banning_start(eng, &e);
    fine = fine && (eng->decisions = decisions_start(eng->recorder, eng->state_dir, &e)) && (k->console = console_start(eng, socket, &e));
    if (!fine) {
        log_error("engine", "%s", e.text);
        _exit(1);
    }
    k->ready = true;
}

static void begin_drain(struct control *k, const struct fdlink_msg *m) {
    struct engine *eng = &k->eng;
    uint64_t ms = 30000, close_now = 0;
    wire_number(m->data, "ms", &ms);
    wire_number(m->data, "close", &close_now);
    if (k->stopping) return;
    k->stopping = true;
    k->drain_until = clock_mono_ms() + (int64_t)ms;
    atomic_store(&eng->draining, true);
    if (eng->probe) probe_rest(eng->probe);
    if (!close_now) decisions_rest(eng->decisions);
    if (eng->spool) spool_hurry(eng->spool);
    log_info("engine", "draining for at most %llu ms", (unsigned long long)ms);
    for (unsigned i = 0; i < eng->nworkers; i++) worker_post(eng->worker[i], MAIL_DRAIN, NULL, (int64_t)close_now);
}

static void note_reload(struct control *k, const struct fdlink_msg *m) {
    struct engine *eng = &k->eng;
    char *text = strndup(m->data, m->n);
    pthread_mutex_lock(&eng->lock);
    char *old = eng->last_reload;
    if (text) eng->last_reload = text;
    pthread_mutex_unlock(&eng->lock);
    if (text) free(old);
    if (eng->current) all_workers(eng, MAIL_RETIRE, NULL); /* the supervisor has closed what it no longer wants: now ours may go */
    if (eng->current && !k->welcomed && atomic_load(&eng->counters->super.engine_starts) <= 1) welcome(eng, eng->current); /* below the table of sockets */
    k->welcomed |= eng->current != NULL;
    generation_bury(eng);
}

static void answer_ask(struct control *k, const struct fdlink_msg *m) {
    uint64_t id = 0, ok = 0;
    wire_number(m->data, "id", &id);
    wire_number(m->data, "ok", &ok);
    ask_answered(&k->eng, id, ok != 0, wire_body(m->data));
}

static void take_message(struct control *k, struct fdlink_msg *m) {
    uint64_t id = 0;
    wire_number(m->data, "generation", &id);
    switch ((enum wire_type)m->type) {
    case WIRE_SETUP: setup(k, m); return;
    case WIRE_GEN_BEGIN: begin(k, m); return;
    case WIRE_GEN_SOCKETS: take_sockets(k, m); return;
    case WIRE_GEN_KEPT: keep_sockets(k, m); return;
    case WIRE_GEN_END: prepare(k, id); return;
    case WIRE_COMMIT: commit(k, id); return;
    case WIRE_ABORT: throw_pending(k); return;
    case WIRE_DRAIN: begin_drain(k, m); return;
    case WIRE_LAST_RELOAD: note_reload(k, m); return;
    case WIRE_PROVE:
        if (k->eng.probe) probe_begin(k->eng.probe, id, wire_body(m->data));
        return;
    case WIRE_RELOAD_RESULT: answer_ask(k, m); return;
    default: break;
    }
    for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
    log_error("engine", "a message of type %u from the supervisor is not understood", m->type);
}

static void on_wire(struct ev_loop *loop, ev_io *io, int revents) {
    (void)revents;
    struct control *k = io->data;
    struct err e;
    int r = fdlink_recv(io->fd, &k->msg, &e);
    if (r == 1)
        take_message(k, &k->msg);
    else if (r == 0 || errno != EAGAIN) {
        log_warn("engine", "the supervisor has gone: this engine ends");
        ev_break(loop, EVBREAK_ALL);
    }
}

static void on_second(struct ev_loop *loop, ev_timer *t, int revents) {
    (void)revents;
    struct control *k = t->data;
    struct engine *eng = &k->eng;
    generation_bury(eng);
    if (k->ready) banning_tick(eng);
    if (!k->stopping) return;
    unsigned live = 0;
    bool told = true;
    for (unsigned i = 0; i < eng->nworkers; i++) {
        told &= atomic_load(&eng->worker[i]->draining);
        live += atomic_load(&eng->worker[i]->live);
    }
    if (told && !k->quiet) {
        k->quiet = true;
        say(k, WIRE_QUIET, "pid %d\n", (int)getpid());
    }
    if (told && live == 0) {
        ev_break(loop, EVBREAK_ALL);
        return;
    }
    if (clock_mono_ms() < k->drain_until) return;
    log_warn("engine", "drain time is over: %u connections are cut", live);
    for (unsigned i = 0; i < eng->nworkers; i++) worker_post(eng->worker[i], MAIL_CLOSE_ALL, NULL, 0);
    k->drain_until += 1000000;
}

/* ---- life ---- */

static void end_engine(struct control *k) {
    struct engine *eng = &k->eng;
    atomic_store(&eng->draining, true);
    ask_give_up(eng); /* a console or a page that waits for an answer would hold up the end */
    if (eng->spool) spool_hurry(eng->spool);
    probe_stop(eng->probe); /* the console may wait for it */
    console_stop(k->console);
    throw_pending(k);
    for (unsigned i = 0; i < eng->nworkers; i++) worker_post(eng->worker[i], MAIL_STOP, NULL, 0);
    for (unsigned i = 0; i < eng->nworkers; i++) worker_quit(eng->worker[i]);
    app_stop(eng->app);
    spool_stop(eng->spool);
    for (unsigned i = 0; i < eng->nworkers; i++) worker_destroy(eng->worker[i]);
    decisions_stop(eng->decisions);
    access_stop(eng->access);
    remotelog_stop(eng->remotelog);
    probe_destroy(eng->probe);
    probe_table_finish(&eng->probes);
    generation_unref(eng->current);
    generation_bury(eng);
    banning_stop(eng);
    free(eng->last_reload);
    say(k, WIRE_DRAINED, "pid %d\n", (int)getpid());
}

static void ignore_terminal(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* the terminal sends these to the whole process group: the supervisor decides */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
}

static void init_engine(struct engine *eng) {
    eng->wire = WIRE_FD;
    eng->started_ms = clock_real_ms();
    pthread_mutex_init(&eng->lock, NULL);
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&eng->turned, &mono);
    backends_init(&eng->backends);
}

int engine_main(int argc, char **argv) {
    static struct control k;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--user") == 0) snprintf(k.user, sizeof k.user, "%s", argv[i + 1]);
    ignore_terminal();
    log_setup(STDERR_FILENO, false, LOG_LVL_INFO);
    init_engine(&k.eng);
    struct err e;
    if (!luadir_find(k.eng.luadir, sizeof k.eng.luadir, &e) || !probe_table_init(&k.eng.probes, &e)) {
        log_error("engine", "%s", e.text);
        return 1;
    }
    k.loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io_init(&k.wire, on_wire, WIRE_FD, EV_READ);
    ev_timer_init(&k.second, on_second, 0.1, 0.1);
    k.wire.data = k.second.data = &k;
    ev_io_start(k.loop, &k.wire);
    ev_timer_start(k.loop, &k.second);
    say(&k, WIRE_HELLO, "pid %d\nversion %s\n", (int)getpid(), PORTREEVE_VERSION);
    ev_run(k.loop, 0);
    end_engine(&k);
    ev_loop_destroy(k.loop);
    return 0;
}
