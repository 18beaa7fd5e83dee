/* What a listener's limits are called, and where they stand. */
#include "plan/plan.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const names[PLAN_LIMITS] = {"List",
                                               "MaxConnections",
                                               "MaxPerAddress",
                                               "Reserve",
                                               "RateConnections",
                                               "RateHandshakes",
                                               "RateRequests",
                                               "RateConnectionsPerNet",
                                               "RateHandshakesPerNet",
                                               "RateRequestsPerNet",
                                               "Proxy",
                                               "ProxyFrom",
                                               "ClientCertificate",
                                               "ClientCA"};

const char *plan_limit_name(enum plan_limit which) {
    return names[which];
}

enum plan_limit plan_limit_of(const char *name) {
    unsigned i = 0;
    while (i < PLAN_LIMITS && strcmp(names[i], name) != 0) i++;
    return (enum plan_limit)i;
}

unsigned plan_bits(const struct plan_socket *s, uint8_t family, bool net) {
    uint32_t set = family == 4 ? net ? s->net4 : s->bits4 : net ? s->net6 : s->bits6;
    if (set) return set;
    return family == 4 ? net ? 24 : 32 : net ? 48 : 64;
}

size_t plan_limit_at(const struct plan_socket *s, enum plan_limit which, char *out, size_t cap) {
    uint32_t line = s->limit_line[which];
    int n = 0;
    out[0] = '\0';
    if (line == PLAN_LINE_SET) n = snprintf(out, cap, " (--set)");
    else if (line) n = snprintf(out, cap, " (%s:%" PRIu32 ")", s->limit_file, line);
    return n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}

bool plan_limits_differ(const struct plan_socket *a, const struct plan_socket *b) {
    bool same = a->max_connections == b->max_connections && a->max_per_address == b->max_per_address && a->reserve == b->reserve &&
                a->give_way == b->give_way;
    for (uint8_t family = 4; same && family <= 6; family += 2)
        same = plan_bits(a, family, false) == plan_bits(b, family, false) && plan_bits(a, family, true) == plan_bits(b, family, true);
    for (unsigned i = 0; same && i < PLAN_RATES; i++)
        same = a->rate[i].n == b->rate[i].n && (a->rate[i].n == 0 || a->rate[i].ms == b->rate[i].ms);
    return !same;
}
