/* The addresses and interfaces of this machine at one moment: a watch that is read once. */
#include "net/iftable.h"
#include <stdlib.h>
#include <string.h>

static int by_order(const void *a, const void *b) {
    const struct known_address *x = *(const struct known_address *const *)a, *y = *(const struct known_address *const *)b;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Addresses come grouped by interface: the one found last is mostly the one wanted. */
static void name(const struct iftable *t, struct ifaddress *a, const struct known_link **last) {
    if (!*last || (*last)->index != a->index) *last = iftable_link(t, a->index);
    if (*last) memcpy(a->name, (*last)->name, sizeof a->name);
}

static bool copy_addresses(const struct iftable *t, struct iflist *l) {
    const struct known_address **in = calloc(t->naddresses + 1, sizeof *in);
    const struct known_link *last = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; in && i < t->cap; i++)
        if (t->address[i].at.family) in[n++] = &t->address[i];
    if (in) qsort(in, n, sizeof *in, by_order);
    l->address = calloc(n + 1, sizeof *l->address);
    for (uint32_t i = 0; in && l->address && i < n; i++) {
        struct ifaddress *a = &l->address[l->naddresses++];
        *a = (struct ifaddress){.at = in[i]->at, .index = in[i]->index, .tentative = in[i]->tentative, .duplicate = in[i]->duplicate};
        name(t, a, &last);
    }
    bool good = in && l->address;
    free(in);
    return good;
}

static bool copy_links(const struct iftable *t, struct iflist *l) {
    l->link = calloc(t->nlinks + 1, sizeof *l->link);
    for (uint32_t i = 0; l->link && i < t->nlinks; i++) {
        struct iflink *x = &l->link[l->nlinks++];
        x->index = t->link[i].index;
        memcpy(x->name, t->link[i].name, sizeof x->name);
    }
    return l->link;
}

bool iflist_read(struct iflist *l, struct err *e) {
    *l = (struct iflist){0};
    struct ifwatch *w = ifwatch_create(e);
    if (!w) return false;
    const struct iftable *t = ifwatch_table(w);
    bool good = (copy_addresses(t, l) && copy_links(t, l)) || err_set(e, "out of memory");
    ifwatch_destroy(w);
    if (!good) iflist_finish(l);
    return good;
}

void iflist_finish(struct iflist *l) {
    free(l->address);
    free(l->link);
    *l = (struct iflist){0};
}
