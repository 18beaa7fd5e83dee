#include "engine/control.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/access.h"
#include "engine/app.h"
#include "engine/ask.h"
#include "engine/banning.h"
#include "engine/console.h"
#include "engine/control_i.h"
#include "engine/decisions.h"
#include "engine/harden.h"
#include "engine/probe.h"
#include "engine/remotelog.h"
#include "engine/welcome.h"
#include "engine/worker.h"
#include "plan/format.h"
#include "plan/library.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WIRE_FD 3
#define SEND_MS 10000

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

void control_say(struct control *k, uint32_t type, const char *fmt, ...) {
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct err e;
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (!fdlink_send(k->eng.wire, type, text, len, NULL, 0, SEND_MS, &e)) log_error("engine", "the supervisor cannot be told: %s", e.text);
}

/* ---- messages ---- */

static void setup(struct control *k, struct fdlink_msg *m) {
    struct engine *eng = &k->eng;
    struct err e;
    uint64_t instance = 0, beside = 0;
    bool fine = m->nfds == 3 && wire_number(m->data, "instance", &instance) && instance < 2 &&
                wire_text(m->data, "state", eng->state_dir, sizeof eng->state_dir);
    if (!fine) err_set(&e, "the supervisor's set-up message is not understood");
    fine = fine && (eng->counters = counters_map(m->fds[0], &e)) && (eng->recorder = recorder_map(m->fds[1], false, &e)) &&
           library_open(m->fds[2], &e);
    for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
    char socket[512];
    snprintf(socket, sizeof socket, "%s/run/console.sock", eng->state_dir);
    fine = fine && harden_engine(k->user[0] ? k->user : NULL, eng->state_dir, eng->luadir, &e);
    eng->instance = (unsigned)(instance & 1);
    eng->beside = wire_number(m->data, "beside", &beside) && beside;
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
    if (eng->current) control_all(eng, MAIL_RETIRE, NULL); /* the supervisor has closed what it no longer wants: now ours may go */
    if (eng->current && !k->welcomed && atomic_load(&eng->counters->super.engine_starts) <= 1)
        welcome(eng, eng->current); /* below the table of sockets */
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
    case WIRE_GEN_BEGIN: control_begin(k, m); return;
    case WIRE_GEN_SOCKETS: control_sockets(k, m); return;
    case WIRE_GEN_KEPT: control_kept(k, m); return;
    case WIRE_GEN_END: control_prepare(k, id); return;
    case WIRE_REHEARSE: control_rehearse(k, m); return;
    case WIRE_COMMIT: control_commit(k, id); return;
    case WIRE_ABORT: control_throw(k); return;
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
    if (r == 1) take_message(k, &k->msg);
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
        control_say(k, WIRE_QUIET, "pid %d\n", (int)getpid());
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
    control_throw(k);
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
    control_say(k, WIRE_DRAINED, "pid %d\n", (int)getpid());
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
    if (!probe_table_init(&k.eng.probes, &e)) {
        log_error("engine", "%s", e.text);
        return 1;
    }
    k.loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io_init(&k.wire, on_wire, WIRE_FD, EV_READ);
    ev_timer_init(&k.second, on_second, 0.1, 0.1);
    k.wire.data = k.second.data = &k;
    ev_io_start(k.loop, &k.wire);
    ev_timer_start(k.loop, &k.second);
    control_say(&k, WIRE_HELLO, "pid %d\nversion %s\nformat %u\n", (int)getpid(), PORTREEVE_VERSION, (unsigned)format_number());
    ev_run(k.loop, 0);
    end_engine(&k);
    ev_loop_destroy(k.loop);
    return 0;
}
