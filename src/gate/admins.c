#include "gate/admins.h"

void admins_seen(struct admins *t, struct holder_id id, const struct addr *a, int64_t now_ms) {
    hold_take(&t->lock, id);
    struct admin *to = &t->slot[0];
    for (unsigned i = 0; i < ADMINS_MAX; i++) {
        struct admin *s = &t->slot[i];
        if (s->last_ms && addr_same_ip(&s->address, a)) {
            to = s;
            break;
        }
        if (s->last_ms < to->last_ms) to = s;
    }
    to->last_ms = 0; /* whoever is killed in the middle leaves a free slot */
    to->address = *a;
    to->address.port = 0;
    to->last_ms = now_ms > 0 ? now_ms : 1;
    hold_give(&t->lock);
}

unsigned admins_list(const struct admins *t, int64_t now_ms, struct admin out[ADMINS_MAX]) {
    unsigned n = 0;
    for (unsigned i = 0; i < ADMINS_MAX; i++)
        if (t->slot[i].last_ms && now_ms - t->slot[i].last_ms < ADMINS_LATELY_MS) out[n++] = t->slot[i];
    return n;
}

unsigned admins_lately(struct admins *t, struct holder_id id, int64_t now_ms, struct admin out[ADMINS_MAX]) {
    hold_take(&t->lock, id);
    unsigned n = admins_list(t, now_ms, out);
    hold_give(&t->lock);
    return n;
}
