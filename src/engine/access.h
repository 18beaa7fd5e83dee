/* Access log: one line a request or tunnel into STATE/log/access.log, written by a thread of its own so that a slow disk never holds a worker.
 * At most 8 MiB of all workers together wait; what does not fit is dropped and counted, and so is what a full disk does not take: no half line stays.
 * A file that is put aside (logrotate) is made anew with the next line. Paths are written without the query (secrets). */
#ifndef PORTREEVE_ENGINE_ACCESS_H
#define PORTREEVE_ENGINE_ACCESS_H
#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>

struct access_log;
struct access_log *access_start(const char *path, struct err *e);
/* A line begins with what every line has, its writer adds members (each with a comma before it), and it ends: b is handed over now and then. */
void access_begin(struct buf *b, int64_t ms, const struct addr *who, const char *listener, const char *service);
void access_end(struct access_log *a, struct buf *b);
/* Hand over whole lines; empties b. Any worker. */
void access_put(struct access_log *a, struct buf *b);
uint64_t access_dropped(struct access_log *a);
void access_stop(struct access_log *a);
#endif
