/* The commands' side of the console: ask the running engine, connecting again where it was replaced meanwhile. */
#ifndef PORTREEVE_ENGINE_CONSOLE_CALL_H
#define PORTREEVE_ENGINE_CONSOLE_CALL_H
#include "base/buf.h"
#include "base/err.h"

struct console_call {
    char path[4096]; /* STATE/run/console.sock */
    int fd;          /* -1 = not connected */
};
bool console_call_init(struct console_call *c, const char *state_dir, struct err *e); /* does not connect yet */
void console_call_finish(struct console_call *c);
bool console_call_eval(struct console_call *c, const char *text, bool json, bool *ok, struct buf *out, struct err *e);
/* Words that `word` may become, one a line. */
bool console_call_complete(struct console_call *c, const char *word, struct buf *out, struct err *e);
#endif
