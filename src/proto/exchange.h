/* One request and its answer, the same for every protocol: no handler can tell HTTP/1.1 from HTTP/2. Plain data, no I/O.
 * Slices point into the connection's input buffer and live until the exchange ends. */
#ifndef PORTREEVE_PROTO_EXCHANGE_H
#define PORTREEVE_PROTO_EXCHANGE_H
#include "base/addr.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *p;
    uint32_t n;
};
struct field { /* a header field; name as sent (compare without case) */
    struct slice name, value;
};
enum method { M_OTHER, M_GET, M_HEAD, M_POST, M_PUT, M_DELETE, M_OPTIONS, M_PATCH, M_CONNECT, M_TRACE };

#define REQUEST_FIELDS 100 /* hard bound; MaxHeaderFields may be lower */

struct request {
    enum method method;
    struct slice method_text, target;
    struct slice path;  /* origin-form path, raw (not percent-decoded), "" never: "/" at least, or "*" for OPTIONS */
    struct slice query; /* without '?'; p == NULL where there is no '?' */
    struct slice host;  /* Host (or absolute-form authority), ":port" with it; lower-cased by nobody; "" only in HTTP/1.0 */
    struct field *field;
    uint16_t nfields;
    uint8_t minor;   /* HTTP/1.minor: 0 or 1 */
    bool keep_alive; /* after this exchange the connection may live on */
    bool chunked;    /* body comes chunked */
    bool expect_continue;
    int64_t content_length; /* -1 = none given */
    struct slice body;      /* whole body once read (bounded by MaxRequestBody) */
};

static inline bool slice_is(struct slice s, const char *text) {
    size_t n = strlen(text);
    return s.n == n && memcmp(s.p, text, n) == 0;
}
bool slice_is_nocase(struct slice s, const char *text);
struct tags;
/* Who is on the other side, as far as a handler may know. Borrowed from the connection. */
struct peer {
    struct addr remote;
    int fd;                              /* of the connection: for the local address, asked for only when somebody wants it */
    const char *listener;                /* socket name */
    uint32_t services;                   /* plan_service bits of the socket */
    uint8_t secure;                      /* 0 clear, 1 our TLS, 2 TLS by a device in front (Ext) */
    const char *sni;                     /* "" = none */
    const char *tls;                     /* "TLSv1.3" or "" */
    const struct tls_identity *identity; /* the caller's verified certificate (net/tls.h); NULL = none */
    const struct tags *tags;             /* given at admission (gate/facts.h); NULL = none */
};
struct exchange {
    struct request req;
    const struct peer *peer;
    int64_t at_ms; /* unix ms when the head was complete */
};
/* First field of that name (given in lower case), or NULL. */
const struct field *request_field(const struct request *r, const char *lower_name);
#endif
