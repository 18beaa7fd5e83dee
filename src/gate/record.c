#include "gate/record.h"
#include "gate/rule_counts.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* "conf/lists/denied.list:7" → file and line. A refusal names its line, an allowance seldom has one. */
static void split_list(const char *place, struct record_texts *t, struct decision *out) {
    size_t n = strlen(place);
    const char *colon = memrchr(place, ':', n);
    if (n >= sizeof t->list) n = sizeof t->list - 1;
    if (colon && (size_t)(colon - place) < n) {
        out->list_line = (uint32_t)strtoul(colon + 1, NULL, 10);
        n = (size_t)(colon - place);
    }
    memcpy(t->list, place, n);
    t->list[n] = 0;
    out->list_file = t->list;
}

static void add_tags(const struct tags *from, char *out, size_t cap) {
    size_t n = strlen(out);
    for (uint32_t i = 0; from && i < from->n; i++) {
        size_t k = strlen(from->name[i]);
        if (n + k + 2 > cap) return;
        if (n) out[n++] = ',';
        memcpy(out + n, from->name[i], k + 1);
        n += k;
    }
}

/* Of the tightest rate of this stage, after this caller; -1 = the listener has none. */
static int32_t rate_left(const struct facts *f) {
    static const enum rate_kind kinds[STAGES] = {RATE_CONNECTIONS, RATE_HANDSHAKES, RATE_KINDS, RATE_REQUESTS};
    struct rate_left r[RATES_AT_ONCE];
    enum rate_kind kind = kinds[f->stage];
    if (kind == RATE_KINDS || (!f->listener->rate[kind].n && !f->listener->rate[kind + PLAN_RATE_KINDS].n)) return -1;
    int64_t least = INT32_MAX;
    unsigned n = facts_rates_left(f, kind, r);
    for (unsigned i = 0; i < n; i++) least = r[i].left < least ? r[i].left : least;
    return n ? (int32_t)least : -1;
}

static void name_entry(const struct plan_socket *s, enum plan_limit which, struct decision *out) {
    uint32_t line = which == LIMIT_NONE ? 0 : s->limit_line[which];
    if (line == 0) return; /* a default, or the policy's */
    out->entry_file = line == PLAN_LINE_SET ? "--set" : s->limit_file;
    out->entry_line = line == PLAN_LINE_SET ? 0 : line;
}

void record_make(const struct facts *f, const struct verdict *v, uint64_t generation, struct record_texts *t, struct decision *out) {
    const struct plan_socket *s = f->listener;
    *out = (struct decision){.ms = f->real_ms,
                             .generation = generation,
                             .remote = f->remote,
                             .local = s->at,
                             .stage = f->stage,
                             .verdict = v->kind,
                             .listener = s->name,
                             .reason = refusal_name(v->refusal),
                             .because = v->because,
                             .policy_file = v->policy ? v->policy : "",
                             .policy_line = v->policy_line,
                             .list_file = "",
                             .entry_file = "",
                             .sni = f->hello ? f->hello->sni : "",
                             .tags = "",
                             .active = f->counts.active,
                             .from_address = f->counts.from_address,
                             .maximum = s->max_connections,
                             .per_address = s->max_per_address,
                             .reserve = s->reserve,
                             .rate_left = rate_left(f),
                             .status = v->kind == VERDICT_ANSWER ? v->status : 0,
                             .delay_ms = (uint16_t)v->delay_ms};
    if (addr_is_any(&out->local)) out->local = (struct addr){0}; /* asking the kernel at each connection would cost more than the record */
    out->local.port = f->local_port;
    if (v->list[0]) split_list(v->list, t, out);
    name_entry(s, v->limit, out);
    if (!v->tags.n && !(f->tags && f->tags->n)) return;
    t->tags[0] = 0;
    add_tags(f->tags, t->tags, sizeof t->tags);
    add_tags(&v->tags, t->tags, sizeof t->tags);
    out->tags = t->tags;
}

#define COUNTED(field) offsetof(struct counters_block, refused_##field)
static const size_t counter_of[REFUSALS] = {[REFUSE_DENIED] = COUNTED(denied),
                                            [REFUSE_RESTRICTION] = COUNTED(restriction),
                                            [REFUSE_PER_ADDRESS] = COUNTED(per_address),
                                            [REFUSE_MAXIMUM] = COUNTED(maximum),
                                            [REFUSE_RESERVE] = COUNTED(maximum),
                                            [REFUSE_POLICY] = COUNTED(policy),
                                            [REFUSE_ERROR] = COUNTED(error),
                                            [REFUSE_BANNED] = COUNTED(banned),
                                            [REFUSE_RATE] = COUNTED(rate),
                                            [REFUSE_CLIENTS] = COUNTED(policy),
                                            [REFUSE_PROXY] = COUNTED(proxy),
                                            [REFUSE_CERTIFICATE] = COUNTED(certificate)};

void record_count(struct counters_block *b, enum refusal why) {
    void *counter = (char *)b + counter_of[why];
    atomic_fetch_add_explicit((_Atomic uint64_t *)counter, 1, memory_order_relaxed);
}
