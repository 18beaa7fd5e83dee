/* What is said about the running whole, for people and for scripts. */
#include "plan/bundle.h"
#include "plan/running.h"
#include "super/super.h"
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *engine_state(const struct super *s) {
    static const char *const names[] = {"none", "starting", "preparing", "committing", "live", "draining", "dying"};
    if (s->live >= 0) return names[s->engine[s->live].phase];
    for (unsigned i = 0; i < 2; i++) {
        if (s->engine[i].phase != ENGINE_NONE) return names[s->engine[i].phase];
    }
    return s->restart_at != NEVER ? "restarting" : "none";
}

static pid_t engine_pid(const struct super *s) {
    if (s->live >= 0) return s->engine[s->live].pid;
    return s->engine[0].phase != ENGINE_NONE ? s->engine[0].pid : s->engine[1].pid;
}

static const char *engine_version(const struct super *s) {
    return s->live >= 0 ? s->engine[s->live].version : "";
}

static bool json_text(struct buf *out, const char *text) {
    return buf_json(out, text, strlen(text));
}

bool status_last_reload(const struct super *s, size_t most_text, struct buf *out) {
    size_t n = s->reload.last.text.n;
    return buf_fmt(out, "{\"at_ms\":%" PRId64 ",\"ok\":%s,\"generation\":%" PRIu64 ",\"text\":", s->reload.last.at_ms,
                   s->reload.last.ok || !s->reload.last.any ? "true" : "false", s->reload.last.generation) &&
           buf_json(out, n ? s->reload.last.text.p : "", n < most_text ? n : most_text) && buf_str(out, "}");
}

static bool json_listeners(const struct super *s, struct buf *out) {
    uint16_t *ports = s->gen ? generation_ports(s->gen) : NULL;
    bool good =
        ports ? plan_json(&s->gen->plan, &(struct plan_view){.port = ports, .proof = s->gen->proof}, out) : !s->gen && buf_str(out, "[]");
    free(ports);
    return good;
}

static bool json_counters(const struct super *s, struct buf *out) {
    struct counters_super *c = &s->counters->super;
    bool good = buf_fmt(
        out, "{\"engine_starts\":%" PRIu64 ",\"engine_crashes\":%" PRIu64 ",\"reloads_ok\":%" PRIu64 ",\"reloads_failed\":%" PRIu64,
        atomic_load(&c->engine_starts), atomic_load(&c->engine_crashes), atomic_load(&c->reloads_ok), atomic_load(&c->reloads_failed));
    for (const struct counter_def *d = counter_defs; good && d->field; d++) {
        good = buf_fmt(out, ",\"%s\":%" PRIu64, d->field, counters_sum(s->counters, d->offset));
    }
    return good && buf_str(out, "}");
}

bool status_json(const struct super *s, struct buf *out) {
    return buf_fmt(out, "{\"pid\":%ld,\"version\":\"%s\",\"generation\":%" PRIu64 ",\"since_ms\":%" PRId64 ",\"workers\":%u,",
                   (long)getpid(), PORTREEVE_VERSION, s->gen ? s->gen->number : 0, s->since_ms, s->gen ? s->gen->workers : 0) &&
           buf_fmt(out, "\"engine\":{\"pid\":%ld,\"state\":\"%s\",\"restarts\":%" PRIu64 ",\"version\":", (long)engine_pid(s),
                   engine_state(s), s->restarts) &&
           json_text(out, engine_version(s)) && buf_str(out, "},") && replace_json(s, out) &&
           buf_fmt(out, ",\"stopping\":%s,\"last_reload\":", s->stopping ? "true" : "false") && status_last_reload(s, SIZE_MAX, out) &&
           buf_str(out, ",\"listeners\":") && json_listeners(s, out) && buf_str(out, ",\"counters\":") && json_counters(s, out) &&
           buf_fmt(out, ",\"policy_suspended_ms\":%" PRId64 ",\"conf\":", atomic_load(&s->counters->policy_suspended_ms)) &&
           json_text(out, s->opt.conf) && buf_str(out, ",\"state\":") && json_text(out, s->opt.state) && buf_str(out, "}\n");
}

static void stamp(int64_t ms, char out[32]) {
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    localtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
}

static bool last_reload_text(const struct super *s, struct buf *out) {
    char when[32];
    if (!s->reload.last.any) return true;
    stamp(s->reload.last.at_ms, when);
    return buf_fmt(out, "last change: %s, %s\n", when, s->reload.last.ok ? "done" : "REFUSED") &&
           buf_add(out, s->reload.last.text.p, s->reload.last.text.n) && buf_str(out, "\n");
}

static bool listener_line(const struct super *s, uint32_t i, uint16_t port, struct buf *out) {
    const struct plan_socket *p = &s->gen->plan.socket[i];
    const struct plan_because *b = &p->because;
    char at[ADDR_TEXT], services[128], line[16] = "", state[PLAN_STATE + 16], proof[PROOF_WORDS];
    plan_at_text(p, port, at);
    proof_words(&s->gen->proof[i], proof);
    plan_state_text(p, true, state);
    plan_services_text(p->services, services, sizeof services);
    if (b->line) snprintf(line, sizeof line, ":%" PRIu32, b->line);
    return buf_fmt(out, "  %s: %s %s (%s: %s), because %s%s%s%s%s%s%s%s\n", p->name,
                   p->waiting || p->away        ? strcat(state, p->waiting ? " to open" : ":")
                   : p->services & SVC_SHUTDOWN ? "taking the shutdown command on"
                   : s->live >= 0               ? (p->at.udp ? "receiving datagrams on" : "accepting connections on")
                   : p->at.udp                  ? "queueing datagrams until an engine runs on"
                                                : "queueing connections until an engine runs on",
                   at, plan_scheme_text(p), services, b->file[0] ? b->file : "built-in default", line, b->entry[0] ? " " : "", b->entry,
                   b->row[0] ? ", row " : "", b->row, s->live >= 0 && !p->waiting ? "; " : "", s->live >= 0 && !p->waiting ? proof : "");
}

static bool listeners_text(const struct super *s, struct buf *out) {
    uint16_t *ports = s->gen ? generation_ports(s->gen) : NULL;
    bool good = ports || !s->gen;
    for (uint32_t i = 0; good && ports && i < s->gen->plan.nsockets; i++) good = listener_line(s, i, ports[i], out);
    free(ports);
    return good;
}

static bool policy_text(const struct super *s, struct buf *out) {
    char since[32];
    int64_t ms = atomic_load(&s->counters->policy_suspended_ms);
    if (!ms) return true;
    stamp(ms, since);
    return buf_fmt(
        out,
        "ADMISSION: the rules in Lua are SUSPENDED since %s because they failed again and again; the built-in rules are in force.\n"
        "  The log says what failed: correct policies/admission.lua and reload.\n",
        since);
}

/* What nobody should learn from a graph only. */
static bool events_text(const struct super *s, struct buf *out) {
    uint64_t n = counters_sum(s->counters, offsetof(struct counters_block, events_dropped));
    return n == 0 ||
           buf_fmt(out,
                   "EVENTS: %" PRIu64 " NOT RECORDED since the start: the spool could not take them. The log says why (a full disk?), "
                   "`portreeve eval 'stats().spool'` whether it is still so.\n",
                   n);
}

bool status_text(const struct super *s, struct buf *out) {
    char since[32];
    stamp(s->since_ms, since);
    return buf_fmt(out, "portreeve %s, pid %ld, since %s%s\n", PORTREEVE_VERSION, (long)getpid(), since, s->stopping ? ", stopping" : "") &&
           buf_fmt(out, "conf %s, state %s\n", s->opt.conf, s->opt.state) &&
           buf_fmt(out, "engine: pid %ld, %s, version %s, %" PRIu64 " restart%s\n", (long)engine_pid(s), engine_state(s),
                   engine_version(s)[0] ? engine_version(s) : "unknown", s->restarts, s->restarts == 1 ? "" : "s") &&
           replace_text(s, out) && last_reload_text(s, out) &&
           buf_fmt(out, "generation %" PRIu64 ", %u worker%s\n", s->gen ? s->gen->number : 0, s->gen ? s->gen->workers : 0,
                   s->gen && s->gen->workers == 1 ? "" : "s") &&
           policy_text(s, out) && events_text(s, out) && listeners_text(s, out);
}

/* A word about socket i of the living plan: "bound" … */
static void socket_state(const struct super *s, uint32_t i, char *out, size_t cap) {
    const struct plan_socket *p = &s->gen->plan.socket[i];
    const struct proof *proof = s->gen->proof ? &s->gen->proof[i] : NULL;
    char state[PLAN_STATE], words[PROOF_WORDS] = "";
    plan_state_text(p, true, state);
    if (proof && proof->state == PROOF_FAILED) proof_words(proof, words);
    else if (proof) snprintf(words, sizeof words, "%s", proof_name(proof->state));
    bool serves = s->live >= 0,
         says = !p->waiting && p->services != SVC_SHUTDOWN && (!serves || words[0]); /* that one is ours, no engine's */
    snprintf(out, cap, "%s%s%s", state, says ? ", " : "", !says ? "" : serves ? words : "queueing until an engine runs");
}

/* What a reload reads. An override of a password stays here. */
static bool plan_options(const struct super *s, struct running *r) {
    const struct options *o = &s->opt;
    char path[PATH_MAX];
    snprintf(r->conf, sizeof r->conf, "%s", o->conf);
    snprintf(r->conf_path, sizeof r->conf_path, "%s", realpath(o->conf, path) ? path : "");
    snprintf(r->policies, sizeof r->policies, "%s", o->policies ? o->policies : "");
    snprintf(r->policies_path, sizeof r->policies_path, "%s", o->policies && realpath(o->policies, path) ? path : "");
    r->set = calloc(OPTIONS_SETS, sizeof *r->set);
    for (unsigned i = 0; r->set && i < o->nsets; i++) {
        size_t name = strcspn(o->set[i], "=");
        const char *word = strcasestr(o->set[i], "passw");
        if (word && word < o->set[i] + name) r->secrets++;
        else r->set[r->nsets++] = (char *)(uintptr_t)o->set[i];
    }
    return r->set != NULL;
}

bool status_plan(const struct super *s, struct buf *out) {
    const struct generation *g = s->gen;
    struct running r = {.pid = getpid(), .since_ms = s->since_ms, .generation = g->number, .workers = g->workers, .plan = g->plan};
    struct err e;
    struct bundle *b = bundle_map(g->bundle_fd, &e);
    uint16_t *ports = generation_ports(g);
    r.socket = calloc(g->plan.nsockets ? g->plan.nsockets : 1, sizeof *r.socket);
    bool good = b && ports && r.socket && running_files(b, &r.file, &r.nfiles) && plan_options(s, &r);
    snprintf(r.engine, sizeof r.engine, "%s", engine_state(s));
    for (uint32_t i = 0; good && i < g->plan.nsockets; i++) {
        r.socket[i].port = ports[i];
        socket_state(s, i, r.socket[i].state, sizeof r.socket[i].state);
    }
    good = good && running_encode(&r, out);
    free(r.set);
    free(r.socket);
    free(r.file);
    free(ports);
    bundle_unmap(b);
    return good;
}
