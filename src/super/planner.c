#include "super/planner.h"
#include "base/clock.h"
#include "plan/bundle.h"
#include "super/child.h"
#include "super/edit.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WALL_MS        60000
#define PLAN_MAX_BYTES (256 << 20)
#define ARGS           (16 + 2 * OPTIONS_SETS + 2 * EDIT_MOST)

void planner_init(struct planner *p) {
    *p = (struct planner){.out = -1, .bundle_fd = -1, .plan_fd = -1, .call = -1, .text = {.max = PLANNER_TEXT}};
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void arguments(const struct options *o, const char *how, char *const *edits, const char *argv[ARGS]) {
    unsigned n = 0;
    argv[n++] = "portreeve-engine";
    argv[n++] = "--plan";
    if (how) argv[n++] = how;
    argv[n++] = "--conf";
    argv[n++] = o->conf;
    if (o->policies) {
        argv[n++] = "--policies";
        argv[n++] = o->policies;
    }
    argv[n++] = "--state";
    argv[n++] = o->state;
    for (unsigned i = 0; i < o->nsets; i++) {
        argv[n++] = "--set";
        argv[n++] = o->set[i];
    }
    for (unsigned i = 0; edits && edits[i] && i < 2 * EDIT_MOST; i++) argv[n++] = edits[i];
    argv[n] = NULL;
}

/* p->bundle_fd is set; base_fd: -1 = none. */
static bool launch(struct planner *p, const struct planner_from *from, const char *const *argv, int base_fd, struct err *e) {
    int pipes[2] = {-1, -1};
    p->plan_fd = memfd_create("portreeve-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = p->bundle_fd >= 0 && p->plan_fd >= 0 && pipe2(pipes, O_CLOEXEC) == 0 && fcntl(pipes[0], F_SETFL, O_NONBLOCK) == 0;
    if (!good) err_set(e, "cannot prepare the planner: %s", strerror(errno));
    struct child_spec s = {.program = from->program->fd,
                           .path = from->path,
                           .argv = (char *const *)(uintptr_t)argv,
                           .out = pipes[1],
                           .err = pipes[1],
                           .fd = {p->bundle_fd, p->plan_fd, from->program->library, base_fd},
                           .nfds = base_fd < 0 ? 3 : 4,
                           .planner_limits = true,
                           .as = from->as->name[0] ? from->as : NULL};
    if (good) p->pid = child_spawn(&s, e);
    good = good && p->pid > 0;
    close_fd(&pipes[1]);
    p->out = pipes[0];
    p->deadline = clock_mono_ms() + WALL_MS;
    if (good) return true;
    close_fd(&p->out);
    close_fd(&p->bundle_fd);
    close_fd(&p->plan_fd);
    p->pid = 0;
    return false;
}

bool planner_start(struct planner *p, const struct planner_from *from, const struct options *o, int base_fd, struct err *e) {
    const char *argv[ARGS];
    arguments(o, base_fd < 0 ? NULL : "--beside", NULL, argv);
    p->bundle_fd = memfd_create("portreeve-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return launch(p, from, argv, base_fd, e);
}

bool planner_reserve(struct planner *p, const struct planner_from *from, const struct options *o, struct err *e) {
    const char *argv[ARGS];
    int pipes[2];
    p->program = *from->program;
    if (pipe2(pipes, O_CLOEXEC) != 0) return err_set(e, "cannot prepare the planner: %s", strerror(errno));
    arguments(o, "--reserve", NULL, argv);
    p->bundle_fd = memfd_create("portreeve-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = launch(p, from, argv, pipes[0], e);
    close(pipes[0]);
    p->call = pipes[1];
    p->deadline = INT64_MAX;
    if (!good) close_fd(&p->call);
    return good;
}

bool planner_call(struct planner *p, const struct program *now) {
    bool good = p->pid > 0 && p->call >= 0 && program_same(now, &p->program) && write(p->call, "!", 1) == 1;
    close_fd(&p->call);
    p->deadline = clock_mono_ms() + WALL_MS;
    return good;
}

bool planner_start_edited(struct planner *p, const struct planner_from *from, const struct options *o, int base_fd, char *const *edits,
                          struct err *e) {
    const char *argv[ARGS];
    arguments(o, "--again", edits, argv);
    p->bundle_fd = memfd_create("portreeve-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return launch(p, from, argv, base_fd, e);
}

bool planner_start_again(struct planner *p, const struct planner_from *from, int bundle_fd, struct err *e) {
    static const char *const argv[] = {"portreeve-engine", "--plan", "--again", NULL};
    p->bundle_fd = fcntl(bundle_fd, F_DUPFD_CLOEXEC, 3);
    return launch(p, from, argv, -1, e);
}

/* Reads on past the bound, so that a chatty planner never waits for us; what is beyond it is lost. */
void planner_read(struct planner *p) {
    char part[4096];
    while (p->out >= 0) {
        ssize_t n = read(p->out, part, sizeof part);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            close_fd(&p->out);
            return;
        }
        size_t room = PLANNER_TEXT - 1 - p->text.n, take = (size_t)n < room ? (size_t)n : room;
        if (take < (size_t)n || !buf_add(&p->text, part, take)) p->cut = true;
    }
}

void planner_kill(struct planner *p) {
    if (p->pid > 0) kill(p->pid, SIGKILL);
}

void planner_tick(struct planner *p, int64_t now_ms) {
    if (p->pid <= 0 || p->late || now_ms < p->deadline) return;
    p->late = true;
    planner_kill(p);
}

/* The first line may be `user NAME`: for us, not for people. */
static void take_user(struct buf *text, char *out, size_t cap) {
    static const char key[] = "user ";
    char *end = text->n > sizeof key - 1 && memcmp(text->p, key, sizeof key - 1) == 0 ? memchr(text->p, '\n', text->n) : NULL;
    if (!end) return;
    size_t n = (size_t)(end - text->p) - (sizeof key - 1);
    if (n < cap) {
        memcpy(out, text->p + sizeof key - 1, n);
        out[n] = 0;
    }
    buf_drop(text, (size_t)(end - text->p) + 1);
}

static bool sealed(int fd, uint64_t most) {
    struct stat st;
    int want = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    return fstat(fd, &st) == 0 && st.st_size > 0 && (uint64_t)st.st_size <= most && (fcntl(fd, F_GET_SEALS) & want) == want;
}

bool planner_done(const struct planner *p) {
    return p->pid > 0 && p->out < 0 && !p->late && sealed(p->bundle_fd, BUNDLE_MAX_BYTES) && sealed(p->plan_fd, PLAN_MAX_BYTES);
}

static void explain_death(const struct planner *p, int status, struct buf *text) {
    char how[64];
    child_status_text(status, how, sizeof how);
    bool added;
    if (p->late)
        added = buf_fmt(text, "the planner took longer than %d s and was ended; a policy or a policy test may loop\n", WALL_MS / 1000);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        added = buf_str(text, "the planner used more processor time than it may\n");
    else added = buf_fmt(text, "the planner died: %s\n", how);
    if (!added) buf_drop(text, 0);
}

void planner_end(struct planner *p, int status, struct planner_result *r) {
    planner_read(p);
    close_fd(&p->out);
    close_fd(&p->call);
    *r = (struct planner_result){.bundle_fd = -1, .plan_fd = -1, .text = p->text};
    r->text.max = PLANNER_TEXT + 1024;
    take_user(&r->text, r->user, sizeof r->user);
    bool exited = WIFEXITED(status) && !p->late;
    bool good = true;
    if (exited && WEXITSTATUS(status) == 0) {
        r->ok = sealed(p->bundle_fd, BUNDLE_MAX_BYTES) && sealed(p->plan_fd, PLAN_MAX_BYTES);
        if (!r->ok)
            good =
                buf_str(&r->text, "the planner ended well but left no sealed plan; are portreeve and portreeve-engine of one version?\n");
    } else if (exited && WEXITSTATUS(status) == 1) {
        if (r->text.n == 0) good = buf_str(&r->text, "the planner refused and did not say why\n");
    } else {
        explain_death(p, status, &r->text);
    }
    if (p->cut && good) good = buf_str(&r->text, "… (the rest of the report was longer than is kept)\n");
    if (!good || !buf_add(&r->text, "", 1)) r->ok = false;
    else r->text.n--;
    if (r->ok) {
        r->bundle_fd = p->bundle_fd;
        r->plan_fd = p->plan_fd;
        p->bundle_fd = p->plan_fd = -1;
    }
    close_fd(&p->bundle_fd);
    close_fd(&p->plan_fd);
    planner_init(p);
}

void planner_result_finish(struct planner_result *r) {
    close_fd(&r->bundle_fd);
    close_fd(&r->plan_fd);
    buf_free(&r->text);
}
