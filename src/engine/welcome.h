/* What `portreeve run` prints once it serves for the first time: a sample link and the set-up link. */
#ifndef PORTREEVE_ENGINE_WELCOME_H
#define PORTREEVE_ENGINE_WELCOME_H
#include "engine/generation.h"

void welcome(struct engine *eng, const struct generation *g);
#endif
