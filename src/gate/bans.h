/* Bans: addresses shut out for a while by people (or programs) while the server runs. The table stands in the supervisor's memory, so bans
 * survive reloads and engines. Workers never look into it: they ask an immutable set that is built from it elsewhere after each change.
 * Where bans overlap, the one that ends last decides, so that one whose time has passed never hides another that still holds: expiry needs no
 * sweep and is exact. Times are CLOCK_MONOTONIC ms (an hour is an hour, whatever is done to the clock), `until` is for people. */
#ifndef PORTREEVE_GATE_BANS_H
#define PORTREEVE_GATE_BANS_H
#include "base/pset.h"
#include "gate/hold.h"

#define BANS_MAX     16384u /* one more is refused; 6 MiB, of which only what is used takes memory */
#define BANS_FOREVER INT64_MAX
#define BANS_TEXT    100u

struct ban {
    uint64_t id;               /* counts up in a run */
    struct addr lo, hi;        /* both ends belong to it */
    int64_t expires_ms;        /* BANS_FOREVER: until it is taken back */
    int64_t made_ms, until_ms; /* unix; until 0 = for ever */
    char reason[BANS_TEXT], who[BANS_TEXT];
};
struct ban_slot {
    _Atomic uint64_t id; /* 0 = free */
    _Atomic uint64_t hits;
    struct ban ban;
};
struct bans {
    struct hold lock;
    _Atomic uint32_t top;     /* slots that were ever used: none is from here on */
    _Atomic uint64_t version; /* of the table: a set built from another one is out of date */
    uint64_t ids;
    struct ban_slot slot[BANS_MAX];
};

enum bans_done { BANS_ADDED, BANS_CHANGED, BANS_FULL };
/* b->id and made_ms are filled in. A ban of exactly the same addresses is replaced, and keeps its hits. */
enum bans_done bans_add(struct bans *t, struct holder_id id, struct ban *b, int64_t now_ms);
/* The ban of exactly these addresses; *was = what it said. false: there is none. */
bool bans_remove(struct bans *t, struct holder_id id, const struct addr *lo, const struct addr *hi, int64_t now_ms, struct ban *was);

struct ban_copy {
    struct ban ban;
    uint32_t slot;
};
/* Those that hold, at most cap of them; returns how many there are. */
uint32_t bans_copy(struct bans *t, struct holder_id id, int64_t now_ms, struct ban_copy *out, uint32_t cap, uint64_t *version);

struct ban_set; /* immutable; shared by reference */
/* The bans that still hold, each with its place. NULL: out of memory. Not for workers. */
struct ban_set *ban_set_create(struct bans *t, struct holder_id id, int64_t now_ms);
void ban_set_alone(struct ban_set *s);          /* the table goes away: it counts no hits from here on, and is never stale */
struct ban_set *ban_set_ref(struct ban_set *s); /* NULL is legal, here and below */
void ban_set_unref(struct ban_set *s);
bool ban_set_stale(const struct ban_set *s); /* the table has changed since; NULL is not stale */
uint32_t ban_set_count(const struct ban_set *s);
const struct ban *ban_set_at(const struct ban_set *s, uint32_t i); /* in the order of their end */
/* The ban that shuts this address out now, or NULL; belongs to the set. */
const struct ban *ban_set_find(const struct ban_set *s, const struct addr *a, int64_t now_ms);
void ban_set_hit(const struct ban_set *s, const struct ban *b);      /* counts in the table; any thread */
uint64_t ban_set_hits(const struct ban_set *s, const struct ban *b); /* so far */

/* One address, prefix or range, as a line of an address list writes it (plan/alist.h). */
bool bans_parse(const char *text, size_t n, struct addr *lo, struct addr *hi, struct err *e);
/* "203.0.113.9", "203.0.113.0/24", "10.0.0.5-10.0.0.9" */
#define BANS_RANGE 100u
void bans_range_text(const struct addr *lo, const struct addr *hi, char out[BANS_RANGE]);
/* "ban 203.0.113.0/24 until 2026-11-22 05:00:00Z by ada: scraping" */
size_t bans_because(const struct ban *b, char *out, size_t cap);
#endif
