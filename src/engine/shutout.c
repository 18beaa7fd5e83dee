#include "engine/shutout.h"
#include "base/clock.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void shutout_self(struct addr out[GUARDED_OWN]) {
    out[0] = (struct addr){.family = 4, .ip = {127, 0, 0, 1}};
    out[1] = (struct addr){.family = 6, .ip = {[15] = 1}};
}

void shutout_ago(int64_t ms, char out[32]) {
    if (ms < 120000) snprintf(out, 32, "%d s", (int)(ms / 1000));
    else snprintf(out, 32, "%d min", (int)(ms / 60000));
}

void shutout_member(const struct pset *cluster, const struct addr *a, char *out, size_t cap) {
    char line[320];
    struct pset_hit hit = pset_find(cluster, a);
    snprintf(out, cap, "%.300s", lists_where(cluster, hit, line, sizeof line) ? line : "lists/cluster.list");
}

struct asker {
    const struct shutout *s;
    uint32_t all;      /* services that these rules offer to anybody */
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
    const struct plan_socket *l = &k->s->plan->socket[i];
    struct facts f = {.stage = STAGE_PEER, .remote = *a, .fd = -1, .listener = l, .local_port = l->at.port, .lists = k->s->lists, .counts = {1, 1},
                      .real_ms = clock_real_ms(), .mono_ms = clock_mono_ms(), .living = true};
    struct verdict v;
    if (!hooks_judge(k->s->hooks, &f, &v, &k->failed)) k->broken = true;
    if (v.kind == VERDICT_ALLOW) return true;
    k->v = v;
    k->listener = l->name;
    return false;
}

/* The services that some socket lets this address have; of `wanted` at least, as long as that can be. */
static uint32_t services_for(struct asker *k, const struct addr *a, uint32_t wanted) {
    uint32_t got = 0;
    const struct plan *p = k->s->plan;
    for (uint32_t i = 0; i < p->nsockets && !k->broken && (wanted & ~got); i++) {
        const struct plan_socket *s = &p->socket[i];
        if (!(s->services & wanted & ~got) || (s->services & SVC_SHUTDOWN) || (i && alike(s - 1, s))) continue;
        if (lets_in(k, i, a)) got |= s->services;
    }
    return got;
}

static bool add(void *shutout, const struct addr *a) {
    struct shutout *s = shutout;
    s->full |= s->n == GUARDED_MOST;
    if (!s->full) s->guarded[s->n++] = (struct guarded){.address = *a};
    return !s->full;
}

static int by_address(const void *a, const void *b) {
    const struct guarded *x = a, *y = b;
    return x->address.family != y->address.family ? x->address.family - y->address.family : memcmp(x->address.ip, y->address.ip, sizeof x->address.ip);
}

static bool add_range(void *shutout, const struct addr *lo, const struct addr *hi) {
    struct shutout *s = shutout;
    uint32_t first = s->n, kept = first;
    add(s, lo);
    for (unsigned i = 0; i < s->lists->n && !s->full; i++) pset_edges(s->lists->list[i].set, lo, hi, add, s);
    if (s->full) { /* some of its edges are missing, nobody knows where */
        s->n = first;
        return false;
    }
    qsort(s->guarded + first, s->n - first, sizeof *s->guarded, by_address);
    for (uint32_t i = first; i < s->n; i++)
        if (i == first || by_address(&s->guarded[i], &s->guarded[kept - 1])) s->guarded[kept++] = s->guarded[i];
    s->n = kept;
    return true;
}

static uint32_t offered(const struct plan *p) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < p->nsockets; i++) all |= p->socket[i].services & GUARDED_SERVICES;
    return all;
}

bool shutout_learn(struct shutout *s, struct err *e) {
    struct addr own[GUARDED_OWN];
    const struct pset *cluster = lists_find(s->lists, "cluster");
    struct asker *k = calloc(1, sizeof *k);
    s->guarded = calloc(GUARDED_MOST, sizeof *s->guarded);
    if (!s->guarded || !k) {
        free(k);
        return err_set(e, "out of memory");
    }
    shutout_self(own);
    for (unsigned i = 0; i < GUARDED_OWN; i++) add(s, &own[i]);
    if (cluster) pset_each(cluster, add_range, s); /* IPv4 first, rising */
    if (s->full) log_warn("reload", "lists/cluster.list and the lists about its members have more than %u edges: a reload that shuts out a member above the first ones is not noticed", GUARDED_MOST);
    k->s = s;
    k->all = offered(s->plan);
    for (uint32_t i = 0; i < s->n && !k->broken; i++) s->guarded[i].services = services_for(k, &s->guarded[i].address, k->all);
    free(k);
    return true;
}

void shutout_forget(struct shutout *s) {
    free(s->guarded);
    s->guarded = NULL;
}

static bool refuse(const struct asker *k, const char *who, uint32_t lost, struct err *e) {
    char services[128], by[PLAN_PATH + 32] = "";
    plan_services_text(lost, services, sizeof services);
    if (k->v.policy) snprintf(by, sizeof by, " (rule at %s:%u)", k->v.policy, k->v.policy_line);
    return err_set(e, "%s would be shut out of %s: listener %s refuses it (%s) because of %.300s%s", who,
                   services, k->listener ? k->listener : "", refusal_name(k->v.refusal), k->v.because, by);
}

static bool spares(struct asker *k, const struct addr *a, const char *who, uint32_t had, struct err *e) {
    uint32_t wanted = had & k->all;
    uint32_t lost = wanted & ~services_for(k, a, wanted);
    if (k->broken) return err_set(e, "%.600s", k->failed.text);
    return lost == 0 || refuse(k, who, lost, e);
}

static bool spares_admins(struct asker *k, const struct admin *admin, unsigned n, int64_t now_ms, struct err *e) {
    for (unsigned i = 0; i < n; i++) {
        char address[ADDR_TEXT], when[32], who[160];
        addr_format_ip(&admin[i].address, address);
        shutout_ago(now_ms - admin[i].last_ms, when);
        snprintf(who, sizeof who, "%s, which administered the hub %s ago,", address, when);
        if (!spares(k, &admin[i].address, who, SVC_HUB, e)) return false;
    }
    return true;
}

/* What s lets that member of its cluster have: the same as the edge before it. 0: it is no member, or above what s knows. */
static uint32_t had(const struct shutout *s, const struct addr *a) {
    const struct pset *cluster = lists_find(s->lists, "cluster");
    if (!cluster || !pset_find(cluster, a).in) return 0;
    struct guarded asked = {.address = *a};
    uint32_t n = GUARDED_OWN;
    while (n < s->n && by_address(&s->guarded[n], &asked) <= 0) n++;
    return n > GUARDED_OWN && (n < s->n || !s->full) ? s->guarded[n - 1].services : 0;
}

static bool spares_guarded(struct asker *k, const struct shutout *of, uint32_t i, uint32_t services, struct err *e) {
    const struct addr *a = &of->guarded[i].address;
    char address[ADDR_TEXT], line[320], who[sizeof address + sizeof line + 4];
    if (services == 0) return true;
    addr_format_ip(a, address);
    if (i < GUARDED_OWN) {
        snprintf(who, sizeof who, "%s (this machine)", address);
    } else {
        shutout_member(lists_find(of->lists, "cluster"), a, line, sizeof line);
        snprintf(who, sizeof who, "%s of %s", address, line);
    }
    return spares(k, a, who, services, e);
}

bool shutout_spares(struct shutout *next, const struct shutout *old, const struct admin *admin, unsigned nadmins, int64_t now_ms, struct err *e) {
    struct asker *k = calloc(1, sizeof *k);
    if (!k) return err_set(e, "out of memory");
    k->s = next;
    k->all = offered(next->plan);
    bool fine = true;
    for (uint32_t i = 0; fine && i < old->n; i++) fine = spares_guarded(k, old, i, old->guarded[i].services, e);
    fine = fine && spares_admins(k, admin, nadmins, now_ms, e);
    for (uint32_t i = GUARDED_OWN; fine && i < next->n; i++) fine = spares_guarded(k, next, i, had(old, &next->guarded[i].address), e);
    free(k);
    return fine;
}
