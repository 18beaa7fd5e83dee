/* What console and hub may do about bans. Any thread but a worker. */
#ifndef PORTREEVE_ENGINE_BANNING_API_H
#define PORTREEVE_ENGINE_BANNING_API_H
#include "base/buf.h"
#include "engine/engine.h"
#include "script/lib_engine.h"

void banning_api(struct engine_api *out); /* fills in its part: ban, unban, bans, reap, administrator */
#endif
