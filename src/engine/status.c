#include "engine/status.h"
#include "base/clock.h"
#include "engine/accept.h"
#include "engine/ask.h"
#include "engine/banning_api.h"
#include "engine/decisions.h"
#include "engine/generation.h"
#include "engine/harden.h"
#include "engine/lists_show.h"
#include "engine/probe.h"
#include "engine/remotelog.h"
#include "engine/worker.h"
#include "engine/would.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool counters_json(struct engine *eng, struct buf *b) {
    buf_str(b, "{");
    for (unsigned i = 0; counter_defs[i].field; i++)
        buf_fmt(b, "%s\"%s\":%" PRIu64, i ? "," : "", counter_defs[i].field, counters_sum(eng->counters, counter_defs[i].offset));
    const struct counters_super *s = &eng->counters->super;
    return buf_fmt(
        b, ",\"engine_starts\":%" PRIu64 ",\"engine_crashes\":%" PRIu64 ",\"reloads_ok\":%" PRIu64 ",\"reloads_failed\":%" PRIu64 "}",
        s->engine_starts, s->engine_crashes, s->reloads_ok, s->reloads_failed);
}

static void listener_json(struct engine *eng, const struct generation *g, uint32_t i, struct buf *b) {
    const struct gen_listener *l = &g->listener[i];
    const struct plan_socket *s = l->plan;
    char ip[ADDR_TEXT], at[ADDR_TEXT], services[128], state[PLAN_STATE + 32];
    uint16_t port = l->port ? l->port : s->at.port;
    addr_format_ip(&s->at, ip);
    plan_at_text(s, port, at);
    if (s->waiting) plan_state_text(s, true, state);
    else
        snprintf(state, sizeof state, "%s %s",
                 s->services & SVC_SHUTDOWN ? "taking the shutdown command on"
                 : s->at.udp                ? "receiving datagrams on"
                                            : "accepting connections on",
                 at);
    plan_services_text(s->services, services, sizeof services);
    buf_str(b, i ? ",{" : "{");
    buf_member(b, "name", s->name);
    buf_fmt(b, ",\"address\":\"%s\",\"port\":%u,\"transport\":\"%s\",\"scheme\":\"%s\",\"external_tls\":%s,\"services\":\"%s\"", ip, port,
            s->at.udp ? "udp" : "tcp", plan_scheme_text(s), s->external_tls ? "true" : "false", services);
    buf_fmt(b, ",\"proxy\":\"%s\",\"proxy_inside\":%s", plan_proxy_words[s->proxy], s->proxy_inside ? "true" : "false");
    buf_member(b, "proxy_from", s->proxy_from);
    buf_member(b, "certificate", s->certificate);
    buf_fmt(b, ",\"client_certificate\":\"%s\"", plan_client_words[s->client]);
    buf_fmt(b, ",\"state\":\"%s\",\"waiting\":%s,\"active\":%u,\"maximum\":%u,\"per_address\":%u,\"restriction\":\"%s\"", state,
            s->waiting ? "true" : "false", atomic_load(&eng->live->listener[l->id]), s->max_connections, s->max_per_address,
            plan_restriction_words[s->restriction]);
    char to[PLAN_TO];
    plan_backends_text(&g->plan, s->backends, to, sizeof to);
    buf_member(b, "backend", to);
    buf_member(b, "list", s->list);
    struct proof proof;
    probe_look(eng->probe, g, i, &proof);
    buf_str(b, ",");
    proof_json(&proof, b);
    plan_json_because(&s->because, b);
    buf_str(b, "}");
}

static void certificates_json(const struct generation *g, struct buf *b) {
    struct tls_cert_info info;
    for (unsigned i = 0; tls_certs_info(g->certs, i, &info); i++) {
        buf_str(b, i ? ",{" : "{");
        buf_member(b, "name", info.name);
        buf_member(b, "subject", info.subject);
        buf_member(b, "names", info.names);
        buf_fmt(b, ",\"not_before\":%" PRId64 ",\"not_after\":%" PRId64 "}", info.not_before, info.not_after);
    }
}

static void spool_json(struct engine *eng, struct buf *b) {
    struct spool_stats s;
    spool_stats(eng->spool, &s);
    buf_fmt(b,
            ",\"spool\":{\"queued\":%" PRIu64 ",\"committed\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"commits\":%" PRIu64
            ",\"failures\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"bytes\":%" PRId64 ",\"backlog\":%" PRId64
            ",\"last_commit_us\":%" PRId64 ",\"failing\":%s}",
            s.queued, s.committed, s.dropped, s.commits, s.failures, s.epoch, s.last_seq, s.bytes, s.backlog, s.last_commit_us,
            s.failing ? "true" : "false");
}

static void settings_json(const struct generation *g, struct buf *b) {
    struct plan_settings set = g->plan.set;
    buf_str(b, ",\"settings\":{");
    for (unsigned i = 0; plan_setting_defs[i].field; i++)
        buf_fmt(b, "%s\"%s\":%" PRId64, i ? "," : "", plan_setting_defs[i].entry, *plan_setting(&set, plan_setting_defs[i].field));
    buf_str(b, "}");
}

static bool status(void *ctx, struct buf *b) {
    struct engine *eng = ctx;
    struct generation *g = engine_current(eng);
    if (!g) return buf_str(b, "{}");
    buf_fmt(b,
            "{\"version\":\"%s\",\"pid\":%d,\"workers\":%u,\"generation\":%" PRIu64 ",\"since_ms\":%" PRId64 ",\"generation_ms\":%" PRId64
            ",\"now_ms\":%" PRId64,
            PORTREEVE_VERSION, (int)getpid(), eng->nworkers, g->id, eng->started_ms, g->made_ms, clock_real_ms());
    buf_member(b, "components", g->plan.components);
    buf_member(b, "tracker_id", eng->tracker_id);
    buf_str(b, ",\"listeners\":[");
    for (uint32_t i = 0; i < g->plan.nsockets; i++) listener_json(eng, g, i, b);
    buf_str(b, "],\"certificates\":[");
    certificates_json(g, b);
    buf_str(b, "],\"backends\":");
    backends_json(&eng->backends, b);
    buf_str(b, ",\"counters\":");
    counters_json(eng, b);
    if (eng->spool) spool_json(eng, b);
    settings_json(g, b);
    status_policy(eng, g, b);
    buf_str(b, ",\"security\":");
    harden_json(b);
    pthread_mutex_lock(&eng->lock);
    if (eng->last_reload) {
        buf_str(b, ",\"last_reload\":");
        buf_str(b, eng->last_reload);
    }
    pthread_mutex_unlock(&eng->lock);
    generation_unref(g);
    return buf_str(b, "}");
}

static bool plan(void *ctx, struct buf *b) {
    struct generation *g = engine_current(ctx);
    if (!g) return buf_str(b, "[]");
    struct engine *eng = ctx;
    uint32_t n = g->plan.nsockets ? g->plan.nsockets : 1;
    uint16_t *ports = calloc(n, sizeof *ports);
    struct proof *proof = calloc(n, sizeof *proof);
    bool fine = ports && proof;
    for (uint32_t i = 0; fine && i < g->plan.nsockets; i++) {
        ports[i] = g->listener[i].port;
        probe_look(eng->probe, g, i, &proof[i]);
    }
    fine = fine && plan_json(&g->plan, &(struct plan_view){.port = ports, .proof = proof}, b);
    free(ports);
    free(proof);
    generation_unref(g);
    return fine;
}

static bool stats(void *ctx, struct buf *b) {
    struct engine *eng = ctx;
    buf_fmt(b, "{\"uptime_ms\":%" PRId64 ",\"counters\":", clock_real_ms() - eng->started_ms);
    counters_json(eng, b);
    if (eng->spool) spool_json(eng, b);
    return buf_str(b, ",\"decisions\":") && decisions_json(eng->decisions, b) && buf_str(b, "}");
}

static bool logs(void *ctx, unsigned limit, struct buf *b) {
    struct engine *eng = ctx;
    struct generation *g = engine_current(eng); /* its commit made the remote log visible to other threads */
    generation_unref(g);
    return g && eng->remotelog ? remotelog_last(eng->remotelog, limit, b) : buf_str(b, "[]");
}

/* Each worker adds its own at a turn of its loop; one that does not answer within a second is left out. */
static bool connections(void *ctx, unsigned limit, struct buf *b) {
    struct engine *eng = ctx;
    struct snapshot *s = calloc(1, sizeof *s);
    if (!s) return false;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&s->done, &mono);
    s->limit = limit;
    unsigned nworkers = eng->nworkers, missed = 0; /* a reload may start more meanwhile */
    s->waiting = nworkers;
    s->refs = (int)nworkers + 1;
    for (unsigned i = 0; i < nworkers; i++)
        if (!worker_post(eng->worker[i], MAIL_SNAPSHOT, s, 0)) atomic_fetch_sub(&s->refs, 1), missed++;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    pthread_mutex_lock(&s->lock);
    s->waiting -= missed;
    while (s->waiting && pthread_cond_timedwait(&s->done, &s->lock, &until) == 0) continue;
    bool fine = buf_str(b, "[") && (!s->out.n || buf_add(b, s->out.p, s->out.n)) && buf_str(b, "]");
    pthread_mutex_unlock(&s->lock);
    snapshot_unref(s);
    return fine;
}

static bool ask(void *ctx, uint32_t type, const char *more, size_t n, struct buf *out) {
    char *said = NULL;
    bool fine = ask_supervisor(ctx, type, more, n, &said);
    buf_str(out, said ? said : "");
    free(said);
    return fine;
}

static bool reload(void *ctx, bool force, struct buf *out) {
    static const char forced[] = "force 1\n";
    return ask(ctx, WIRE_RELOAD, forced, force ? sizeof forced - 1 : 0, out);
}

static bool edit(void *ctx, const char *request, size_t n, struct buf *out) {
    return ask(ctx, WIRE_EDIT, request, n, out);
}

static bool lists(void *ctx, const char *name, struct buf *out) {
    return lists_show(ctx, name, out);
}

static bool probe(void *ctx) {
    struct engine *eng = ctx;
    return eng->probe && probe_again(eng->probe);
}

static bool would(void *ctx, const struct question *q, struct buf *out, struct err *e) {
    return would_running(ctx, q, out, e);
}

void status_api(struct engine *eng, struct engine_api *out) {
    *out = (struct engine_api){.ctx = eng,
                               .state_dir = eng->state_dir,
                               .status = status,
                               .connections = connections,
                               .decisions = status_decisions,
                               .would = would,
                               .rules = status_rules,
                               .logs = logs,
                               .plan = plan,
                               .stats = stats,
                               .reload = reload,
                               .edit = edit,
                               .probe = probe,
                               .lists = lists};
    banning_api(out);
}
