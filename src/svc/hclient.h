/* HTTP client for calls between components: blocking, for app threads only (libcurl). Bounded in size and time, no redirects,
 * http and https only, never to a name the caller did not give. */
#ifndef PORTREEVE_SVC_HCLIENT_H
#define PORTREEVE_SVC_HCLIENT_H
#include "base/buf.h"
#include "base/err.h"

struct hclient; /* keeps connections; one per thread */
struct hclient *hclient_create(void);
void hclient_destroy(struct hclient *c);
struct hclient_request {
    const char *method, *url;
    const char *const *header; /* "Name: value", NULL-terminated; may be NULL */
    const char *body;
    size_t body_n, max_reply; /* max_reply 0 = 16 MiB */
    unsigned connect_ms, total_ms;
    const volatile int *cancel; /* non-zero ends the call soon; may be NULL */
};
/* true: *status and body filled. false: no answer, e says why ("tracker not reachable at 127.0.0.1:7000: Connection refused"). */
bool hclient_call(struct hclient *c, const struct hclient_request *rq, int *status, struct buf *body, struct err *e);
#endif
