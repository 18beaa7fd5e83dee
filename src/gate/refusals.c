#include "gate/refusals.h"
#include "base/clock.h"
#include "base/log.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct refusals {
    pthread_mutex_t lock;
    uint64_t n;
    struct refusal_record ring[REFUSALS_KEPT];
};

struct refusals *refusals_create(void) {
    struct refusals *r = calloc(1, sizeof *r);
    if (r) pthread_mutex_init(&r->lock, NULL);
    return r;
}

void refusals_destroy(struct refusals *r) {
    if (!r) return;
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void count(struct counters_block *b, enum refusal reason) {
    switch (reason) {
    case REFUSE_DENIED: COUNT(b, refused_denied); break;
    case REFUSE_RESTRICTION: COUNT(b, refused_restriction); break;
    case REFUSE_PER_ADDRESS: COUNT(b, refused_per_address); break;
    case REFUSE_MAXIMUM:
    case REFUSE_RESERVE: COUNT(b, refused_maximum); break;
    case REFUSE_ERROR: COUNT(b, refused_error); break;
    default: COUNT(b, refused_policy); break;
    }
}

void refusals_add(struct refusals *r, struct counters_block *block, const struct facts *f, const struct verdict *v, uint64_t generation) {
    count(block, v->refusal);
    pthread_mutex_lock(&r->lock);
    struct refusal_record *rec = &r->ring[r->n++ % REFUSALS_KEPT];
    *rec = (struct refusal_record){.ms = clock_real_ms(), .remote = f->remote, .reason = v->refusal, .generation = generation};
    snprintf(rec->listener, sizeof rec->listener, "%s", f->listener->name);
    snprintf(rec->because, sizeof rec->because, "%.*s", (int)sizeof rec->because - 1, v->because);
    pthread_mutex_unlock(&r->lock);

    char who[ADDR_TEXT];
    addr_format_ip(&f->remote, who);
    const char *kv[] = {"address", who, "listener", f->listener->name, "reason", refusal_name(v->refusal), "because", v->because, NULL};
    log_kv(LOG_LVL_NOTICE, "admission", kv, "refused");
}

unsigned refusals_last(struct refusals *r, struct refusal_record *out, unsigned cap) {
    pthread_mutex_lock(&r->lock);
    uint64_t have = r->n < REFUSALS_KEPT ? r->n : REFUSALS_KEPT;
    unsigned n = have < cap ? (unsigned)have : cap;
    for (unsigned i = 0; i < n; i++) out[i] = r->ring[(r->n - 1 - i) % REFUSALS_KEPT];
    pthread_mutex_unlock(&r->lock);
    return n;
}
