/* The rules about bans and rates (rule_ops.c has their names). */
#ifndef PORTREEVE_GATE_RULE_COUNTS_H
#define PORTREEVE_GATE_RULE_COUNTS_H
#include "gate/rules.h"

enum rule_says rule_banned(const struct rule *r, const struct facts *f, struct verdict *v);
enum rule_says rule_rate_connections(const struct rule *r, const struct facts *f, struct verdict *v);
enum rule_says rule_rate_handshakes(const struct rule *r, const struct facts *f, struct verdict *v);
enum rule_says rule_rate_requests(const struct rule *r, const struct facts *f, struct verdict *v);
bool rule_wants_rate(const struct rule *r, const struct plan_socket *s); /* rule_op.wants of the three */

/* What the rules ask. Not LIMIT_NONE: the entry that says no, and `out` says why ("RateConnections=5/10s of listener http
 * (conf/listeners.ini:12), 192.0.2.1: again in 1800 ms"). Where the facts are those of an arrival, not being over takes one. */
enum plan_limit facts_over_rate(const struct facts *f, enum rate_kind kind, char *out, size_t cap);
/* What is left now of each rate of that kind that the listener has, for this caller; nothing is taken. Returns how many, at most RATES_AT_ONCE. */
struct rate_left {
    enum plan_limit limit;
    uint32_t left;
};
unsigned facts_rates_left(const struct facts *f, enum rate_kind kind, struct rate_left out[RATES_AT_ONCE]);
const struct ban *facts_ban(const struct facts *f);
#endif
