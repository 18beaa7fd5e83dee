#include "net/iftable.h"
#include <stdlib.h>
#include <string.h>

static uint32_t hash_of(const struct addr *a) {
    uint32_t h = 2166136261u ^ a->family;
    for (size_t i = 0; i < sizeof a->ip; i++) h = (h ^ a->ip[i]) * 16777619u;
    return h;
}

static bool same(const struct known_address *k, const struct addr *at, uint32_t index) {
    return k->index == index && k->at.family == at->family && memcmp(k->at.ip, at->ip, sizeof at->ip) == 0;
}

struct known_address *iftable_address(const struct iftable *t, const struct addr *at, uint32_t index) {
    for (uint32_t i = hash_of(at) & (t->cap - 1); t->cap && t->address[i].at.family; i = (i + 1) & (t->cap - 1))
        if (same(&t->address[i], at, index)) return &t->address[i];
    return NULL;
}

static void put(struct known_address *table, uint32_t cap, const struct known_address *k) {
    uint32_t i = hash_of(&k->at) & (cap - 1);
    while (table[i].at.family) i = (i + 1) & (cap - 1);
    table[i] = *k;
}

bool iftable_add(struct iftable *t, const struct known_address *k) {
    if (t->naddresses == IFWATCH_ADDRESSES) return false;
    if ((t->naddresses + 1) * 2 > t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 64;
        struct known_address *more = calloc(cap, sizeof *more);
        if (!more) return false;
        for (uint32_t i = 0; i < t->cap; i++)
            if (t->address[i].at.family) put(more, cap, &t->address[i]);
        free(t->address);
        t->address = more;
        t->cap = cap;
    }
    struct known_address one = *k;
    one.order = t->added++;
    put(t->address, t->cap, &one);
    t->naddresses++;
    return true;
}

/* What follows in the same run moves up, so that no search stops short of it. */
void iftable_remove(struct iftable *t, struct known_address *k) {
    uint32_t i = (uint32_t)(k - t->address);
    t->address[i].at.family = 0;
    t->naddresses--;
    for (i = (i + 1) & (t->cap - 1); t->address[i].at.family; i = (i + 1) & (t->cap - 1)) {
        struct known_address moved = t->address[i];
        t->address[i].at.family = 0;
        put(t->address, t->cap, &moved);
    }
}

struct known_link *iftable_link(const struct iftable *t, uint32_t index) {
    for (uint32_t i = 0; i < t->nlinks; i++)
        if (t->link[i].index == index) return &t->link[i];
    return NULL;
}

struct known_link *iftable_add_link(struct iftable *t, uint32_t index) {
    if (t->nlinks == IFWATCH_LINKS) return NULL;
    if (t->nlinks == t->links_cap) {
        uint32_t cap = t->links_cap ? t->links_cap * 2 : 16;
        struct known_link *more = reallocarray(t->link, cap, sizeof *more);
        if (!more) return NULL;
        t->link = more;
        t->links_cap = cap;
    }
    t->link[t->nlinks] = (struct known_link){.index = index};
    return &t->link[t->nlinks++];
}

bool iftable_has(const struct iftable *t, const struct addr *at) {
    for (uint32_t i = hash_of(at) & (t->cap - 1); t->cap && t->address[i].at.family; i = (i + 1) & (t->cap - 1)) {
        const struct known_address *k = &t->address[i];
        if (same(k, at, k->index) && !k->tentative && !k->duplicate && (!at->scope || at->scope == k->index)) return true;
    }
    return false;
}

void iftable_remove_link(struct iftable *t, struct known_link *l) {
    *l = t->link[--t->nlinks];
}

void iftable_finish(struct iftable *t) {
    free(t->address);
    free(t->link);
    *t = (struct iftable){0};
}
