/* What conn.c (life), conn_admit.c (judging), conn_http.c (HTTP's life), conn_read.c (input, up to a whole request) and conn_write.c (output, and what comes after it) share; nobody else includes this. */
#ifndef PORTREEVE_ENGINE_CONN_I_H
#define PORTREEVE_ENGINE_CONN_I_H
#include "engine/conn.h"

#define IN_FIRST   4096u
#define OUT_KEEP   16384u
#define RETIRED_MS 500 /* left to an idle connection whose listener or engine goes */

struct request_state *conn_take_state(struct worker *w);          /* NULL = out of memory */
void conn_give_state(struct worker *w, struct request_state *rq); /* back to the pool; frees what grew large */
const struct plan_settings *conn_settings(const struct conn *c);
void conn_want(struct conn *c, uint8_t what);               /* what the state machine waits for */
void conn_blocked(struct conn *c, ssize_t what);            /* a stream call could not go on: wait for exactly what it wants */
void conn_abandon(struct conn *c, int status);              /* an error answer to something that never became a whole request */
void conn_refuse(struct conn *c, const struct h1_bad *bad); /* the same for what the parser refused, with its reason in the log */
bool conn_park_room(const struct worker *w);                /* may one more be made to wait? */
void conn_go_idle(struct conn *c);
bool conn_flush(struct conn *c);       /* true = all of out is sent; else look at the state */
void conn_finish(struct conn *c);      /* everything is sent and the connection ends */
void conn_after_write(struct conn *c); /* the next request, the body, idleness or the end */
void conn_end_exchange(struct conn *c);
void conn_serve(struct conn *c);    /* parse and answer what stands in the input */
void conn_serve_on(struct conn *c); /* the request that stands parsed in rq has been let in: its body, its answer, and what is behind */
void conn_read(struct conn *c);     /* HTTP: something that is wanted is there */
void conn_forget_guest(struct conn *c);
/* conn_proxy.c: the PROXY header. */
static inline bool conn_header_due(const struct conn *c) { /* it has not come yet */
    return c->listener->plan->proxy != PROXY_OFF && !c->via;
}
static inline bool conn_own_tls(const struct conn *c) { /* our TLS is with the caller himself, not with a device */
    return c->listener->plan->scheme == SCHEME_HTTPS && !c->listener->plan->proxy_inside;
}
void conn_greet(struct conn *c); /* just accepted: the device is judged, then TLS (where the header is within) or the header awaited */
void conn_await_header(struct conn *c);
void conn_read_header(struct conn *c);
void conn_header_late(struct conn *c);   /* its deadline has passed */
void conn_forget_header(struct conn *c); /* in conn_close */
void conn_run(struct conn *c);           /* go on as long as what is wanted is there */
#endif
