/* The life of engine processes. One serves (s->live); a second exists while it is being replaced. Whatever an engine does, the sockets
 * and the committed generation stay here, and the next engine gets them. */
#include "base/clock.h"
#include "base/log.h"
#include "plan/wire.h"
#include "super/child.h"
#include "super/super.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HELLO_MS         30000
#define PREPARE_MS       30000
#define COMMIT_MS        10000
#define DRAIN_SLACK_MS   2000
#define SEND_MS          3000
#define STEADY_MS        500 /* an engine that served this long is restarted at once; one that did not is restarted with back-off */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS  10000
#define MESSAGES_A_TURN  64
#define TEXT_MOST        30000

static void close_link(struct engine *en) {
    if (en->link >= 0) close(en->link);
    en->link = -1;
}

static void kill_it(struct engine *en) {
    if (en->pid > 0 && !en->reaped) kill(en->pid, SIGKILL);
}

/* One that asks and does not read what it is told would hold us up at every answer: it is not waited for twice. */
bool engine_send(struct engine *en, uint32_t type, const char *text, size_t n) {
    struct err e;
    if (en->link < 0) return false;
    if (fdlink_send(en->link, type, text, n, NULL, 0, SEND_MS, &e)) return true;
    log_error("engine", "engine %ld is ended: %s", (long)en->pid, e.text);
    close_link(en);
    kill_it(en);
    return false;
}

static bool send_text(struct engine *en, uint32_t type, const char *text) {
    return engine_send(en, type, text, strlen(text));
}

static bool send_generation(struct engine *en, uint32_t type) {
    char text[48];
    snprintf(text, sizeof text, "generation %" PRIu64 "\n", en->offer ? en->offer->number : 0);
    return send_text(en, type, text);
}

static void enter(struct engine *en, enum engine_phase phase, int64_t ms) {
    en->phase = phase;
    en->deadline = ms < 0 ? NEVER : clock_mono_ms() + ms;
}

void engines_kill(struct super *s) {
    for (unsigned i = 0; i < 2; i++) kill_it(&s->engine[i]);
}

/* End an engine that does not do its part. What takes its place is decided when it has been reaped. */
static void end_engine(struct super *s, struct engine *en, const char *why) {
    bool reload = s->reload.phase == RELOAD_OFFERED && en->offer == s->reload.next;
    if (en->phase == ENGINE_DYING) return;
    log_error("engine", "engine %ld is ended: %s", (long)en->pid, why);
    kill_it(en);
    en->phase = ENGINE_DYING;
    en->deadline = NEVER;
    en->offer = NULL;
    if (s->live == (int)en->instance) s->live = -1;
    if (en->fresh) replace_failed(s, why);
    en->fresh = false;
    if (reload) reload_failed(s, why);
}

bool engines_none(const struct super *s) {
    return s->engine[0].phase == ENGINE_NONE && s->engine[1].phase == ENGINE_NONE;
}

static bool spawn(struct super *s, struct engine *en, int link, struct err *e) {
    char *argv[] = {"portreeve-engine", "--engine", "--user", s->user.name, NULL};
    if (!s->user.name[0] || geteuid() != 0) argv[2] = NULL;
    const struct program *p = en->fresh ? &s->fresh : &s->program;
    struct child_spec c = {.program = p->fd, .path = s->engine_path, .argv = argv, .out = 1, .err = 2, .fd = {link, -1}, .nfds = 1};
    en->pid = child_spawn(&c, e);
    return en->pid > 0;
}

bool engine_start(struct super *s, unsigned slot, struct generation *offer, struct err *e) {
    struct engine *en = &s->engine[slot];
    int pair[2];
    if (!fdlink_pair(pair, e)) return false;
    *en = (struct engine){.instance = slot, .link = pair[0], .offer = offer, .deadline = NEVER, .fresh = s->fresh.fd >= 0};
    counters_reset_live(s->counters, slot);
    bool good = fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0 && spawn(s, en, pair[1], e);
    close(pair[1]);
    if (!good) {
        close_link(en);
        *en = (struct engine){.instance = slot, .link = -1, .deadline = NEVER};
        return false;
    }
    atomic_fetch_add(&s->counters->super.engine_starts, 1);
    enter(en, ENGINE_STARTING, HELLO_MS);
    log_info("engine", "engine %ld started in slot %u", (long)en->pid, slot);
    return true;
}

void engine_tell_last(struct super *s, struct engine *en) {
    struct buf json = {0};
    bool good = false;
    for (size_t most = TEXT_MOST; !good && most > 0; most /= 2) { /* escapes may make it longer than a message */
        buf_clear(&json);
        good = status_last_reload(s, most, &json) && json.n <= FDLINK_DATA && buf_add(&json, "", 1);
    }
    if (good) send_text(en, WIRE_LAST_RELOAD, json.p);
    buf_free(&json);
}

void engine_answer(struct super *s, const struct waiter *w, bool ok, const char *text) {
    char payload[TEXT_MOST + 64];
    for (unsigned i = 0; i < 2; i++) {
        struct engine *en = &s->engine[i];
        if (en->phase == ENGINE_NONE || en->pid != w->pid) continue;
        snprintf(payload, sizeof payload, "id %" PRIu64 "\nok %d\n\n%.*s", w->id, ok ? 1 : 0, TEXT_MOST, text);
        send_text(en, WIRE_RELOAD_RESULT, payload);
    }
}

bool engine_offer(struct super *s, struct engine *en, struct generation *g) {
    struct err e;
    const struct generation *base = s->gen && s->gen != g && en->serves == s->gen->number ? s->gen : NULL;
    en->offer = g;
    if (generation_offer(g, base, en->link, &e)) {
        enter(en, ENGINE_PREPARING, PREPARE_MS);
        return true;
    }
    end_engine(s, en, e.text);
    return false;
}

static void said_hello(struct super *s, struct engine *en) {
    char text[sizeof s->opt.state + 4200];
    struct err e;
    if (en->phase != ENGINE_STARTING) return;
    wire_text(s->msg.data, "version", en->version, sizeof en->version);
    if (!replace_may_speak(en, s->msg.data, e.text, sizeof e.text)) {
        end_engine(s, en, e.text);
        return;
    }
    int n = snprintf(text, sizeof text, "instance %u\nstate %.4096s\n%s", en->instance, s->opt.state, s->live >= 0 ? "beside 1\n" : "");
    const int fds[] = {s->counters_fd, s->recorder_fd, en->fresh ? s->fresh.library : s->program.library};
    if (!fdlink_send(en->link, WIRE_SETUP, text, (size_t)n, fds, 3, SEND_MS, &e)) {
        end_engine(s, en, e.text);
        return;
    }
    engine_tell_last(s, en);
    if (en->offer) engine_offer(s, en, en->offer);
}

/* An engine could not take what it was offered. One that serves goes on serving what it has; another is of no use. */
static void could_not(struct super *s, struct engine *en, const char *why) {
    bool reload = s->reload.phase == RELOAD_OFFERED && en->offer == s->reload.next;
    if (!en->serving) {
        end_engine(s, en, why);
        return;
    }
    send_generation(en, WIRE_ABORT);
    en->serves = 0; /* the next offer names nothing by what this engine should have */
    en->offer = s->gen;
    enter(en, ENGINE_LIVE, -1);
    if (reload) reload_failed(s, why);
}

/* Is this the answer to what is on offer? */
static bool about_offer(const struct super *s, const struct engine *en, enum engine_phase phase) {
    uint64_t number = 0;
    return en->phase == phase && en->offer && wire_number(s->msg.data, "generation", &number) && number == en->offer->number;
}

static void said_prepared(struct super *s, struct engine *en) {
    struct err e;
    if (!about_offer(s, en, ENGINE_PREPARING)) return;
    if (!reload_may_commit(s, en->offer, &e) || !generation_listen(en->offer, &e)) {
        could_not(s, en, e.text);
        return;
    }
    if (!s->gen) remember_generation(s, en->offer);
    if (send_generation(en, WIRE_COMMIT)) enter(en, ENGINE_COMMITTING, COMMIT_MS);
    else end_engine(s, en, "it does not take messages");
}

static void drain(struct super *s, struct engine *en) {
    char text[64];
    int64_t ms = s->gen ? s->gen->plan.set.drain_ms : 0;
    snprintf(text, sizeof text, "ms %" PRId64 "\n%s", ms, s->stopping ? "close 1\n" : "");
    if (!send_text(en, WIRE_DRAIN, text)) kill_it(en);
    enter(en, ENGINE_DRAINING, ms + DRAIN_SLACK_MS);
}

static void took_over(struct super *s, struct engine *en) {
    s->replacing = -1;
    prove_forget(s);
    for (unsigned i = 0; i < 2; i++) {
        struct engine *old = &s->engine[i];
        if (old == en || old->phase == ENGINE_NONE || old->phase == ENGINE_DRAINING) continue;
        log_notice("engine", "engine %ld has taken over from engine %ld, which finishes what it has", (long)en->pid, (long)old->pid);
        drain(s, old);
    }
}

static void said_committed(struct super *s, struct engine *en) {
    if (!about_offer(s, en, ENGINE_COMMITTING)) return;
    uint64_t number = en->offer->number;
    if (!en->serving) en->live_since = clock_mono_ms();
    en->serving = true;
    en->serves = number;
    enter(en, ENGINE_LIVE, -1);
    s->live = (int)en->instance;
    replace_over(s, en);
    if (s->replacing == (int)en->instance) took_over(s, en);
    if (s->reload.phase == RELOAD_OFFERED && en->offer == s->reload.next) reload_done(s);
    prove_ask(s);
    log_info("engine", "engine %ld serves generation %" PRIu64, (long)en->pid, number);
}

static void said_failed(struct super *s, struct engine *en) {
    char why[TEXT_MOST + 1];
    if (!about_offer(s, en, ENGINE_PREPARING)) return;
    snprintf(why, sizeof why, "%s", wire_body(s->msg.data));
    could_not(s, en, why[0] ? why : "the engine refused the generation and did not say why");
}

static void said_reload(struct super *s, struct engine *en) {
    struct waiter w = {.engine = true, .pid = en->pid};
    uint64_t force = 0;
    if (!wire_number(s->msg.data, "id", &w.id)) return;
    reload_ask(s, &w, wire_number(s->msg.data, "force", &force) && force, "the engine's console");
}

static void said_edit(struct super *s, const struct engine *en) {
    struct waiter w = {.engine = true, .pid = en->pid};
    struct err e;
    if (!wire_number(s->msg.data, "id", &w.id)) return;
    struct edit *d = edit_parse(s->msg.data, &e);
    if (!d) {
        log_warn("edit", "refused: %s", e.text);
        engine_answer(s, &w, false, e.text);
        return;
    }
    d->pid = en->pid;
    d->id = w.id;
    reload_edit(s, d);
}

static void dispatch(struct super *s, struct engine *en) {
    for (unsigned i = 0; i < s->msg.nfds; i++) close(s->msg.fds[i]); /* engines have no business sending any */
    switch ((enum wire_type)s->msg.type) {
    case WIRE_HELLO: said_hello(s, en); break;
    case WIRE_PREPARED: said_prepared(s, en); break;
    case WIRE_FAILED: said_failed(s, en); break;
    case WIRE_COMMITTED: said_committed(s, en); break;
    case WIRE_RELOAD: said_reload(s, en); break;
    case WIRE_EDIT: said_edit(s, en); break;
    case WIRE_DRAINED: break; /* its exit is what counts */
    case WIRE_QUIET:
        en->quiet = true;
        prove_ask(s);
        break;
    case WIRE_PROOFS: prove_heard(s, en); break;
    case WIRE_REHEARSED: rehearse_heard(s, en); break;
    default: log_warn("engine", "engine %ld sent a message of unknown type %u", (long)en->pid, (unsigned)s->msg.type);
    }
}

void engine_readable(struct super *s, struct engine *en) {
    struct err e;
    for (int i = 0; i < MESSAGES_A_TURN && en->link >= 0; i++) {
        int r = fdlink_recv(en->link, &s->msg, &e);
        if (r > 0) {
            dispatch(s, en);
            continue;
        }
        if (r < 0 && errno == EAGAIN) return;
        close_link(en); /* without its link it can do nothing for us; a draining one has until its deadline */
        if (r < 0) end_engine(s, en, e.text);
        else if (en->phase != ENGINE_DRAINING) kill_it(en); /* it is dying already, mostly: its status will say of what */
    }
}

static void plan_restart(struct super *s, bool steady) {
    if (s->stopping || !s->gen) return;
    if (steady) s->backoff_ms = 0;
    s->restart_at = clock_mono_ms() + s->backoff_ms;
    if (s->backoff_ms) log_warn("engine", "the next engine starts in %" PRId64 " ms", s->backoff_ms);
    s->backoff_ms = s->backoff_ms == 0 ? BACKOFF_FIRST_MS : s->backoff_ms * 2;
    if (s->backoff_ms > BACKOFF_MOST_MS) s->backoff_ms = BACKOFF_MOST_MS;
}

/* Who was it, and who takes its place? */
static void succeed(struct super *s, const struct engine *was, const char *how) {
    struct engine *other = &s->engine[!was->instance];
    char why[160];
    bool steady = was->serving && clock_mono_ms() - was->live_since >= STEADY_MS;
    if (s->live == (int)was->instance) {
        s->live = -1;
        prove_forget(s);
    }
    if (s->replacing == (int)was->instance) s->replacing = -1;
    snprintf(why, sizeof why, "the engine died while it took up the new generation (%s)", how);
    if (s->reload.phase == RELOAD_OFFERED && was->offer == s->reload.next) reload_failed(s, why);
    if (s->done || s->stopping) return;
    if (was->fresh) {
        snprintf(why, sizeof why, "the program on disk ended before it was ready (%s; the log says why)", how);
        replace_failed(s, why);
    }
    if (s->live >= 0) return;
    if (other->phase == ENGINE_NONE || other->phase == ENGINE_DRAINING) {
        plan_restart(s, steady);
    } else {
        s->replacing = -1; /* the one that was to replace it is simply next */
    }
}

void engine_gone(struct super *s, struct engine *en, int status) {
    char how[64];
    child_status_text(status, how, sizeof how);
    en->reaped = true;
    counters_engine_ended(s->counters, en->instance); /* its locks */
    engine_readable(s, en);                           /* its last words may explain it, and COMMITTED may be among them */
    struct engine was = *en;
    close_link(en);
    *en = (struct engine){.instance = was.instance, .link = -1, .deadline = NEVER};
    if (was.phase == ENGINE_DRAINING) {
        log_info("engine", "engine %ld has finished (%s)", (long)was.pid, how);
        if (s->live == (int)was.instance) s->live = -1;
        if (!was.quiet) prove_ask(s);
        return;
    }
    atomic_fetch_add(&s->counters->super.engine_crashes, 1);
    log_error("engine", "engine %ld ended: %s", (long)was.pid, how);
    succeed(s, &was, how);
}

static void restart(struct super *s) {
    struct err e;
    unsigned slot = s->engine[0].phase == ENGINE_NONE ? 0 : 1;
    s->restart_at = NEVER;
    if (s->engine[slot].phase != ENGINE_NONE) { /* the other one drains and this one does not go: wait for either */
        s->restart_at = clock_mono_ms() + BACKOFF_FIRST_MS;
        return;
    }
    if (engine_start(s, slot, s->gen, &e)) {
        s->restarts++;
        return;
    }
    if (s->fresh.fd >= 0) replace_failed(s, e.text);
    else log_error("engine", "%s", e.text);
    plan_restart(s, false);
}

void engines_tick(struct super *s, int64_t now) {
    for (unsigned i = 0; i < 2; i++) {
        struct engine *en = &s->engine[i];
        if (en->phase == ENGINE_NONE || now < en->deadline) continue;
        en->deadline = NEVER;
        if (en->phase == ENGINE_PREPARING) could_not(s, en, "the engine did not prepare the new generation within 30 s");
        else if (en->phase == ENGINE_STARTING) end_engine(s, en, "the engine did not report within 30 s");
        else if (en->phase == ENGINE_COMMITTING) end_engine(s, en, "the engine did not commit the new generation within 10 s");
        else if (en->phase == ENGINE_DRAINING) {
            log_error("engine", "engine %ld is ended: it did not finish in time", (long)en->pid);
            kill_it(en);
        }
    }
    if (now >= s->restart_at) restart(s);
}

void engines_drain(struct super *s) {
    s->restart_at = NEVER;
    s->replace_wanted = false;
    for (unsigned i = 0; i < 2; i++) {
        struct engine *en = &s->engine[i];
        if (en->phase == ENGINE_NONE) continue;
        if (en->serving && en->phase != ENGINE_DRAINING) drain(s, en);
        else if (!en->serving) kill_it(en);
    }
}
