#include "engine/shutout.h"
#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTS 1024u

void shutout_self(struct addr out[SHUTOUT_OWN]) {
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

struct asker { /* one side */
    const struct shutout_side *s;
    struct hooks *hooks, *made;
    struct verdict v; /* the last refusal */
    const char *listener;
    struct err failed; /* the policy's */
    bool broken;
};

/* Is there a way from this address to that socket? Who is named by a device in front may be anybody. */
static bool reaches(const struct plan_socket *s, const struct addr *a) {
    if (s->waiting) return false;
    if (s->proxy != PROXY_OFF) return true;
    return s->at.family == a->family && (!addr_is_loopback(&s->at) || addr_is_loopback(a));
}

/* Does this socket judge its callers as the one before it? Most do, where there are thousands. A function may ask for more than the rules do. */
static bool alike(const struct asker *k, const struct plan_socket *a, const struct plan_socket *b) {
    bool rules = a->services == b->services && a->restriction == b->restriction && a->client == b->client &&
                 strcmp(a->name, b->name) == 0 && strcmp(a->list, b->list) == 0;
    if (!rules || !hooks_rules(k->hooks)->lua[STAGE_PEER]) return rules;
    return a->at.port == b->at.port && addr_same_ip(&a->at, &b->at) && a->scheme == b->scheme && a->external_tls == b->external_tls;
}

static bool lets_in(struct asker *k, uint32_t i, const struct addr *a) {
    const struct plan_socket *l = &k->s->plan->socket[i];
    struct facts f = {.stage = STAGE_PEER,
                      .remote = *a,
                      .fd = -1,
                      .listener = l,
                      .local_port = l->at.port,
                      .lists = k->s->lists,
                      .counts = {1, 1},
                      .real_ms = clock_real_ms(),
                      .mono_ms = clock_mono_ms(),
                      .living = true};
    struct verdict v;
    if (!hooks_judge(k->hooks, &f, &v, &k->failed)) k->broken = true;
    if (v.kind == VERDICT_ALLOW) return true;
    k->v = v;
    k->listener = l->name;
    return false;
}

/* The services of sockets that this address reaches. */
static uint32_t within_reach(const struct plan *p, const struct addr *a) {
    uint32_t services = 0;
    for (uint32_t i = 0; i < p->nsockets; i++)
        if ((p->socket[i].services & ~services) && reaches(&p->socket[i], a)) services |= p->socket[i].services;
    return services;
}

/* The services that some socket lets this address have without a certificate; of `wanted` at least, as long as that can be. A socket that it does not
 * reach counts only for what none offers that it does: that it has none is for the plan to tell, not for the rules. near: of these no other counts. */
static uint32_t services_for(struct asker *k, const struct addr *a, uint32_t wanted, uint32_t near) {
    const struct plan *p = k->s->plan;
    uint32_t got = 0, reached = within_reach(p, a) | near;
    const struct plan_socket *refused = NULL; /* the last that was judged and did not let it in */
    for (uint32_t i = 0; i < p->nsockets && !k->broken && (wanted & ~got); i++) {
        const struct plan_socket *s = &p->socket[i];
        uint32_t offers = reaches(s, a) ? s->services : s->services & ~reached;
        if (!(offers & wanted & ~got) || (s->services & SVC_SHUTDOWN) || (refused && alike(k, refused, s))) continue;
        refused = NULL;
        if (s->client == CLIENT_REQUIRE) {
            k->listener = s->name;
            k->v = (struct verdict){.refusal = REFUSE_CERTIFICATE, .because = "ClientCertificate=Require"};
        } else if (lets_in(k, i, a)) {
            got |= offers;
            continue;
        }
        refused = s;
    }
    return got;
}

/* ---- whom to ask about ---- */

struct points {
    struct addr *at;
    uint32_t n, end; /* end: of what this range may take */
    const struct shutout_side *side[2];
    bool full;
};

static int by_address(const void *a, const void *b) {
    const struct addr *x = a, *y = b;
    return x->family != y->family ? x->family - y->family : memcmp(x->ip, y->ip, sizeof x->ip);
}

/* Those from `first` on, in order and each once. */
static void tidy(struct points *p, uint32_t first) {
    uint32_t kept = first;
    qsort(p->at + first, p->n - first, sizeof *p->at, by_address);
    for (uint32_t i = first; i < p->n; i++)
        if (i == first || by_address(&p->at[i], &p->at[kept - 1])) p->at[kept++] = p->at[i];
    p->n = kept;
}

static bool add(void *points, const struct addr *a) {
    struct points *p = points;
    if (p->n == p->end) {
        p->full = true;
        return false;
    }
    p->at[p->n++] = *a;
    return true;
}

/* A range takes at most half of the room that is left, so that those behind it are looked at, too. */
static bool add_range(void *points, const struct addr *lo, const struct addr *hi) {
    struct points *p = points;
    uint32_t first = p->n;
    p->end = first + (POINTS - first + 1) / 2;
    add(p, lo);
    for (unsigned k = 0; k < 2; k++)
        for (unsigned i = 0; i < p->side[k]->lists->n; i++) {
            uint32_t before = p->n;
            pset_edges(p->side[k]->lists->list[i].set, lo, hi, add, p);
            if (p->n != before) tidy(p, first);
        }
    return p->n < POINTS;
}

/* ---- what becomes of them ---- */

struct shutting { /* the whole question */
    struct asker next, old;
    uint32_t all; /* services that the next rules offer to anybody */
    int64_t until;
    bool late;
};

static bool ask_old(struct shutting *q, struct err *e) {
    if (!q->old.hooks) q->old.hooks = q->old.made = hooks_create(q->old.s->make, e);
    return q->old.hooks;
}

static bool refuse(const struct asker *k, const char *who, uint32_t lost, struct err *e) {
    char services[128], by[PLAN_PATH + 32] = "";
    plan_services_text(lost, services, sizeof services);
    if (k->v.policy) snprintf(by, sizeof by, " (rule at %s:%u)", k->v.policy, k->v.policy_line);
    return err_set(e, "%s would be shut out of %s: listener %s refuses it (%s) because of %.300s%s", who, services,
                   k->listener ? k->listener : "", refusal_name(k->v.refusal), k->v.because, by);
}

/* The rules of before are asked only about those whom the next ones refuse something. */
static bool spares(struct shutting *q, const struct addr *a, const char *who, uint32_t of, struct err *e) {
    q->late |= clock_mono_ms() > q->until;
    if (q->late) return true;
    uint32_t lost = of & ~services_for(&q->next, a, of, 0);
    if (lost == 0) return true;
    if (!ask_old(q, e)) return false;
    lost &= services_for(&q->old, a, lost, within_reach(q->next.s->plan, a)); /* rows that are new to it take nothing away */
    bool broken = q->next.broken;
    q->next.broken = q->old.broken = false;
    if (lost == 0) return true;
    return broken ? err_set(e, "%.600s", q->next.failed.text) : refuse(&q->next, who, lost, e);
}

static bool spares_this_machine(struct shutting *q, struct err *e) {
    struct addr own[SHUTOUT_OWN];
    char who[ADDR_TEXT + 20];
    shutout_self(own);
    for (unsigned i = 0; i < SHUTOUT_OWN; i++) {
        addr_format_ip(&own[i], who);
        strcat(who, " (this machine)");
        if (!spares(q, &own[i], who, q->all, e)) return false;
    }
    return true;
}

static bool spares_admins(struct shutting *q, const struct admin *admin, unsigned n, int64_t now_ms, struct err *e) {
    for (unsigned i = 0; i < n; i++) {
        char address[ADDR_TEXT], when[32], who[160];
        addr_format_ip(&admin[i].address, address);
        shutout_ago(now_ms - admin[i].last_ms, when);
        snprintf(who, sizeof who, "%s, which administered the hub %s ago,", address, when);
        if (!spares(q, &admin[i].address, who, q->all & SVC_HUB, e)) return false;
    }
    return true;
}

static bool spares_cluster(struct shutting *q, bool *full, struct err *e) {
    const struct pset *cluster = lists_find(q->old.s->lists, "cluster");
    if (!cluster) return true;
    struct points p = {.at = calloc(POINTS, sizeof *p.at), .side = {q->old.s, q->next.s}};
    if (!p.at) return err_set(e, "out of memory");
    pset_each(cluster, add_range, &p);
    *full = p.full;
    bool fine = true;
    for (uint32_t i = 0; fine && i < p.n; i++) {
        char address[ADDR_TEXT], line[320], who[sizeof address + sizeof line + 4];
        addr_format_ip(&p.at[i], address);
        shutout_member(cluster, &p.at[i], line, sizeof line);
        snprintf(who, sizeof who, "%s of %s", address, line);
        fine = spares(q, &p.at[i], who, q->all, e);
    }
    free(p.at);
    return fine;
}

bool shutout_spares(const struct shutout_side *next, const struct shutout_side *old, const struct admin *admin, unsigned nadmins,
                    const char **partly, struct err *e) {
    struct shutting *q = calloc(1, sizeof *q);
    bool full = false;
    int64_t now = clock_mono_ms();
    if (!q) return err_set(e, "out of memory");
    *q = (struct shutting){.next = {.s = next, .hooks = next->hooks}, .old = {.s = old, .hooks = old->hooks}, .until = now + SHUTOUT_MS};
    for (uint32_t i = 0; i < next->plan->nsockets; i++) q->all |= next->plan->socket[i].services & GUARDED_SERVICES;
    bool fine = spares_this_machine(q, e) && spares_admins(q, admin, nadmins, now, e) && spares_cluster(q, &full, e);
    *partly = q->late ? "two seconds were not enough to ask about all members of the cluster: nobody knows whether the rest is shut out"
              : full  ? "lists/cluster.list and the lists about its members have too many edges: not every member was asked about"
                      : NULL;
    hooks_destroy(q->old.made);
    free(q);
    return fine;
}
