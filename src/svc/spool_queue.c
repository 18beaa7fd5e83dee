#include "svc/spool_i.h"
#include <stdlib.h>
#include <string.h>

#define HALF_KEEP (256u << 10) /* memory kept by an empty half */
#define TURN_MAX  (4u << 20)   /* bytes after which no further half joins a transaction */

static bool half_room(struct half *h, size_t more) {
    if (h->cap - h->n >= more) return true;
    if (h->n + more > HALF_MAX) return false;
    size_t cap = h->cap == 0 ? 4096 : h->cap * 2;
    if (cap > HALF_MAX) cap = HALF_MAX;
    uint8_t *p = realloc(h->p, cap);
    if (p == NULL) return false;
    h->p = p;
    h->cap = cap;
    return true;
}

static void half_cut(struct half *h) {
    if (h->count == 0) return;
    h->cut[h->cuts].end = h->n;
    h->cut[h->cuts++].count = h->count;
    h->count = 0;
}

bool half_append(struct half *h, const uint8_t *p, size_t n) {
    if (!half_room(h, n)) return false;
    size_t since = h->n - (h->cuts == 0 ? 0 : h->cut[h->cuts - 1].end);
    if (since + n > CUT && h->cuts < CUTS - 1) half_cut(h);
    memcpy(h->p + h->n, p, n);
    h->n += n;
    h->count++;
    return true;
}

static void half_clear(struct half *h) {
    h->n = h->count = h->cuts = 0;
    if (h->cap > HALF_KEEP) {
        free(h->p);
        h->p = NULL;
        h->cap = 0;
    }
}

uint64_t half_count(const struct half *h) {
    uint64_t n = h->count;
    for (unsigned k = 0; k < h->cuts; k++) n += h->cut[k].count;
    return n;
}

uint64_t queue_take(struct spool *s) {
    uint64_t count = 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < s->cfg.producers; i++) {
        struct producer *pr = &s->producer[i];
        pr->taken_to = 0;
        if (bytes >= TURN_MAX) continue;
        pthread_mutex_lock(&pr->lock);
        struct half *h = &pr->half[pr->filling];
        if (h->n > 0) {
            half_cut(h);
            pr->filling ^= 1;
            pr->taken_to = pr->ticket;
        }
        pthread_mutex_unlock(&pr->lock);
        if (pr->taken_to == 0) continue;
        bytes += h->n;
        count += half_count(h);
    }
    return count;
}

bool queue_any(struct spool *s) {
    for (unsigned i = 0; i < s->cfg.producers; i++) {
        struct producer *pr = &s->producer[i];
        pthread_mutex_lock(&pr->lock);
        bool some = pr->half[pr->filling].n > 0;
        pthread_mutex_unlock(&pr->lock);
        if (some) return true;
    }
    return false;
}

void queue_tell(struct spool *s, bool fine) {
    for (unsigned i = 0; i < s->cfg.producers; i++) {
        struct producer *pr = &s->producer[i];
        if (pr->taken_to == 0) continue;
        half_clear(&pr->half[pr->filling ^ 1]);
        if (s->cfg.done != NULL) s->cfg.done(s->cfg.ctx, i, pr->taken_to, fine);
        pr->taken_to = 0;
    }
}
