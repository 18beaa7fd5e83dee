/* Console socket: a listening unix socket (0600 in a 0700 folder) whose clients send one line and get one line, on the caller's event loop.
 * Who asks is the kernel's word (SO_PEERCRED): root, or the uid the engine runs as. What a line means is the handler's business.
 *   client: {"eval":"…","json":true|false} or {"complete":"…"} \n       server: {"ok":true|false,"text":"…"} \n
 * Bounds: CONSOCK_CLIENTS at a time, lines of CONSOCK_LINE, answers of CONSOCK_REPLY; a client that does not read its answer is not asked for more. */
#ifndef PORTREEVE_SVC_CONSOCK_H
#define PORTREEVE_SVC_CONSOCK_H
#include "base/buf.h"
#include "base/err.h"
#include <ev.h>
#include <sys/types.h>

#define CONSOCK_CLIENTS 8
#define CONSOCK_LINE    65536u
#define CONSOCK_REPLY   (4u << 20)

struct consock;
/* line: n bytes and a NUL, without the newline. The handler fills reply (bounded to CONSOCK_REPLY) with one line, without
 * the newline; what does not fit it leaves out wholly (an empty reply is answered with an error). */
typedef void consock_handler(void *ctx, uid_t uid, pid_t pid, const char *line, size_t n, struct buf *reply);
/* Takes the path over from whoever had it (an engine that drains), atomically. NULL with e on a fault. */
struct consock *consock_start(struct ev_loop *loop, const char *path, consock_handler *fn, void *ctx, struct err *e);
void consock_stop(struct consock *c); /* NULL is legal; removes the path if it is still this socket's */

/* The other side, blocking. Connect: a descriptor the caller closes, or -1. */
int consock_connect(const char *path, struct err *e);
/* Send one request line (without the newline) and read the answer: *ok and text (unescaped). False: no answer, e says why. */
bool consock_ask(int fd, const struct buf *request, bool *ok, struct buf *text, struct err *e);
#endif
