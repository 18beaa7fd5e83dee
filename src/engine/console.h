/* The console thread: unix socket, its own Lua state with a budget, so that what an operator types can hold up nothing but the console. */
#ifndef PORTREEVE_ENGINE_CONSOLE_H
#define PORTREEVE_ENGINE_CONSOLE_H
#include "engine/engine.h"

struct console;
struct console *console_start(struct engine *eng, const char *socket_path, struct err *e);
void console_stop(struct console *c); /* NULL is legal */
#endif
