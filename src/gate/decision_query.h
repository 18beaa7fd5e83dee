/* Which decisions are wanted. Texts are the asker's; NULL = any. */
#ifndef PORTREEVE_GATE_DECISION_QUERY_H
#define PORTREEVE_GATE_DECISION_QUERY_H
#include "gate/decision.h"

struct decision_query {
    struct addr net;        /* family 0 = any address */
    unsigned bits;          /* of it that count */
    int64_t from_ms, to_ms; /* inclusive; to_ms 0 = now */
    const char *listener, *reason, *stage, *verdict;
    bool refused;   /* nothing that was let in */
    unsigned limit; /* most of them; the caller counts */
};
/* "203.0.113.9", "203.0.113.0/24", "2001:db8::/32": bits behind the length need not be 0 and do not count. */
bool decision_query_net(struct decision_query *q, const char *text, struct err *e);
bool decision_query_holds(const struct decision_query *q, const struct addr *a);
bool decision_matches(const struct decision_query *q, const struct decision *d);
#endif
