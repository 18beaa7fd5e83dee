/* HTTP client for calls between components: blocking, for app threads only (libcurl). Bounded in size and time, no redirects, no proxy,
 * http and https only, never to a name the caller did not give. */
#ifndef PORTREEVE_SVC_HCLIENT_H
#define PORTREEVE_SVC_HCLIENT_H
#include "base/buf.h"
#include "base/err.h"

struct hclient;                       /* keeps connections; one per thread */
struct hclient *hclient_create(void); /* NULL: no memory */
void hclient_destroy(struct hclient *c);
struct hclient_request {
    const char *method, *url;
    const char *const *header;     /* "Name: value", NULL-terminated; may be NULL */
    const char *body;              /* borrowed until the call has ended */
    size_t body_n, max_reply;      /* max_reply 0 = 16 MiB */
    unsigned connect_ms, total_ms; /* 0 = 5 s, 30 s */
    struct buf *reply_head;        /* status line and fields of the final answer as received, at most 32 KiB; may be NULL */
};
/* A call in pieces, so that the caller can look at something else between them. One at a time; hclient_start ends an unfinished one.
 * body and rq->reply_head must live until the call has ended (a step that is not 0, or hclient_abort). rq itself may go. */
bool hclient_start(struct hclient *c, const struct hclient_request *rq, struct buf *body, struct err *e);
/* Work or wait at most ms. 1 = *status and body filled, 0 = goes on, -1 = failed, e says why. */
int hclient_step(struct hclient *c, unsigned ms, int *status, struct err *e);
void hclient_abort(struct hclient *c); /* nothing running: nothing happens */
#endif
