/* What a connection speaks once it has been let in and TLS, where planned, has been ended: what its socket's service says. HTTP is one
 * (conn_http.c); tunnels, line protocols in Lua and the remote log are others. Everything runs on the connection's worker and never blocks.
 *
 *   accept → [PREFACE: PROXY header] → judge(peer) → [HANDSHAKE, judge(hello), judge(identity)] → start → advance … → conn_close → close
 *
 * A speech reads and writes by c->ops (read, write, shutdown on c->stream and c->fd), says what it waits for with conn_want or conn_blocked, how
 * long with conn_deadline, and ends with conn_close(c, why). Its state is in c->state (CONN_TALK unless it has its own) and c->talk. */
#ifndef PORTREEVE_ENGINE_SPEECH_H
#define PORTREEVE_ENGINE_SPEECH_H
#include "plan/plan.h"
#include <stdbool.h>
#include <stdint.h>

struct buf;
struct conn;
struct generation;
struct speech {
    const char *name;                /* as `connections()` shows it */
    void (*start)(struct conn *c);   /* let in: set what is waited for and the deadline; no reading or writing yet */
    void (*advance)(struct conn *c); /* c->ready & c->want: go on until conn_blocked, another want, or the end */
    void (*timeout)(struct conn *c); /* the deadline has passed; NULL = close */
    void (*hangup)(struct conn *c,
                   uint32_t events);    /* EPOLLHUP, EPOLLERR or EPOLLRDHUP came (then advance, if wanted); NULL = nothing more */
    void (*close)(struct conn *c);      /* in conn_close: free what hangs on it; NULL = nothing does */
    bool (*idle)(const struct conn *c); /* between two things: may change generation; NULL = never */
    void (*drain)(struct conn *c);      /* the engine ends: conn_deadline or conn_close what need not be waited for; NULL = nothing */
    void (*answer)(struct conn *c);     /* instead of start: say guest->status and guest->text, then close (G15); NULL = close at once */
    void (*renew)(struct conn *c,
                  struct generation *g); /* another generation is in force, and this one is not idle; NULL = it keeps its own */
    void (*describe)(const struct conn *c,
                     struct buf *out); /* further members of its object in `connections()`, each with a comma before it; NULL = none */
    const char *(*state)(const struct conn *c); /* for people; NULL = name */
};
extern const struct speech speech_http, speech_log, speech_script, speech_tunnel;
/* By the services of a socket. A table entry a service (speech.c); what stands in none of them is HTTP. */
const struct speech *speech_of(const struct plan_socket *s);
#endif
