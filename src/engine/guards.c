#include "engine/guards.h"
#include "base/clock.h"
#include "engine/banning.h"
#include <stdio.h>
#include <string.h>

static bool within(const struct addr *a, const struct addr *lo, const struct addr *hi) {
    return a->family == lo->family && memcmp(a->ip, lo->ip, sizeof a->ip) >= 0 && memcmp(a->ip, hi->ip, sizeof a->ip) <= 0;
}

struct overlap {
    const struct addr *lo, *hi;
    struct addr found_lo, found_hi;
    bool found;
};

static bool look_for_overlap(void *ctx, const struct addr *lo, const struct addr *hi) {
    struct overlap *o = ctx;
    o->found = within(lo, o->lo, o->hi) || within(o->lo, lo, hi);
    if (o->found) o->found_lo = *lo, o->found_hi = *hi;
    return !o->found;
}

static bool spares_cluster(struct engine *eng, const struct addr *lo, const struct addr *hi, struct err *e) {
    struct generation *g = engine_current(eng);
    struct overlap o = {.lo = lo, .hi = hi};
    const struct pset *cluster = g ? lists_find(&g->lists, "cluster") : NULL;
    if (cluster) pset_each(cluster, look_for_overlap, &o);
    if (o.found) {
        char range[BANS_RANGE], line[320];
        bans_range_text(&o.found_lo, &o.found_hi, range);
        shutout_member(cluster, &o.found_lo, line, sizeof line);
        err_set(e, "this would shut out a member of the cluster, %s (%.200s); --force (in the console {force=true}) if that is meant", range, line);
    }
    generation_unref(g);
    return !o.found;
}

bool guards_ban(struct engine *eng, const struct addr *lo, const struct addr *hi, struct err *e) {
    struct addr own[GUARDED_OWN];
    struct admin admin[ADMINS_MAX];
    int64_t now = clock_mono_ms();
    char who[ADDR_TEXT], when[32];
    shutout_self(own);
    for (unsigned i = 0; i < GUARDED_OWN; i++) {
        if (!within(&own[i], lo, hi)) continue;
        addr_format_ip(&own[i], who);
        return err_set(e, "this would shut out this machine itself, %s; --force (in the console {force=true}) if that is meant", who);
    }
    unsigned n = admins_lately(&eng->counters->admins, eng->holder, now, admin);
    for (unsigned i = 0; i < n; i++) {
        if (!within(&admin[i].address, lo, hi)) continue;
        addr_format_ip(&admin[i].address, who);
        shutout_ago(now - admin[i].last_ms, when);
        return err_set(e, "this would shut out %s, which administered the hub %s ago; --force (in the console {force=true}) if that is meant", who, when);
    }
    return spares_cluster(eng, lo, hi, e);
}

bool guards_reload(struct engine *eng, struct generation *g, const struct generation *old, struct err *e) {
    struct admin admin[ADMINS_MAX];
    int64_t now = clock_mono_ms();
    g->guarded = (struct shutout){.plan = &g->plan, .lists = &g->lists, .hooks = g->hooks[0]};
    if (!shutout_learn(&g->guarded, e) || !old) return g->guarded.guarded;
    unsigned n = admins_lately(&eng->counters->admins, eng->holder, now, admin);
    char why[sizeof e->text];
    if (shutout_spares(&g->guarded, &old->guarded, admin, n, now, e)) return true;
    snprintf(why, sizeof why, "%s", e->text);
    return err_set(e, "%.*s; `portreeve reload --force` does it all the same", (int)sizeof why - 60, why);
}
