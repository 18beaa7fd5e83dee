/* The rules that need no Lua. Each says exactly what its function in lua/portreeve/admission.lua says; tests/unit/rules.c compares them. */
#include "gate/rule_counts.h"
#include <stdio.h>

static enum rule_says refuse_listed(const struct rule *r, const struct facts *f, struct verdict *v) {
    struct pset_hit hit = facts_ask(f, r->set);
    return hit.in ? rule_refuse_line(v, REFUSE_DENIED, r->set, hit, "") : RULE_NEXT;
}

static enum rule_says unlisted(const struct rule *r, const struct facts *f, struct verdict *v, enum refusal why) {
    struct pset_hit hit = facts_ask(f, r->set);
    if (hit.in) return RULE_NEXT;
    char none[sizeof r->list + 16];
    snprintf(none, sizeof none, "not in list %s", r->list);
    return rule_refuse_line(v, why, r->set, hit, none);
}

static enum rule_says only_listed(const struct rule *r, const struct facts *f, struct verdict *v) {
    return unlisted(r, f, v, REFUSE_RESTRICTION);
}

static enum rule_says clients_only(const struct rule *r, const struct facts *f, struct verdict *v) {
    return unlisted(r, f, v, REFUSE_CLIENTS);
}

static enum rule_says allow(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)f, (void)v;
    if (!r->set) return RULE_ALLOW;
    return facts_ask(f, r->set).in ? RULE_ALLOW : RULE_NEXT;
}

static enum rule_says refuse(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)f;
    return rule_refuse(v, REFUSE_POLICY, "%s:%u", r->file, r->line);
}

/* Grant = only those in the socket's list, deny = all but those (G11, G12). */
static enum rule_says restriction(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)r;
    const struct plan_socket *s = f->listener;
    if (s->restriction == RESTRICT_NONE) return RULE_NEXT;
    const struct pset *set = lists_find(f->lists, s->list);
    struct pset_hit hit = set ? facts_ask(f, set) : (struct pset_hit){0};
    if (s->restriction == RESTRICT_DENY) return hit.in ? rule_refuse_line(v, REFUSE_RESTRICTION, set, hit, "") : RULE_NEXT;
    if (hit.in) return RULE_NEXT;
    char none[PLAN_NAME + 16];
    snprintf(none, sizeof none, "not in list %s", s->list);
    enum rule_says says = set ? rule_refuse_line(v, REFUSE_RESTRICTION, set, hit, none) : rule_refuse(v, REFUSE_RESTRICTION, "%s", none);
    if (!v->list[0]) v->limit = LIMIT_LIST;
    return says;
}

/* A limit is the listener's, or stands in the policy. */
static enum rule_says over(const struct rule *r, const struct facts *f, struct verdict *v, enum refusal why, enum plan_limit entry,
                           uint32_t limit) {
    char at[PLAN_PATH + 24];
    if (r->number >= 0) return rule_refuse(v, why, "%s(%lld) of %s:%u", r->op->name, (long long)r->number, r->file, r->line);
    v->limit = entry;
    plan_limit_at(f->listener, entry, at, sizeof at);
    return rule_refuse(v, why, "%s=%u of listener %s%s", plan_limit_name(entry), limit, f->listener->name, at);
}

static uint32_t per_address_of(const struct rule *r, const struct facts *f) {
    return r->number >= 0 ? (uint32_t)r->number : f->listener->max_per_address;
}

static uint32_t maximum_of(const struct rule *r, const struct facts *f) {
    return r->number >= 0 ? (uint32_t)r->number : f->listener->max_connections;
}

static int64_t reserve_of(const struct rule *r, const struct facts *f) {
    return r->number >= 0 ? r->number : f->listener->reserve;
}

static enum rule_says per_address(const struct rule *r, const struct facts *f, struct verdict *v) {
    uint32_t limit = per_address_of(r, f);
    if (limit == 0 || f->counts.from_address <= limit) return RULE_NEXT;
    return over(r, f, v, REFUSE_PER_ADDRESS, LIMIT_PER_ADDRESS, limit);
}

static enum rule_says maximum(const struct rule *r, const struct facts *f, struct verdict *v) {
    uint32_t limit = maximum_of(r, f);
    if (limit == 0 || f->counts.active <= limit) return RULE_NEXT;
    return over(r, f, v, REFUSE_MAXIMUM, LIMIT_CONNECTIONS, limit);
}

/* With as many places free as are reserved, or fewer, only clients come in (G26). The counts include the connection that is judged. */
static enum rule_says reserve(const struct rule *r, const struct facts *f, struct verdict *v) {
    int64_t keep = reserve_of(r, f), most = f->listener->max_connections;
    if (most == 0 || keep == 0 || most - ((int64_t)f->counts.active - 1) > keep) return RULE_NEXT;
    if (f->living && keep < most) return RULE_NEXT; /* it is about who comes: whoever came before the clients did may stay */
    if (facts_ask(f, r->set).in) return RULE_NEXT;
    return over(r, f, v, REFUSE_RESERVE, LIMIT_RESERVE, f->listener->reserve);
}

static uint32_t less(int64_t a, uint32_t b) {
    return a < 0 ? 0 : a < b ? (uint32_t)a : b;
}

static void bound_per_address(const struct rule *r, const struct facts *f, struct rule_bounds *b) {
    uint32_t limit = per_address_of(r, f);
    if (limit) b->from_address = less(limit, b->from_address);
}

static void bound_maximum(const struct rule *r, const struct facts *f, struct rule_bounds *b) {
    uint32_t limit = maximum_of(r, f);
    if (limit) b->active = less(limit, b->active);
}

static void bound_reserve(const struct rule *r, const struct facts *f, struct rule_bounds *b) {
    int64_t keep = reserve_of(r, f), most = f->listener->max_connections;
    if (most && keep && !pset_find(r->set, &f->remote).in) b->active = less(most - keep, b->active);
}

static enum rule_says tag(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)f;
    (void)tags_add(&v->tags, r->word); /* a ninth tag is not kept, as tags_add says */
    return RULE_NEXT;
}

static enum rule_says only(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)f;
    v->only &= r->services;
    return RULE_NEXT;
}

static enum rule_says delay(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)f;
    v->delay_ms += (uint32_t)r->number;
    if (v->delay_ms > DELAY_MOST_MS) v->delay_ms = DELAY_MOST_MS;
    return RULE_NEXT;
}

const struct rule_op rule_ops[] = {
    /* name, stage, needs_list, wants, bound, judge */
    {"refuse_listed", STAGE_PEER, true, NULL, NULL, refuse_listed},
    {"only_listed", STAGE_PEER, true, NULL, NULL, only_listed},
    {"clients_only", STAGE_PEER, true, NULL, NULL, clients_only},
    {"allow", STAGE_PEER, false, NULL, NULL, allow},
    {"refuse", STAGE_PEER, false, NULL, NULL, refuse},
    {"restriction", STAGE_PEER, false, NULL, NULL, restriction},
    {"per_address", STAGE_PEER, false, NULL, bound_per_address, per_address},
    {"maximum", STAGE_PEER, false, NULL, bound_maximum, maximum},
    {"reserve", STAGE_PEER, true, NULL, bound_reserve, reserve},
    {"banned", STAGE_PEER, false, NULL, NULL, rule_banned},
    {"rate_connections", STAGE_PEER, false, rule_wants_rate, NULL, rule_rate_connections},
    {"rate_handshakes", STAGE_HELLO, false, rule_wants_rate, NULL, rule_rate_handshakes},
    {"rate_requests", STAGE_REQUEST, false, rule_wants_rate, NULL, rule_rate_requests},
    {"tag", STAGE_PEER, false, NULL, NULL, tag},
    {"only", STAGE_PEER, false, NULL, NULL, only},
    {"delay", STAGE_PEER, false, NULL, NULL, delay},
    {"lua", STAGE_PEER, false, NULL, NULL, NULL},
    {NULL, STAGE_PEER, false, NULL, NULL, NULL}};
