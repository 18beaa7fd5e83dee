/* What the console and status say of the admission policy: its rules with their counts, and whether it is suspended. */
#include "engine/generation.h"
#include "engine/status.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct sums {
    uint64_t asked, refused, failed;
};

/* The counts are each worker's own. */
static struct sums sums_of(const struct generation *g, uint32_t i) {
    struct sums s = {0};
    for (unsigned w = 0; w < g->nhooks; w++) {
        const struct rule_count *c = hooks_rule_counts(g->hooks[w]) + i;
        s.asked += atomic_load_explicit(&c->asked, memory_order_relaxed);
        s.refused += atomic_load_explicit(&c->refused, memory_order_relaxed);
        s.failed += atomic_load_explicit(&c->failed, memory_order_relaxed);
    }
    return s;
}

static void rule_json(const struct generation *g, const struct rules *r, uint32_t i, struct buf *b) {
    const struct rule *one = &r->rule[i];
    struct sums s = sums_of(g, i);
    char where[PLAN_PATH + 16];
    snprintf(where, sizeof where, "%s:%" PRIu32, one->file, one->line);
    buf_fmt(b, "%s{\"place\":%" PRIu32, i ? "," : "", i + 1);
    buf_member(b, "stage", stage_name(one->stage));
    buf_member(b, "rule", one->lua ? "at" : one->op->name);
    buf_member(b, "runs_in", !one->lua ? "C" : health_suspended(&g->health) ? "Lua (suspended)" : "Lua");
    buf_member(b, "policy", where);
    if (one->list[0]) buf_member(b, "list", one->list);
    buf_fmt(b, ",\"asked\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"failed\":%" PRIu64 "}", s.asked, s.refused, s.failed);
}

bool status_rules(void *ctx, struct buf *b) {
    struct generation *g = engine_current(ctx);
    if (!g) return buf_str(b, "[]");
    buf_str(b, "[");
    const struct rules *r = g->nhooks ? hooks_rules(g->hooks[0]) : NULL;
    for (uint32_t i = 0; r && i < r->n; i++) rule_json(g, r, i, b);
    generation_unref(g);
    return buf_str(b, "]");
}

void status_policy(struct engine *eng, const struct generation *g, struct buf *b) {
    const struct rules *r = g->nhooks ? hooks_rules(g->hooks[0]) : NULL;
    unsigned lua = 0;
    for (uint32_t i = 0; r && i < r->n; i++) lua += r->rule[i].lua;
    buf_fmt(b, ",\"policy\":{\"rules\":%u,\"in_lua\":%u,\"on_error\":\"%s\",\"errors\":%" PRIu64 ",\"suspended\":%s", r ? r->n : 0, lua,
            r && r->on_error == ON_ERROR_LAST ? "last" : "closed", atomic_load(&g->health.errors_total),
            health_suspended(&g->health) ? "true" : "false");
    int64_t since = atomic_load(&eng->counters->policy_suspended_ms);
    if (since) buf_fmt(b, ",\"suspended_ms\":%" PRId64, since);
    buf_str(b, "}");
}
