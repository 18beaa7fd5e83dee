#include "super/holder.h"
#include "net/sock.h"
#include "plan/plan_check.h"
#include "super/held.h"
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
    bool good = plan_decode(text, (size_t)st.st_size, out, e);
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
    generation_mark(g);
    for (uint32_t i = 0; i < old->plan.nsockets; i++) {
        if (old->held[i] && old->held[i]->mark != g->number) held_retire(old->held[i], retired);
    }
}

static bool keep_matching(struct generation *g, const struct generation *old, struct err *e) {
    uint32_t n = g->plan.nsockets, m = old->plan.nsockets;
    int32_t *keep = calloc(n ? n : 1, sizeof *keep);
    bool *used = calloc(m ? m : 1, sizeof *used);
    uint16_t *bound = generation_ports(old);
    bool good = keep && used && bound && plan_match(&old->plan, bound, &g->plan, keep, used);
    if (good) {
        for (uint32_t i = 0; i < n; i++) {
            if (keep[i] >= 0 && old->held[keep[i]]) g->held[i] = held_ref(old->held[keep[i]]);
        }
    } else {
        err_set(e, "out of memory for comparing two plans");
    }
    free(keep);
    free(used);
    free(bound);
    return good;
}

/* Where the port is the kernel's choice, the two families of one listener get the same one if it is free in both. */
static uint16_t sibling_port(const struct generation *g, uint32_t i) {
    const struct plan_socket *s = &g->plan.socket[i];
    for (uint32_t j = 0; s->at.port == 0 && j < g->plan.nsockets; j++) {
        const struct plan_socket *o = &g->plan.socket[j];
        if (g->held[j] && o->at.port == 0 && o->at.family != s->at.family && strcmp(o->name, s->name) == 0) return g->held[j]->at.port;
    }
    return 0;
}

static bool widen(struct generation *g, uint32_t i, struct err *e) {
    struct err why;
    if (held_widen(g->held[i], g->workers, &why)) return true;
    const struct plan_because *b = &g->plan.socket[i].because;
    return err_at(e, b->file[0] ? b->file : "built-in default", b->line, "%s%s%s", b->entry, b->entry[0] ? ": " : "", why.text);
}

static bool open_new(struct generation *g, uint32_t i, const struct held_others *others, struct adopted *a, bool *taken, struct err *e) {
    const struct plan_socket *s = &g->plan.socket[i];
    struct err why;
    struct addr at = s->at;
    at.port = at.port ? at.port : sibling_port(g, i);
    g->held[i] = held_open(&at, (int)s->backlog, s->when_missing == MISSING_FREEBIND, others, a, taken, &why);
    if (!g->held[i] && at.port != s->at.port) {
        *taken = false;
        g->held[i] = held_open(&s->at, (int)s->backlog, s->when_missing == MISSING_FREEBIND, others, a, taken, &why);
    }
    if (g->held[i]) return widen(g, i, e);
    return err_at(e, s->because.file[0] ? s->because.file : "built-in default", s->because.line, "%s%s%s", s->because.entry,
                  s->because.entry[0] ? ": " : "", why.text);
}

bool generation_bind(struct generation *g, const struct generation *old, struct adopted *a, const struct held_retired *retired, bool *taken,
                     struct err *e) {
    struct held_others others = {.old = old ? old->held : NULL,
                                 .nold = old ? old->plan.nsockets : 0,
                                 .now = g->held,
                                 .nnow = g->plan.nsockets,
                                 .retired = retired};
    *taken = false;
    if (old && !keep_matching(g, old, e)) return false;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        if (g->held[i] && !widen(g, i, e)) return false;
    }
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        if (!g->held[i] && !g->plan.socket[i].waiting && !open_new(g, i, &others, a, taken, e)) return false;
    }
    return true;
}

bool generation_listen(struct generation *g, struct err *e) {
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        const struct plan_socket *s = &g->plan.socket[i];
        struct err why;
        if (g->held[i] && !held_listen(g->held[i], (int)s->backlog, &why)) {
            return err_at(e, s->because.file[0] ? s->because.file : "built-in default", s->because.line, "%s%s%s", s->because.entry,
                          s->because.entry[0] ? ": " : "", why.text);
        }
    }
    return true;
}

uint16_t *generation_ports(const struct generation *g) {
    uint16_t *ports = calloc(g->plan.nsockets ? g->plan.nsockets : 1, sizeof *ports);
    for (uint32_t i = 0; ports && i < g->plan.nsockets; i++) ports[i] = g->held[i] ? g->held[i]->at.port : 0;
    return ports;
}
