/* Where tunnels lead: the addresses of a generation's backends, and what is known of each, which outlives the generation (a reload does not forget
 * that a backend is down, nor what was counted). Entries are shared by workers: atomics, no locks on the way of a connection. */
#ifndef PORTREEVE_ENGINE_BACKEND_H
#define PORTREEVE_ENGINE_BACKEND_H
#include "base/buf.h"
#include "plan/plan.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/un.h>

#define BACKEND_REST_MS 10000 /* one that could not be reached is called after all others for so long, and then by one connection first */

struct backend { /* one address, as one listener calls it */
    struct backend *next;
    _Atomic int refs;
    char listener[PLAN_NAME], text[ADDR_TEXT + 40];
    union {
        struct sockaddr any;
        struct sockaddr_storage ip;
        struct sockaddr_un path;
    } at;
    socklen_t size;
    _Atomic uint64_t connects, failures, bytes_in, bytes_out; /* in: from callers to it */
    _Atomic uint32_t active;
    _Atomic int64_t rest_ms; /* monotonic: down until then; 0 = it was reached last time */
    _Atomic int64_t said_ms; /* its failures are logged at most once a second */
    _Atomic uint32_t unsaid;
};

struct route { /* plan_backend with its addresses */
    const struct plan_backend *plan;
    struct backend *to[PLAN_TO_MOST];
    unsigned n;
};
struct routes { /* of a generation, in order of set and server name */
    struct route *route;
    uint32_t n;
};
struct backends { /* of an engine: every one that a generation or a tunnel names */
    pthread_mutex_t lock;
    struct backend *first;
};

void backends_init(struct backends *b);
/* Control thread. listener of a set: its name up to the row's number. */
bool routes_make(struct routes *r, struct backends *b, const struct plan *p, struct err *e);
void routes_finish(struct routes *r, struct backends *b);
/* The route of `set` for a caller who asks for `sni`: its own, then "*." before its parent, then the one for all others. NULL = none. Any thread. */
const struct route *routes_find(const struct routes *r, const char *set, const char *sni);
struct backend *backend_ref(struct backend *b);
void backend_drop(struct backend *b); /* any thread; what nobody names any more goes at the next routes_finish or routes_make */

/* May it be called before those that rest? One connection at a time finds out whether one that rested is back. */
bool backend_rested(struct backend *b, int64_t now_ms);
void backend_reached(struct backend *b, int64_t now_ms);
/* It could not be reached: counted, logged with listener and place (at most once a second, the rest as a number), and it rests. */
void backend_failed(struct backend *b, const struct plan_because *because, const char *why, int64_t now_ms);
void backends_metrics(struct backends *b, struct buf *out); /* Prometheus text */
bool backends_json(struct backends *b, struct buf *out);    /* array of {listener, backend, state, active, connects, failures, in, out} */
#endif
