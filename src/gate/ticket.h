/* A connection's ticket: the places it took at admission, given back exactly once, whatever ends the connection.
 * Taking comes before judging, so the numbers a verdict sees include the connection itself and two workers can never both see the last place. */
#ifndef PORTREEVE_GATE_TICKET_H
#define PORTREEVE_GATE_TICKET_H
#include "base/addr.h"
#include "gate/counters.h"

struct ticket {
    uint64_t key;         /* (listener, address) as hashed */
    uint16_t listener_id; /* below LIVE_LISTENERS */
    bool held, counted;   /* counted: the address fitted into the table */
};
struct ticket_counts {
    uint32_t active; /* live connections of the listener, this one included */
    uint32_t
        from_address; /* of the same remote address (its first `bits` bits) on that listener, this one included; UINT32_MAX = table full here */
};
/* bits: how much of an address says who it is (NAME.PrefixIPv4, PrefixIPv6). When that changes, living connections stay counted as they came. */
void ticket_take(struct ticket *t, struct counters *c, struct counters_live *live, uint16_t listener_id, const struct addr *remote,
                 unsigned bits, struct ticket_counts *out);
/* The counts as they would be with this one; nothing is taken. A ticket that was looked at may be taken within bounds: then no two workers can
 * both get the last place, and one that is refused was at no moment in anybody's way. false: a bound is reached, `out` says by which number. */
void ticket_look(struct ticket *t, const struct counters *c, struct counters_live *live, uint16_t listener_id, const struct addr *remote,
                 unsigned bits, struct ticket_counts *out);
bool ticket_take_within(struct ticket *t, struct counters_live *live, uint32_t most, uint32_t most_from, struct ticket_counts *out);
void ticket_give(struct ticket *t, struct counters_live *live); /* idempotent */
#endif
