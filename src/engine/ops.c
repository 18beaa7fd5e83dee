#include "engine/ops.h"
#include "base/log.h"
#include "engine/access.h"
#include "engine/generation.h"
#include "engine/probe.h"

static void metric(struct buf *out, const char *name, const char *type, const char *help, double v) {
    buf_fmt(out, "# HELP portreeve_%s %s\n# TYPE portreeve_%s %s\nportreeve_%s %.15g\n", name, help, name, type, name, v);
}

static void spool_metrics(struct engine *eng, struct buf *out) {
    struct spool_stats s;
    spool_stats(eng->spool, &s);
    metric(out, "spool_committed_total", "counter", "events made durable by this engine", (double)s.committed);
    metric(out, "spool_dropped_total", "counter", "events the spool refused", (double)s.dropped);
    metric(out, "spool_commits_total", "counter", "commits", (double)s.commits);
    metric(out, "spool_failures_total", "counter", "commits that failed", (double)s.failures);
    metric(out, "spool_backlog_events", "gauge", "events not yet fetched by every reader", (double)s.backlog);
    metric(out, "spool_bytes", "gauge", "size of the spool file", (double)s.bytes);
    metric(out, "spool_failing", "gauge", "1 while the spool refuses events", s.failing);
}

static void metrics(struct engine *eng, struct buf *out) {
    for (unsigned i = 0; counter_defs[i].field; i++)
        metric(out, counter_defs[i].metric, "counter", counter_defs[i].help, (double)counters_sum(eng->counters, counter_defs[i].offset));
    const struct counters_super *s = &eng->counters->super;
    metric(out, "engine_starts_total", "counter", "engines started", (double)s->engine_starts);
    metric(out, "engine_crashes_total", "counter", "engines that died", (double)s->engine_crashes);
    metric(out, "reloads_ok_total", "counter", "reloads put in force", (double)s->reloads_ok);
    metric(out, "reloads_failed_total", "counter", "reloads refused", (double)s->reloads_failed);
    metric(out, "generation", "gauge", "generation in force", (double)s->generation);
    metric(out, "log_dropped_total", "counter", "log lines dropped because the sink was blocked", (double)log_dropped());
    if (eng->access) metric(out, "access_log_dropped_total", "counter", "access lines dropped", (double)access_dropped(eng->access));
    struct generation *g = engine_current(eng);
    if (g) buf_str(out, "# HELP portreeve_connections live connections by listener\n# TYPE portreeve_connections gauge\n");
    for (uint32_t i = 0; g && i < g->plan.nsockets; i++) {
        bool first = true; /* one line a listener name, however many sockets it has */
        for (uint32_t k = 0; k < i; k++) first &= g->listener[k].id != g->listener[i].id;
        if (first)
            buf_fmt(out, "portreeve_connections{listener=\"%s\"} %u\n", g->listener[i].plan->name,
                    atomic_load(&eng->live->listener[g->listener[i].id]));
    }
    generation_unref(g);
    backends_metrics(&eng->backends, out);
    if (eng->spool) spool_metrics(eng, out);
}

int ops_answer(struct engine *eng, const struct request *req, struct buf *body) {
    if (slice_is(req->path, "/metrics")) {
        metrics(eng, body);
        return 200;
    }
    if (slice_is(req->path, "/healthz")) {
        buf_str(body, "ok\n");
        return 200;
    }
    if (!slice_is(req->path, "/readyz")) return 404;
    struct spool_stats s = {0};
    if (eng->spool) spool_stats(eng->spool, &s);
    const char *why = eng->draining ? "draining\n" : s.failing ? "the spool refuses events\n" : NULL;
    if (!why && !probe_ready(eng->probe, body)) return 503;
    buf_str(body, why ? why : "ready\n");
    return why ? 503 : 200;
}
