/* Access log: one line a request into STATE/log/access.log, written by a thread of its own so that a slow disk never holds a worker.
 * Per worker at most 1 MiB waits; what does not fit is dropped and counted. Paths are written without the query (secrets). */
#ifndef PORTREEVE_ENGINE_ACCESS_H
#define PORTREEVE_ENGINE_ACCESS_H
#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>

struct access_log;
struct access_log *access_start(const char *path, struct err *e);
/* Hand over whole lines; empties b. Any worker. */
void access_put(struct access_log *a, struct buf *b);
void access_reopen(struct access_log *a); /* after logrotate; done at each reload */
uint64_t access_dropped(struct access_log *a);
void access_stop(struct access_log *a);
#endif
