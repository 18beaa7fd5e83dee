/* How often: cells in the supervisor's memory, one for each (what is counted, listener, address or net) that came lately. They know nothing of
 * generations or engines, so a reload or a crash forgives nobody.
 * Generic cell rate algorithm (ITU-T I.371, its virtual scheduling form): a cell holds the time at which all that was taken will have been paid
 * for. Of a rate N/D a caller may take N at once, and then one every D/N: never more than N beyond what D/N allows. What is refused costs
 * nothing. A cell whose time has passed says the same as none, so nothing ever has to be swept.
 * The table is bounded. Where a bucket is full of unpaid cells the one that is paid soonest is lost (counted): its caller may come in early,
 * by that rest at most, and nobody is refused for want of room. */
#ifndef PORTREEVE_GATE_RATES_H
#define PORTREEVE_GATE_RATES_H
#include "base/addr.h"
#include "gate/hold.h"

#define RATES_BUCKETS 32768u /* 4 MiB, of which only what is touched takes memory */
#define RATES_WAYS    7u
#define RATES_AT_ONCE 2u /* limits that are taken together, or none of them */

struct rates_bucket {
    _Alignas(128) struct hold lock;
    struct {
        uint64_t key;
        int64_t paid_ns;
    } cell[RATES_WAYS];
};
struct rates {
    _Atomic uint64_t lost; /* cells that had to go before their time */
    struct rates_bucket bucket[RATES_BUCKETS];
};

enum rate_kind { RATE_CONNECTIONS, RATE_HANDSHAKES, RATE_REQUESTS, RATE_KINDS };
struct rate_claim {
    uint64_t key;     /* rates_key */
    int64_t step_ns;  /* D/N, rounded up */
    int64_t burst_ns; /* N steps */
};
/* bits: of the address that count. key: of the tables (struct counters). */
uint64_t rates_key(const uint64_t key[2], enum rate_kind kind, uint64_t listener, const struct addr *a, unsigned bits);
/* n per ms milliseconds, both at least 1. */
void rates_claim(struct rate_claim *c, uint64_t key, uint32_t n, uint32_t ms);
/* Take one of each of n claims (different keys, at most RATES_AT_ONCE), or of none. -1, or which of them has none left; then *wait_ms is how
 * long until it has. now_ns: CLOCK_MONOTONIC, of the whole run. */
int rates_take(struct rates *r, struct holder_id id, const struct rate_claim *c, unsigned n, int64_t now_ns, int64_t *wait_ms);
/* How many could be taken now. */
uint32_t rates_left(struct rates *r, struct holder_id id, const struct rate_claim *c, int64_t now_ns);
#endif
