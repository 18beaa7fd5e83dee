#include "engine/guards.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/banning.h"
#include "engine/bundle_rules.h"
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

static bool spares(struct engine *eng, const struct shutout_side *next, const struct generation *old, const char **partly,
                   struct err *why) {
    struct admin admin[ADMINS_MAX];
    struct policy_health health = {0};
    struct hooks_config make = {
        .bundle = old->bundle, .plan = &old->plan, .lists = &old->lists, .ring = old->ring, .luadir = eng->luadir, .health = &health};
    struct shutout_side before = {.plan = &old->plan, .lists = &old->lists, .make = &make};
    unsigned n = admins_lately(&eng->counters->admins, eng->holder, clock_mono_ms(), admin);
    return shutout_spares(next, &before, admin, n, partly, why);
}

static bool refuse(const struct err *why, struct err *e) {
    return err_set(e, "%.800s; `portreeve reload --force`, of an edit {force=true}, does it all the same", why->text);
}

bool guards_reload(struct engine *eng, struct generation *g, const struct generation *old, struct err *e) {
    const char *partly;
    struct err why;
    struct shutout_side next = {.plan = &g->plan, .lists = &g->lists, .hooks = g->hooks[0]};
    bool spared = spares(eng, &next, old, &partly, &why);
    if (partly) log_warn("reload", "%s", partly);
    return spared || refuse(&why, e);
}

bool guards_rehearse(struct engine *eng, int plan_fd, int bundle_fd, bool forced, struct err *words) {
    const char *partly = NULL;
    struct bundle_rules rules = {0};
    struct err why = {"no generation is in force yet"};
    struct generation *g = eng->current ? generation_create(eng, 0, plan_fd, bundle_fd, 0, &why) : NULL;
    bool asked = g && bundle_rules_create(&rules, bundle_fd, &g->plan, eng->luadir, &why), spared = true;
    struct shutout_side next = {.plan = g ? &g->plan : NULL, .lists = &rules.lists, .hooks = rules.hooks};
    if (asked) spared = spares(eng, &next, eng->current, &partly, &why);
    bundle_rules_finish(&rules);
    generation_unref(g);
    words->text[0] = 0;
    if (!asked) err_set(words, "warning: whom it would shut out was not asked: %.800s\n", why.text);
    else if (partly) err_set(words, "warning: whom it would shut out: %s\n", partly);
    else if (!spared && forced) err_set(words, "warning: %.800s\n", why.text);
    else if (!spared) refuse(&why, words);
    return !spared && !forced;
}
