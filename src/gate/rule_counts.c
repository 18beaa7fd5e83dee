#include "gate/rule_counts.h"
#include "base/clock.h"
#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS 1000000

/* A ban's end is exact, so whom one may hold is not judged by the time at which this turn of the loop began. A decision of yesterday was not taken by
 * a ban of today. */
const struct ban *facts_ban(const struct facts *f) {
    const struct ban *b = ban_set_find(f->bans, &f->remote, f->mono_ms);
    if (b && f->unknown && b->made_ms > f->real_ms) return NULL;
    return b && b->expires_ms != BANS_FOREVER && clock_mono_ms() >= b->expires_ms ? ban_set_find(f->bans, &f->remote, clock_mono_ms()) : b;
}

enum rule_says rule_banned(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)r;
    const struct ban *b = facts_ban(f);
    if (!b) return RULE_NEXT;
    if (f->fd >= 0 && !f->living) ban_set_hit(f->bans, b);
    char text[sizeof v->because];
    bans_because(b, text, sizeof text);
    return rule_refuse(v, REFUSE_BANNED, "%s", text);
}

/* ---- rates ---- */

struct claims {
    unsigned n;
    struct rate_claim claim[RATES_AT_ONCE];
    enum plan_limit limit[RATES_AT_ONCE];
    unsigned bits[RATES_AT_ONCE];
};

static void claims_of(const struct facts *f, enum rate_kind kind, struct claims *c) {
    const struct plan_socket *s = f->listener;
    for (unsigned net = 0; net < 2; net++) {
        unsigned which = (unsigned)kind + net * PLAN_RATE_KINDS;
        const struct plan_rate *r = &s->rate[which];
        if (!r->n) continue;
        c->bits[c->n] = plan_bits(s, f->remote.family, net);
        c->limit[c->n] = (enum plan_limit)(LIMIT_RATES + which);
        uint64_t listener = f->listener_key ^ net; /* an address and a net may have the same bits */
        rates_claim(&c->claim[c->n], rates_key(f->counters->hash_key, kind, listener, &f->remote, c->bits[c->n]), r->n, r->ms);
        c->n++;
    }
}

/* Which claim has nothing left, or -1; looked at, not taken. */
static int look(const struct facts *f, const struct claims *c) {
    for (unsigned i = 0; i < c->n; i++)
        if (rates_left(&f->counters->rates, f->holder, &c->claim[i], f->mono_ms * NS_PER_MS) == 0) return (int)i;
    return -1;
}

static void whom(const struct facts *f, unsigned bits, char out[BANS_RANGE]) {
    struct addr lo = {.family = f->remote.family}, hi = lo;
    for (unsigned i = 0; i < (lo.family == 4 ? 32u : 128u); i++) {
        unsigned bit = 0x80u >> i % 8;
        if (i < bits ? f->remote.ip[i / 8] & bit : 0) lo.ip[i / 8] = (uint8_t)(lo.ip[i / 8] | bit);
        if (i < bits ? f->remote.ip[i / 8] & bit : 1) hi.ip[i / 8] = (uint8_t)(hi.ip[i / 8] | bit);
    }
    bans_range_text(&lo, &hi, out);
}

static void explain(const struct facts *f, const struct claims *c, int over, int64_t wait_ms, char *out, size_t cap) {
    const struct plan_rate *r = &f->listener->rate[c->limit[over] - LIMIT_RATES];
    char at[PLAN_PATH + 24], who[BANS_RANGE], wait[48] = "";
    plan_limit_at(f->listener, c->limit[over], at, sizeof at);
    whom(f, c->bits[over], who);
    bool seconds = r->ms % 1000 == 0;
    if (wait_ms) snprintf(wait, sizeof wait, ": again in %" PRId64 " ms", wait_ms);
    snprintf(out, cap, "%s=%" PRIu32 "/%" PRIu32 "%s of listener %s%s, %s%s", plan_limit_name(c->limit[over]), r->n,
             seconds ? r->ms / 1000 : r->ms, seconds ? "s" : "ms", f->listener->name, at, who, wait);
}

enum plan_limit facts_over_rate(const struct facts *f, enum rate_kind kind, char *out, size_t cap) {
    struct claims c = {0};
    int64_t wait_ms = 0;
    if (!f->counters || f->living) return LIMIT_NONE;
    claims_of(f, kind, &c);
    if (c.n == 0) return LIMIT_NONE;
    int over = f->fd < 0 ? look(f, &c) : rates_take(&f->counters->rates, f->holder, c.claim, c.n, f->mono_ms * NS_PER_MS, &wait_ms);
    if (over < 0) return LIMIT_NONE;
    explain(f, &c, over, wait_ms, out, cap);
    return c.limit[over];
}

unsigned facts_rates_left(const struct facts *f, enum rate_kind kind, struct rate_left out[RATES_AT_ONCE]) {
    struct claims c = {0};
    if (!f->counters) return 0;
    claims_of(f, kind, &c);
    for (unsigned i = 0; i < c.n; i++)
        out[i] = (struct rate_left){c.limit[i], rates_left(&f->counters->rates, f->holder, &c.claim[i], f->mono_ms * NS_PER_MS)};
    return c.n;
}

static enum rule_says rate(const struct facts *f, struct verdict *v, enum rate_kind kind) {
    char why[400];
    v->limit = facts_over_rate(f, kind, why, sizeof why);
    return v->limit == LIMIT_NONE ? RULE_NEXT : rule_refuse(v, REFUSE_RATE, "%s", why);
}

enum rule_says rule_rate_connections(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)r;
    return rate(f, v, RATE_CONNECTIONS);
}

enum rule_says rule_rate_handshakes(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)r;
    return rate(f, v, RATE_HANDSHAKES);
}

enum rule_says rule_rate_requests(const struct rule *r, const struct facts *f, struct verdict *v) {
    (void)r;
    return rate(f, v, RATE_REQUESTS);
}

bool rule_wants_rate(const struct rule *r, const struct plan_socket *s) {
    unsigned kind = r->op->judge == rule_rate_connections  ? RATE_CONNECTIONS
                    : r->op->judge == rule_rate_handshakes ? RATE_HANDSHAKES
                                                           : RATE_REQUESTS;
    return s->rate[kind].n || s->rate[kind + PLAN_RATE_KINDS].n;
}
