#include "super/holder.h"
#include "base/log.h"
#include "net/sock.h"
#include "plan/plan_check.h"
#include "super/foreign.h"
#include "super/held.h"
#include "super/room.h"
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned worker_count(const struct plan *p) {
    cpu_set_t set;
    if (p->set.workers > 0) return (unsigned)p->set.workers;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > (int)PLAN_MAX_WORKERS ? PLAN_MAX_WORKERS : (unsigned)n;
}

static bool read_plan(int fd, struct plan *out, struct err *e) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size <= 0) return err_set(e, "the planner left an empty plan");
    void *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (text == MAP_FAILED) return err_set(e, "cannot read the plan: %s", strerror(errno));
    struct err what;
    bool good = plan_decode(text, (size_t)st.st_size, out, &what) ||
                err_set(e, "%.200s: are portreeve and portreeve-engine of one version?", what.text);
    munmap(text, (size_t)st.st_size);
    if (good && !plan_check(out, e)) {
        plan_finish(out);
        good = false;
    }
    return good;
}

struct generation *generation_create(int bundle_fd, int plan_fd, struct err *e) {
    struct generation *g = calloc(1, sizeof *g);
    if (!g) {
        err_set(e, "out of memory for a generation");
        return NULL;
    }
    if (!read_plan(plan_fd, &g->plan, e)) {
        free(g);
        return NULL;
    }
    g->held = calloc(g->plan.nsockets ? g->plan.nsockets : 1, sizeof *g->held);
    g->proof = calloc(g->plan.nsockets ? g->plan.nsockets : 1, sizeof *g->proof);
    if (!g->held || !g->proof) {
        err_set(e, "out of memory for %u sockets", (unsigned)g->plan.nsockets);
        plan_finish(&g->plan);
        free(g->held);
        free(g->proof);
        free(g);
        return NULL;
    }
    g->bundle_fd = bundle_fd;
    g->plan_fd = plan_fd;
    g->workers = worker_count(&g->plan);
    return g;
}

static void close_fd(int fd) {
    if (fd >= 0) close(fd);
}

void generation_destroy(struct generation *g) {
    if (!g) return;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        if (g->held[i] && !g->committed) held_revert(g->held[i]);
        held_unref(g->held[i]);
    }
    free(g->held);
    free(g->proof);
    close_fd(g->bundle_fd);
    close_fd(g->plan_fd);
    steps_finish(&g->steps);
    plan_finish(&g->plan);
    free(g);
}

void generation_commit(struct generation *g) {
    for (uint32_t i = 0; i < g->plan.nsockets; i++)
        if (g->held[i]) held_commit(g->held[i]);
    g->committed = true;
}

void generation_mark(const struct generation *g) {
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        if (!g->held[i]) continue;
        g->held[i]->mark = g->number;
        g->held[i]->marked = i;
    }
}

void generation_retire(struct generation *old, const struct generation *g, struct held_retired *retired) {
    for (uint32_t i = 0; i < g->steps.n; i++) {
        const struct step *s = &g->steps.step[i];
        if (s->kind == STEP_DEAFEN && old->held[s->old]) held_retire(old->held[s->old], retired);
    }
}

static bool refused(const struct plan_socket *s, const char *why, struct err *e) {
    const struct plan_because *b = &s->because;
    return err_at(e, b->file[0] ? b->file : "built-in default", b->line, "%s%s%s", b->entry, b->entry[0] ? ": " : "", why);
}

/* The list of steps is what is done, so it is also what is told. */
static bool plan_steps(struct generation *g, const struct generation *old, struct err *e) {
    uint16_t *ports = old ? generation_ports(old) : NULL;
    bool good = (ports || !old) && steps_make(old ? &old->plan : NULL, ports, &g->plan, &g->steps);
    for (uint32_t i = 0; good && log_wants(LOG_LVL_DEBUG) && i < g->steps.n; i++) {
        struct buf text = {0};
        if (step_text(&g->steps.step[i], old ? &old->plan : NULL, ports, &g->plan, &text))
            log_debug("transition", "%.*s", (int)text.n, text.p);
        buf_free(&text);
    }
    free(ports);
    return good || err_set(e, "out of memory for comparing two plans");
}

/* Where the port is the kernel's choice, the two families of one listener get the same one if it is free in both. */
static uint16_t sibling_port(const struct generation *g, uint32_t i) {
    const struct plan_socket *s = &g->plan.socket[i];
    for (uint32_t j = 0; s->at.port == 0 && j < g->plan.nsockets; j++) {
        const struct plan_socket *o = &g->plan.socket[j];
        if (g->held[j] && o->at.port == 0 && o->at.family != s->at.family && o->at.udp == s->at.udp && strcmp(o->name, s->name) == 0)
            return g->held[j]->at.port;
    }
    return 0;
}

static bool widen(struct generation *g, uint32_t i, struct err *e) {
    struct err why;
    unsigned wanted = g->plan.socket[i].services & SVC_SHUTDOWN ? 1 : g->workers;
    return held_widen(g->held[i], wanted, &why) || refused(&g->plan.socket[i], why.text, e);
}

static bool keep(struct generation *g, const struct step *step, const struct held_others *others, bool *taken, struct err *e) {
    struct err why;
    uint32_t i = (uint32_t)step->now;
    g->held[i] = held_ref(others->old->held[step->old]);
    *taken = !held_alone(g->held[i], others, &why);
    return *taken ? refused(&g->plan.socket[i], why.text, e) : widen(g, i, e);
}

static bool open_new(struct generation *g, const struct step *step, const struct held_others *others, struct adopted *a, bool *taken,
                     struct err *e) {
    uint32_t i = (uint32_t)step->now;
    const struct plan_socket *s = &g->plan.socket[i];
    struct err why;
    struct held_wish w = {.at = s->at,
                          .backlog = (int)s->backlog,
                          .freebind = s->when_missing == MISSING_FREEBIND,
                          .beside = step->kind == STEP_JOIN,
                          .quiet = others->old != NULL};
    w.at.port = s->at.port ? s->at.port : sibling_port(g, i);
    g->held[i] = held_open(&w, others, a, taken, &why);
    if (!g->held[i] && w.at.port != s->at.port) {
        *taken = false;
        w.at.port = s->at.port;
        g->held[i] = held_open(&w, others, a, taken, &why);
    }
    return g->held[i] ? widen(g, i, e) : refused(s, why.text, e);
}

/* A port that the kernel chose is not in the plan: another socket of ours may have been given the same, and we would share it with ourselves. */
static bool apart(const struct generation *g, struct err *e) {
    bool chosen = false;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) chosen |= g->held[i] && g->plan.socket[i].at.port == 0;
    if (!chosen) return true;
    struct plan tried = g->plan;
    tried.socket = malloc(g->plan.nsockets * sizeof *tried.socket);
    if (!tried.socket) return err_set(e, "out of memory for comparing %u sockets", (unsigned)g->plan.nsockets);
    memcpy(tried.socket, g->plan.socket, g->plan.nsockets * sizeof *tried.socket);
    for (uint32_t i = 0; i < g->plan.nsockets; i++)
        if (g->held[i]) tried.socket[i].at.port = g->held[i]->at.port;
    bool good = plan_check(&tried, e);
    free(tried.socket);
    return good;
}

bool generation_bind(struct generation *g, const struct generation *old, struct adopted *a, const struct held_retired *retired, bool *taken,
                     struct err *e) {
    struct ports foreign;
    struct held_others others = {.foreign = &foreign, .old = old, .now = g, .retired = retired};
    *taken = false;
    steps_finish(&g->steps);
    if (!plan_steps(g, old, e) || !room_enough(g, old, e)) return false;
    foreign_read(&foreign, 0, false, &(struct mine){.old = old, .retired = retired, .adopted = a, .udp = plan_has_udp(&g->plan)});
    bool good = true;
    for (uint32_t i = 0; good && i < g->steps.n && g->steps.step[i].kind <= STEP_JOIN; i++) {
        const struct step *s = &g->steps.step[i];
        if (g->held[s->now]) continue; /* from a try before */
        good = s->kind == STEP_KEEP ? keep(g, s, &others, taken, e) : open_new(g, s, &others, a, taken, e);
    }
    ports_finish(&foreign);
    return good && apart(g, e);
}

bool generation_gone(const struct generation *g) {
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        const struct plan_socket *p = &g->plan.socket[i];
        if (!g->held[i] && !p->waiting && p->when_missing != MISSING_FREEBIND && !addr_is_any(&p->at) && !sock_here(&p->at)) return true;
    }
    return false;
}

bool generation_listen(struct generation *g, struct err *e) {
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        struct err why;
        if (g->held[i] && !held_listen(g->held[i], (int)g->plan.socket[i].backlog, &why)) return refused(&g->plan.socket[i], why.text, e);
    }
    return true;
}

uint16_t *generation_ports(const struct generation *g) {
    uint16_t *ports = calloc(g->plan.nsockets ? g->plan.nsockets : 1, sizeof *ports);
    for (uint32_t i = 0; ports && i < g->plan.nsockets; i++) ports[i] = g->held[i] ? g->held[i]->at.port : 0;
    return ports;
}
