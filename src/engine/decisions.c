/* The thread that tells of decisions, and whose turn it is to tell. */
#include "engine/decisions.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/decision_file.h"
#include "engine/refusal_log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NAP_MS  20   /* after each look: a flood wakes this thread so often a second and no oftener */
#define IDLE_MS 1000 /* nothing has come: floods that are over are told */
#define TURN_MS 200  /* how often it is tried whether it is our turn */
#define AT_ONCE 4096 /* decisions between two looks at what else is to be done */

enum { LOG_NONE, LOG_REFUSALS, LOG_ALL }; /* DecisionLog */

struct decisions {
    struct recorder *recorder;
    pthread_t thread;
    int event, lock; /* lock: the log folder; who has it locked tells */
    _Atomic bool armed, stop, rest;
    _Atomic int mode;
    _Atomic bool changed;
    pthread_mutex_t guard; /* bytes, files */
    uint64_t bytes;
    unsigned files;
    _Atomic uint64_t missed;

    struct recorder_tail *tail; /* the thread's own; NULL = not our turn */
    struct decision_file file;
    struct refusal_log refusals;
};

static bool our_turn(struct decisions *d) {
    if (atomic_load(&d->rest)) return false;
    if (d->tail) return true;
    if (flock(d->lock, LOCK_EX | LOCK_NB) != 0) return false;
    d->tail = recorder_tail_create(d->recorder);
    if (d->tail) return true;
    flock(d->lock, LOCK_UN);
    return false;
}

static void give_up(struct decisions *d) {
    if (!d->tail) return;
    recorder_tail_destroy(d->tail);
    d->tail = NULL;
    decision_file_flush(&d->file);
    decision_file_close(&d->file);
    refusal_log_sweep(&d->refusals, 0, true);
    flock(d->lock, LOCK_UN);
}

static void take_settings(struct decisions *d) {
    if (!atomic_exchange(&d->changed, false)) return;
    pthread_mutex_lock(&d->guard);
    decision_file_settings(&d->file, d->bytes, d->files);
    pthread_mutex_unlock(&d->guard);
}

/* Returns how many there were. */
static unsigned tell(struct decisions *d) {
    struct decision one;
    uint64_t missed = 0;
    unsigned n = 0;
    int mode = atomic_load(&d->mode);
    int64_t now = clock_mono_ms();
    take_settings(d);
    for (; n < AT_ONCE && recorder_tail_next(d->tail, &one, &missed); n++) {
        if (one.verdict != VERDICT_ALLOW) refusal_log_say(&d->refusals, &one, now);
        if (mode == LOG_ALL || (mode == LOG_REFUSALS && one.verdict != VERDICT_ALLOW))
            decision_file_put(&d->file, &one, recorder_run(d->recorder), now, mode == LOG_ALL);
    }
    if (missed) atomic_fetch_add(&d->missed, missed);
    if (mode != LOG_NONE) decision_file_missed(&d->file, mode == LOG_ALL ? missed : 0);
    decision_file_flush(&d->file);
    refusal_log_sweep(&d->refusals, now, false);
    return n;
}

static void doze(struct decisions *d, int ms) {
    struct pollfd p = {.fd = d->event, .events = POLLIN};
    uint64_t n;
    if (poll(&p, 1, ms) > 0 && read(d->event, &n, sizeof n) < 0) return;
}

static void *decisions_main(void *arg) {
    struct decisions *d = arg;
    const struct timespec nap = {.tv_nsec = NAP_MS * 1000000};
    pthread_setname_np(pthread_self(), "decisions");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), 10); /* behind those who serve */
    while (!atomic_load(&d->stop)) {
        if (!our_turn(d)) {
            give_up(d);
            doze(d, TURN_MS);
            continue;
        }
        if (tell(d) == 0) {
            atomic_store(&d->armed, true);
            if (tell(d) == 0) doze(d, IDLE_MS);
            atomic_store(&d->armed, false);
        }
        nanosleep(&nap, NULL);
    }
    while (our_turn(d) && tell(d) > 0) continue;
    give_up(d);
    return NULL;
}

static bool open_all(struct decisions *d, const char *state_dir, struct err *e) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/log", state_dir);
    decision_file_init(&d->file, dir);
    d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return (d->event >= 0 && d->lock >= 0) || err_set(e, "%s: %s", dir, strerror(errno));
}

static void discard(struct decisions *d) {
    if (d->event >= 0) close(d->event);
    if (d->lock >= 0) close(d->lock);
    decision_file_finish(&d->file);
    pthread_mutex_destroy(&d->guard);
    free(d);
}

struct decisions *decisions_start(struct recorder *r, const char *state_dir, struct err *e) {
    struct decisions *d = calloc(1, sizeof *d);
    if (!d) return (void)err_set(e, "out of memory"), NULL;
    d->recorder = r;
    d->event = d->lock = -1;
    pthread_mutex_init(&d->guard, NULL);
    bool good = open_all(d, state_dir, e);
    if (good && pthread_create(&d->thread, NULL, decisions_main, d) != 0)
        good = err_set(e, "the thread of the decisions' log cannot be started");
    if (good) return d;
    discard(d);
    return NULL;
}

void decisions_settings(struct decisions *d, const struct plan_settings *set) {
    pthread_mutex_lock(&d->guard);
    d->bytes = (uint64_t)set->decision_bytes;
    d->files = (unsigned)set->decision_files;
    pthread_mutex_unlock(&d->guard);
    atomic_store(&d->mode, (int)set->decision_log);
    atomic_store(&d->changed, true);
}

void decisions_wake(struct decisions *d, bool refused) {
    if (!refused && atomic_load_explicit(&d->mode, memory_order_relaxed) != LOG_ALL) return;
    if (!atomic_load_explicit(&d->armed, memory_order_relaxed) || !atomic_exchange(&d->armed, false)) return;
    const uint64_t one = 1;
    if (write(d->event, &one, sizeof one) < 0) return; /* full: it is awake */
}

void decisions_rest(struct decisions *d) {
    atomic_store(&d->rest, true);
    const uint64_t one = 1;
    if (write(d->event, &one, sizeof one) < 0) return;
}

void decisions_stop(struct decisions *d) {
    if (!d) return;
    atomic_store(&d->stop, true);
    const uint64_t one = 1;
    if (write(d->event, &one, sizeof one) < 0) log_debug("decisions", "%s", strerror(errno));
    pthread_join(d->thread, NULL);
    discard(d);
}

bool decisions_json(struct decisions *d, struct buf *out) {
    struct recorder_stats s;
    recorder_stats(d->recorder, &s);
    return buf_fmt(
        out, "{\"room\":%" PRIu32 ",\"lost\":%" PRIu64 ",\"missed\":%" PRIu64 ",\"file_dropped\":%" PRIu64 ",\"file_bytes\":%" PRIu64 "}",
        s.room, s.lost, atomic_load(&d->missed), atomic_load(&d->file.dropped), atomic_load(&d->file.size));
}
