#include "engine/guards.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/banning.h"
#include "script/hooks.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- bans ---- */

static bool within(const struct addr *a, const struct addr *lo, const struct addr *hi) {
    return a->family == lo->family && memcmp(a->ip, lo->ip, sizeof a->ip) >= 0 && memcmp(a->ip, hi->ip, sizeof a->ip) <= 0;
}

#define OWN 2u

static void self(struct addr out[OWN]) {
    out[0] = (struct addr){.family = 4, .ip = {127, 0, 0, 1}};
    out[1] = (struct addr){.family = 6, .ip = {[15] = 1}};
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

static void where_listed(const struct pset *s, const struct addr *a, char *out, size_t cap) {
    char line[320];
    struct pset_hit hit = pset_find(s, a);
    snprintf(out, cap, "%.300s", lists_where(s, hit, line, sizeof line) ? line : "lists/cluster.list");
}

static bool spares_cluster(struct engine *eng, const struct addr *lo, const struct addr *hi, struct err *e) {
    struct generation *g = engine_current(eng);
    struct overlap o = {.lo = lo, .hi = hi};
    const struct pset *cluster = g ? lists_find(&g->lists, "cluster") : NULL;
    if (cluster) pset_each(cluster, look_for_overlap, &o);
    if (o.found) {
        char range[BANS_RANGE], line[320];
        bans_range_text(&o.found_lo, &o.found_hi, range);
        where_listed(cluster, &o.found_lo, line, sizeof line);
        err_set(e, "this would shut out a member of the cluster, %s (%.200s); --force (in the console {force=true}) if that is meant", range, line);
    }
    generation_unref(g);
    return !o.found;
}

static void ago(int64_t ms, char out[32]) {
    if (ms < 120000) snprintf(out, 32, "%d s", (int)(ms / 1000));
    else snprintf(out, 32, "%d min", (int)(ms / 60000));
}

bool guards_ban(struct engine *eng, const struct addr *lo, const struct addr *hi, struct err *e) {
    struct addr own[OWN];
    struct admin admin[ADMINS_MAX];
    int64_t now = clock_mono_ms();
    char who[ADDR_TEXT], when[32];
    self(own);
    for (unsigned i = 0; i < OWN; i++) {
        if (!within(&own[i], lo, hi)) continue;
        addr_format_ip(&own[i], who);
        return err_set(e, "this would shut out this machine itself, %s; --force (in the console {force=true}) if that is meant", who);
    }
    unsigned n = admins_lately(&eng->counters->admins, eng->holder, now, admin);
    for (unsigned i = 0; i < n; i++) {
        if (!within(&admin[i].address, lo, hi)) continue;
        addr_format_ip(&admin[i].address, who);
        ago(now - admin[i].last_ms, when);
        return err_set(e, "this would shut out %s, which administered the hub %s ago; --force (in the console {force=true}) if that is meant", who, when);
    }
    return spares_cluster(eng, lo, hi, e);
}

/* ---- reloads ---- */

struct asker {
    struct engine *eng;
    struct generation *g;
    uint32_t all;      /* services that g offers to anybody */
    struct verdict v;  /* the last refusal */
    const char *listener;
    struct err failed; /* the policy's */
    bool broken;
};

/* Does this socket judge its callers as the one before it? Most do, where there are thousands. */
static bool alike(const struct plan_socket *a, const struct plan_socket *b) {
    return a->services == b->services && a->restriction == b->restriction && strcmp(a->name, b->name) == 0 && strcmp(a->list, b->list) == 0;
}

static bool lets_in(struct asker *k, uint32_t i, const struct addr *a) {
    const struct gen_listener *l = &k->g->listener[i];
    struct facts f = {.stage = STAGE_PEER, .remote = *a, .fd = -1, .listener = l->plan, .local_port = l->plan->at.port, .listener_id = l->id,
                      .lists = &k->g->lists, .counts = {1, 1}, .real_ms = clock_real_ms(), .mono_ms = clock_mono_ms(), .living = true};
    struct verdict v;
    if (!hooks_judge(k->g->hooks[0], &f, &v, &k->failed)) k->broken = true;
    if (v.kind == VERDICT_ALLOW) return true;
    k->v = v;
    k->listener = l->plan->name;
    return false;
}

/* The services that some socket of g lets this address have; of `wanted` at least, as long as that can be. */
static uint32_t services_for(struct asker *k, const struct addr *a, uint32_t wanted) {
    uint32_t got = 0;
    const struct plan *p = &k->g->plan;
    for (uint32_t i = 0; i < p->nsockets && !k->broken && (wanted & ~got); i++) {
        const struct plan_socket *s = &p->socket[i];
        if (!(s->services & wanted & ~got) || (s->services & SVC_SHUTDOWN) || (i && alike(s - 1, s))) continue;
        if (lets_in(k, i, a)) got |= s->services;
    }
    return got;
}

/* 127.0.0.1 and ::1, then of every range of the cluster the first address and the edges of all lists inside it, each family rising. */
static bool add_guarded(void *generation, const struct addr *a) {
    struct generation *g = generation;
    g->guards_full |= g->nguarded == GUARDED_MOST;
    if (!g->guards_full) g->guarded[g->nguarded++].address = *a;
    return !g->guards_full;
}

static int by_address(const void *a, const void *b) {
    const struct guarded *x = a, *y = b;
    return x->address.family != y->address.family ? x->address.family - y->address.family : memcmp(x->address.ip, y->address.ip, sizeof x->address.ip);
}

static bool add_range(void *generation, const struct addr *lo, const struct addr *hi) {
    struct generation *g = generation;
    uint32_t first = g->nguarded, kept = first;
    add_guarded(g, lo);
    for (unsigned i = 0; i < g->lists.n && !g->guards_full; i++) pset_edges(g->lists.list[i].set, lo, hi, add_guarded, g);
    if (g->guards_full) { /* some of its edges are missing, nobody knows where */
        g->nguarded = first;
        return false;
    }
    qsort(g->guarded + first, g->nguarded - first, sizeof *g->guarded, by_address);
    for (uint32_t i = first; i < g->nguarded; i++)
        if (i == first || by_address(&g->guarded[i], &g->guarded[kept - 1])) g->guarded[kept++] = g->guarded[i];
    g->nguarded = kept;
    return true;
}

static bool collect(struct generation *g, struct err *e) {
    struct addr own[OWN];
    const struct pset *cluster = lists_find(&g->lists, "cluster");
    g->guarded = calloc(GUARDED_MOST, sizeof *g->guarded);
    if (!g->guarded) return err_set(e, "out of memory");
    self(own);
    for (unsigned i = 0; i < OWN; i++) add_guarded(g, &own[i]);
    if (cluster) pset_each(cluster, add_range, g);
    if (g->guards_full) log_warn("reload", "lists/cluster.list and the lists about its members have more than %u edges: a reload that shuts out a member above the first ones is not noticed", GUARDED_MOST);
    return true;
}

static bool refuse(const struct asker *k, const char *who, uint32_t lost, struct err *e) {
    char services[128], by[PLAN_PATH + 32] = "";
    plan_services_text(lost, services, sizeof services);
    if (k->v.policy) snprintf(by, sizeof by, " (rule at %s:%u)", k->v.policy, k->v.policy_line);
    return err_set(e, "%s would be shut out of %s: listener %s refuses it (%s) because of %.300s%s; `portreeve reload --force` does it all the same", who,
                   services, k->listener ? k->listener : "", refusal_name(k->v.refusal), k->v.because, by);
}

static bool spares(struct asker *k, const struct addr *a, const char *who, uint32_t had, struct err *e) {
    uint32_t wanted = had & k->all;
    uint32_t lost = wanted & ~services_for(k, a, wanted);
    if (k->broken) return err_set(e, "%.600s; `portreeve reload --force` does it all the same", k->failed.text);
    return lost == 0 || refuse(k, who, lost, e);
}

static bool spares_admins(struct asker *k, struct err *e) {
    struct admin admin[ADMINS_MAX];
    int64_t now = clock_mono_ms();
    unsigned n = admins_lately(&k->eng->counters->admins, k->eng->holder, now, admin);
    for (unsigned i = 0; i < n; i++) {
        char address[ADDR_TEXT], when[32], who[160];
        addr_format_ip(&admin[i].address, address);
        ago(now - admin[i].last_ms, when);
        snprintf(who, sizeof who, "%s, which administered the hub %s ago,", address, when);
        if (!spares(k, &admin[i].address, who, SVC_HUB, e)) return false;
    }
    return true;
}

/* What g let that member of its cluster have: the same as the edge before it. 0: it is no member, or above what g knows. */
static uint32_t had(const struct generation *g, const struct addr *a) {
    const struct pset *cluster = lists_find(&g->lists, "cluster");
    if (!cluster || !pset_find(cluster, a).in) return 0;
    struct guarded asked = {.address = *a};
    uint32_t n = OWN;
    while (n < g->nguarded && by_address(&g->guarded[n], &asked) <= 0) n++;
    return n > OWN && (n < g->nguarded || !g->guards_full) ? g->guarded[n - 1].services : 0;
}

static bool spares_guarded(struct asker *k, const struct generation *of, uint32_t i, uint32_t services, struct err *e) {
    const struct addr *a = &of->guarded[i].address;
    char address[ADDR_TEXT], line[320], who[sizeof address + sizeof line + 4];
    if (services == 0) return true;
    addr_format_ip(a, address);
    if (i < OWN) {
        snprintf(who, sizeof who, "%s (this machine)", address);
    } else {
        where_listed(lists_find(&of->lists, "cluster"), a, line, sizeof line);
        snprintf(who, sizeof who, "%s of %s", address, line);
    }
    return spares(k, a, who, services, e);
}

bool guards_reload(struct engine *eng, struct generation *g, const struct generation *old, struct err *e) {
    struct asker *k = calloc(1, sizeof *k);
    if (!k) return err_set(e, "out of memory");
    k->eng = eng;
    k->g = g;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) k->all |= g->plan.socket[i].services & GUARDED_SERVICES;
    bool fine = collect(g, e);
    for (uint32_t i = 0; fine && old && i < old->nguarded; i++) fine = spares_guarded(k, old, i, old->guarded[i].services, e);
    if (fine && old) fine = spares_admins(k, e);
    for (uint32_t i = OWN; fine && old && i < g->nguarded; i++) fine = spares_guarded(k, g, i, had(old, &g->guarded[i].address), e);
    for (uint32_t i = 0; fine && i < g->nguarded && !k->broken; i++) g->guarded[i].services = services_for(k, &g->guarded[i].address, k->all);
    free(k);
    return fine;
}
