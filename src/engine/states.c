#include "engine/states.h"
#include "plan/plan_check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(const struct plan *p, const struct running *r, const int32_t *keep, struct states *out) {
    for (uint32_t i = 0; i < p->nsockets; i++) {
        if (keep[i] >= 0) {
            out->port[i] = r->socket[keep[i]].port;
            snprintf(out->state[i], sizeof out->state[i], "%s", r->socket[keep[i]].state);
        } else if (!p->socket[i].waiting) {
            snprintf(out->state[i], sizeof out->state[i], "planned");
        }
    }
}

bool states_make(const struct plan *p, const struct running *r, struct states *out) {
    uint32_t n = p->nsockets ? p->nsockets : 1, m = r && r->plan.nsockets ? r->plan.nsockets : 1;
    *out = (struct states){.port = calloc(n, sizeof *out->port)};
    if (!r) return out->port != NULL;
    out->state = calloc(n, sizeof *out->state);
    uint16_t *bound = calloc(m, sizeof *bound);
    int32_t *keep = calloc(n, sizeof *keep);
    bool *used = calloc(m, sizeof *used), good = out->port && out->state && bound && keep && used;
    for (uint32_t i = 0; good && i < r->plan.nsockets; i++) bound[i] = r->socket[i].port;
    good = good && plan_match(&r->plan, bound, p, keep, used);
    if (good) put(p, r, keep, out);
    free(bound);
    free(keep);
    free(used);
    if (!good) states_finish(out);
    return good;
}

void states_finish(struct states *s) {
    free(s->port);
    free(s->state);
    memset(s, 0, sizeof *s);
}

struct plan_view states_view(const struct states *s) {
    return (struct plan_view){.port = s->state ? s->port : NULL, .state = (const char(*)[PLAN_SHOWN])s->state};
}
