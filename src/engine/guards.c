#include "engine/guards.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/banning.h"
#include "engine/shutout.h"
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
        err_set(e, "this would shut out a member of the cluster, %s (%.200s); --force (in the console {force=true}) if that is meant",
                range, line);
    }
    generation_unref(g);
    return !o.found;
}

bool guards_ban(struct engine *eng, const struct addr *lo, const struct addr *hi, struct err *e) {
    struct addr own[SHUTOUT_OWN];
    struct admin admin[ADMINS_MAX];
    int64_t now = clock_mono_ms();
    char who[ADDR_TEXT], when[32];
    shutout_self(own);
    for (unsigned i = 0; i < SHUTOUT_OWN; i++) {
        if (!within(&own[i], lo, hi)) continue;
        addr_format_ip(&own[i], who);
        return err_set(e, "this would shut out this machine itself, %s; --force (in the console {force=true}) if that is meant", who);
    }
    unsigned n = admins_lately(&eng->counters->admins, eng->holder, now, admin);
    for (unsigned i = 0; i < n; i++) {
        if (!within(&admin[i].address, lo, hi)) continue;
        addr_format_ip(&admin[i].address, who);
        shutout_ago(now - admin[i].last_ms, when);
        return err_set(e,
                       "this would shut out %s, which administered the hub %s ago; --force (in the console {force=true}) if that is meant",
                       who, when);
    }
    return spares_cluster(eng, lo, hi, e);
}

bool guards_reload(struct engine *eng, struct generation *g, const struct generation *old, struct err *e) {
    struct admin admin[ADMINS_MAX];
    struct policy_health health = {0};
    const char *partly;
    struct hooks_config make = {
        .bundle = old->bundle, .plan = &old->plan, .lists = &old->lists, .ring = old->ring, .luadir = eng->luadir, .health = &health};
    struct shutout_side next = {.plan = &g->plan, .lists = &g->lists, .hooks = g->hooks[0]},
                        before = {.plan = &old->plan, .lists = &old->lists, .make = &make};
    unsigned n = admins_lately(&eng->counters->admins, eng->holder, clock_mono_ms(), admin);
    struct err why;
    bool spared = shutout_spares(&next, &before, admin, n, &partly, &why);
    if (partly) log_warn("reload", "%s", partly);
    return spared || err_set(e, "%.800s; `portreeve reload --force`, of an edit {force=true}, does it all the same", why.text);
}
