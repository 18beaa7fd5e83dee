/* Where the entries of listeners.ini stand that say who comes in, so that a refusal by a limit names file and line like one by a list. Made
 * once for a generation from its bundle; asked only when somebody is refused. */
#ifndef PORTREEVE_ENGINE_PLACES_H
#define PORTREEVE_ENGINE_PLACES_H
#include "gate/decision.h"
#include "gate/facts.h"
#include "plan/bundle.h"

struct places;
struct places *places_create(const struct bundle *b, struct err *e); /* what the planner has read is read without complaint */
void places_destroy(struct places *p);                               /* NULL is legal */
/* Fill entry_file and entry_line of d where v refuses by an entry of s; they live as long as p. Any thread. */
void places_find(const struct places *p, const struct plan_socket *s, const struct verdict *v, struct decision *d);
#endif
