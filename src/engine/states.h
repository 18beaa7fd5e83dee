/* What the running server has of each socket of a plan that has just been made: port and words. */
#ifndef PORTREEVE_ENGINE_STATES_H
#define PORTREEVE_ENGINE_STATES_H
#include "plan/running.h"

struct states {
    uint16_t *port;            /* 0 = not bound */
    char (*state)[PLAN_SHOWN]; /* NULL where no server runs */
};
bool states_make(const struct plan *p, const struct running *r, struct states *out); /* r NULL = no server; false on ENOMEM */
void states_finish(struct states *s);
struct plan_view states_view(const struct states *s);
#endif
