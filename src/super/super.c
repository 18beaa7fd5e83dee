/* The supervisor's life, readable from top to bottom: set up, loop, leave. It holds what must survive and does as little as possible. */
#include "super/super.h"
#include "base/clock.h"
#include "base/log.h"
#include "super/ctlpath.h"
#include "super/dirs.h"
#include "super/pidfile.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLLS (CONTROL_CLIENTS + SHUTDOWN_CALLERS + PLAN_SHUTDOWNS + 8)

enum log_level super_log_level(void) {
    const char *debug = getenv("PORTREEVE_DEBUG");
    return debug && strcmp(debug, "1") == 0 ? LOG_LVL_DEBUG : LOG_LVL_INFO;
}

static void harden(void) {
    struct rlimit r;
    umask(0077);
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
    const char *dump = getenv("PORTREEVE_COREDUMP");
    if (dump && strcmp(dump, "1") == 0) return;
    r = (struct rlimit){0};
    (void)setrlimit(RLIMIT_CORE, &r);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static bool open_signals(struct super *s, struct err *e) {
    static const int wanted[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) sigaddset(&set, wanted[i]);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0) s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd >= 0 || err_set(e, "cannot set up signals: %s", strerror(errno));
}

static bool set_up(struct super *s, struct err *e) {
    if (s->opt.user && !account_find(s->opt.user, &s->user, e)) return false;
    if (geteuid() == 0) caps_bound(true, !s->user.name[0]); /* portreeve.ini may still name a user */
    if (!dirs_prepare(s->opt.state, &s->user, e)) return false;
    s->pid_fd = pidfile_take(s->opt.state, &s->unclean, e);
    if (s->pid_fd < 0 || !open_signals(s, e)) return false;
    s->counters_fd = counters_create(&s->counters, e);
    if (s->counters_fd < 0) return false;
    atomic_store(&s->counters->super.started_ms, s->since_ms);
    if (!remember_open(s, e)) return false;
    return control_open(s, e);
}

void super_stop(struct super *s, const char *who) {
    if (s->done) return;
    if (s->stopping) {
        log_notice("supervisor", "told again to stop, by %s: ending at once", who);
        engines_kill(s);
        s->done = true;
        return;
    }
    s->stopping = true;
    log_notice("supervisor", "stopping, told by %s: running requests are finished first", who);
    notify_say(&s->notify, "STOPPING=1\nSTATUS=finishing running requests");
    reload_cancel(s);
    engines_drain(s);
    generation_destroy(s->gen); /* callers are refused from now on; engines have what they need */
    s->gen = NULL;
    for (unsigned i = 0; i < 2; i++) s->engine[i].offer = NULL;
}

static void reap(struct super *s) {
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        if (pid == s->reload.planner.pid) reload_planner_ended(s, status);
        else if (pid == s->reserve.pid) reserve_ended(s, status);
        for (unsigned i = 0; i < 2; i++) {
            if (s->engine[i].phase != ENGINE_NONE && s->engine[i].pid == pid) engine_gone(s, &s->engine[i], status);
        }
    }
}

/* Who has done his work need not be waited for until the kernel has taken his memory back. He is reaped as nobody in particular. */
static void planner_heard(struct super *s) {
    planner_read(&s->reload.planner);
    if (planner_done(&s->reload.planner)) reload_planner_ended(s, 0);
}

static void take_signals(struct super *s) {
    struct signalfd_siginfo i;
    while (read(s->signal_fd, &i, sizeof i) == sizeof i) {
        switch (i.ssi_signo) {
        case SIGCHLD: reap(s); break;
        case SIGHUP: reload_ask(s, NULL, false, "SIGHUP"); break;
        case SIGUSR2: replace_ask(s); break;
        case SIGTERM:
        case SIGINT: super_stop(s, i.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM"); break;
        case SIGQUIT:
            if (!s->stopping) super_stop(s, "SIGQUIT");
            super_stop(s, "SIGQUIT");
            break;
        default: break;
        }
    }
}

static int timeout_of(const struct super *s, int64_t now) {
    int64_t first = control_deadline(s);
    const int64_t others[] = {
        s->engine[0].deadline, s->engine[1].deadline,
        s->restart_at,         s->follow.due,
        shutdown_deadline(s),  s->reload.planner.pid > 0 && !s->reload.planner.late ? s->reload.planner.deadline : NEVER,
        reload_deadline(s),    s->notify.watchdog_ms ? s->notify.next_ms : NEVER};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) first = others[i] < first ? others[i] : first;
    if (first == NEVER) return -1;
    if (first <= now) return 0;
    return first - now > 60000 ? 60000 : (int)(first - now);
}

static unsigned collect(struct super *s, struct pollfd *p) {
    unsigned n = 0;
    p[n++] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = s->reload.planner.out, .events = POLLIN};
    for (unsigned i = 0; i < 2; i++) p[n++] = (struct pollfd){.fd = s->engine[i].link, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = follow_fd(s), .events = POLLIN};
    n += shutdown_polls(s, p + n, POLLS - n);
    return n + control_polls(s, p + n, POLLS - n);
}

static void turn(struct super *s) {
    struct pollfd p[POLLS];
    unsigned n = collect(s, p);
    int r = poll(p, n, timeout_of(s, clock_mono_ms()));
    if (r < 0 && errno != EINTR) {
        log_error("supervisor", "poll: %s", strerror(errno));
        usleep(100000); /* out of memory is the only cause; it must not become a spin */
    }
    for (unsigned i = 0; r > 0 && i < n; i++) {
        if (!p[i].revents || p[i].fd < 0) continue;
        if (i == 0) take_signals(s);
        else if (i == 1 && p[i].fd == s->reload.planner.out) planner_heard(s);
        else if (i == 4 && p[i].fd == follow_fd(s)) follow_readable(s);
        else if (i >= 2 && i < 4 && p[i].fd == s->engine[i - 2].link) engine_readable(s, &s->engine[i - 2]);
        else if (i >= 5 && !shutdown_ready(s, &p[i])) control_ready(s, &p[i]);
    }
    int64_t now = clock_mono_ms();
    reload_tick(s, now);
    engines_tick(s, now);
    follow_tick(s, now);
    control_tick(s, now);
    shutdown_tick(s, now);
    notify_tick(&s->notify, now);
    reload_continue(s);
    if (s->stopping && engines_none(s)) s->done = true;
}

/* The run folder may belong to the engine's user, in whose name it must then be tidied. */
static void tidy(struct super *s) {
    if (geteuid() == 0 && s->user.name[0] && seteuid(s->user.uid) != 0) log_warn("supervisor", "the run folder is not tidied");
    ctlpath_unlink(s->opt.state);
    pidfile_drop(s->pid_fd);
}

static void leave(struct super *s) {
    engines_kill(s);
    planner_kill(&s->reload.planner);
    planner_kill(&s->reserve);
    if (s->reserve.pid > 0) {
        (void)waitpid(s->reserve.pid, NULL, 0);
        reserve_ended(s, 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (s->engine[i].phase != ENGINE_NONE && !s->engine[i].reaped) (void)waitpid(s->engine[i].pid, NULL, 0);
        if (s->engine[i].link >= 0) close(s->engine[i].link);
    }
    if (s->reload.planner.pid > 0) {
        struct planner_result r;
        (void)waitpid(s->reload.planner.pid, NULL, 0);
        planner_end(&s->reload.planner, 0, &r);
        planner_result_finish(&r);
    }
    generation_destroy(s->reload.next);
    generation_destroy(s->gen);
    adopted_finish(&s->adopted);
    follow_close(s);
    buf_free(&s->reload.text);
    buf_free(&s->reload.last.text);
    buf_free(&s->reload.result);
    settle_finish(&s->reload.settle);
    free(s->retired.s);
    program_close(&s->program);
    program_close(&s->self);
    program_close(&s->fresh);
    log_notice("supervisor", "ended");
    tidy(s);
    shutdown_close(s);
    control_close(s); /* last: `portreeve stop` waits for this */
}

int super_run(const struct options *o, const char *engine_path) {
    struct err e;
    struct super *s = calloc(1, sizeof *s);
    if (!s) {
        fprintf(stderr, "portreeve: out of memory\n");
        return EXIT_REFUSED;
    }
    *s = (struct super){.opt = *o,
                        .pid_fd = -1,
                        .signal_fd = -1,
                        .control_fd = -1,
                        .counters_fd = -1,
                        .recorder_fd = -1,
                        .recorder_look = -1,
                        .counters_look = -1,
                        .live = -1,
                        .replacing = -1,
                        .restart_at = NEVER,
                        .program = PROGRAM_NONE,
                        .self = PROGRAM_NONE,
                        .fresh = PROGRAM_NONE};
    snprintf(s->engine_path, sizeof s->engine_path, "%s", engine_path);
    ssize_t n = readlink("/proc/self/exe", s->self_path, sizeof s->self_path - 1);
    if (n < 0 || !program_open(&s->self, "/proc/self/exe", &e)) s->self_path[0] = 0;
    for (unsigned i = 0; i < 2; i++) s->engine[i] = (struct engine){.instance = i, .link = -1, .deadline = NEVER};
    s->since_ms = clock_real_ms();
    planner_init(&s->reload.planner);
    planner_init(&s->reserve);
    shutdown_init(s);
    log_setup(STDERR_FILENO, false, super_log_level());
    adopted_init(&s->adopted, notify_listen_fds());
    notify_init(&s->notify);
    harden();
    if (!program_take(&s->program, s->engine_path, &e) || !set_up(s, &e)) {
        fprintf(stderr, "portreeve: %s\n", e.text);
        free(s);
        return EXIT_REFUSED;
    }
    notify_say(&s->notify, "MAINPID=%ld\nSTATUS=reading the configuration", (long)getpid());
    follow_open(s); /* before the planner looks at the addresses: what changes meanwhile is not missed */
    reload_start_first(s);
    while (!s->done) turn(s);
    leave(s);
    int code = s->exit_code;
    free(s);
    return code;
}
