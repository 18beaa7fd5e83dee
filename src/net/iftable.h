/* Which addresses and interfaces there are, as ifwatch knows them. Bounded; an address is found by hashing. */
#ifndef PORTREEVE_NET_IFTABLE_H
#define PORTREEVE_NET_IFTABLE_H
#include "net/ifwatch.h"

struct known_address {
    struct addr at; /* family 0 = free */
    uint32_t index; /* of the interface */
    uint32_t round; /* of the reading that saw it last, see ifwatch.c */
    uint32_t order; /* in which they came */
    bool tentative, duplicate;
};
struct known_link {
    uint32_t index, round;
    bool up;
    char name[IFWATCH_NAME];
};

struct iftable {
    struct known_address *address; /* open addressing; cap is a power of two, at most half of it in use */
    uint32_t naddresses, cap, added;
    struct known_link *link;
    uint32_t nlinks, links_cap;
};

struct known_address *iftable_address(const struct iftable *t, const struct addr *at, uint32_t index); /* NULL = unknown */
bool iftable_add(struct iftable *t, const struct known_address *k);                                    /* false: full, or out of memory */
void iftable_remove(struct iftable *t, struct known_address *k);  /* others move: pointers into the table are void */
bool iftable_has(const struct iftable *t, const struct addr *at); /* on any interface, and usable */
struct known_link *iftable_link(const struct iftable *t, uint32_t index);
struct known_link *iftable_add_link(struct iftable *t, uint32_t index); /* NULL: full, or out of memory */
void iftable_remove_link(struct iftable *t, struct known_link *l);
void iftable_finish(struct iftable *t);
const struct iftable *ifwatch_table(const struct ifwatch *w);
#endif
