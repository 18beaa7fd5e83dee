#include "gate/decision_query.h"
#include <string.h>

bool decision_query_net(struct decision_query *q, const char *text, struct err *e) {
    const char *slash = strchr(text, '/');
    if (!addr_parse_ip(text, slash ? (size_t)(slash - text) : strlen(text), &q->net, e)) return false;
    unsigned most = q->net.family == 4 ? 32 : 128, bits = 0;
    q->bits = most;
    if (!slash) return true;
    size_t n = strspn(slash + 1, "0123456789");
    if (n < 1 || n > 3 || slash[1 + n]) return err_set(e, "%.60s: a prefix ends in a number of bits, as in 203.0.113.0/24", text);
    for (size_t i = 1; i <= n; i++) bits = bits * 10 + (unsigned)(slash[i] - '0');
    bool mapped = most == 32 && memchr(text, ':', (size_t)(slash - text)); /* ::ffff:203.0.113.0/120 means 203.0.113.0/24, as in lists */
    if (mapped && bits < 96) return err_set(e, "%.60s: of an IPv4 address in IPv6, 96 to 128 bits can be asked about", text);
    if (mapped) bits -= 96;
    if (bits > most) return err_set(e, "%.60s: an %s address has %u bits", text, most == 32 ? "IPv4" : "IPv6", most);
    q->bits = bits;
    return true;
}

bool decision_query_holds(const struct decision_query *q, const struct addr *a) {
    if (q->net.family == 0) return true;
    if (a->family != q->net.family || (q->net.scope && a->scope && q->net.scope != a->scope)) return false;
    unsigned whole = q->bits / 8, rest = q->bits % 8;
    if (memcmp(a->ip, q->net.ip, whole) != 0) return false;
    return rest == 0 || (a->ip[whole] ^ q->net.ip[whole]) >> (8 - rest) == 0;
}

static bool same(const char *wanted, const char *is) {
    return !wanted || strcmp(wanted, is) == 0;
}

bool decision_matches(const struct decision_query *q, const struct decision *d) {
    return d->ms >= q->from_ms && (q->to_ms == 0 || d->ms <= q->to_ms) && !(q->refused && d->verdict == VERDICT_ALLOW) &&
           decision_query_holds(q, &d->remote) && same(q->listener, d->listener) && same(q->reason, d->reason) &&
           same(q->stage, stage_name(d->stage)) && same(q->verdict, verdict_name(d->verdict));
}
