/* For commands: moments as people write them, and documents in words. */
#ifndef PORTREEVE_ENGINE_SAY_H
#define PORTREEVE_ENGINE_SAY_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

/* "2026-11-17 14:00", "2026-11-17T14:00:05Z", "2026-11-17", "14:00" (today): this machine's time unless it ends in Z. Unix ms. */
bool say_time(const char *s, int64_t *ms);
bool say_text(const char *p, size_t n, struct err *e); /* to standard output */
/* What text(document) of a module of the Lua library makes of a document, to standard output. */
bool say_words(const char *module, const char *document, size_t n, struct err *e);
#endif
