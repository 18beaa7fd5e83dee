/* The PROXY protocol, versions 1 and 2, as HAProxy's specification has it (proxy-protocol.txt, sections 2.1 and 2.2): a header that a device in
 * front of us sends before anything else, to say whom it speaks for. Pure: bytes in, struct out; no I/O, no memory of its own. Whether the
 * sender may be believed is the caller's question.
 *
 * Stricter than the specification asks where it leaves a choice: only the protocol bytes it lists (0x00 0x11 0x12 0x21 0x22 0x31 0x32); TLVs
 * that are read stand once; texts are UTF-8 without control characters; a broken TLV is a bad header. LOCAL and UNSPEC (UNKNOWN) name nobody:
 * the device speaks for itself. So do unix addresses, which are not ours to judge. Datagram headers name an address like any other. */
#ifndef PORTREEVE_NET_PROXY_H
#define PORTREEVE_NET_PROXY_H
#include "base/addr.h"
#include <stdbool.h>
#include <stddef.h>

#define PROXY_V1_MAX 107u  /* bytes of a line with its end; TCP4 56, TCP6 104 */
#define PROXY_MAX    4096u /* bytes of a whole header of version 2 that we take; the specification wants it in one segment */

enum { PROXY_V1 = 1, PROXY_V2 = 2 }; /* bits: versions that are taken */
enum proxy_result { PROXY_BAD = -1, PROXY_MORE = 0, PROXY_DONE = 1 };

struct proxy_text { /* part of the header's bytes; n 0 = not there */
    const char *p;
    size_t n;
};
struct proxy_header {
    uint8_t version;      /* 1 or 2 */
    bool local;           /* LOCAL: the device's own connection, a health check mostly */
    struct addr from, to; /* with ports; family 0: the header names nobody, and the connection's own ends count */
    struct proxy_text alpn, authority, unique_id;
    bool ssl;                /* the TLV is there, and with it: */
    bool tls;                /* the client speaks TLS with the device */
    bool cert, cert_session; /* it showed a certificate: on this connection; within this TLS session */
    bool verified;           /* verify was 0 and a certificate was shown: the device found it good */
    struct proxy_text tls_version, cn, cipher;
};

/* What the first n bytes of a connection are. PROXY_MORE: no whole header yet, and none of it wrong so far. PROXY_DONE: a header of *used
 * bytes; texts in out point into p. PROXY_BAD: *why is a constant text. A prefix that is bad or done stays so with any bytes behind it; nothing behind
 * a header is looked at. `take` = PROXY_V1, PROXY_V2 or both. */
enum proxy_result proxy_parse(const char *p, size_t n, unsigned take, struct proxy_header *out, size_t *used, const char **why);

/* Bytes that the header of which the first n are here has still at least to come, at least 1, so that who reads no more never reads past it. For
 * a prefix that proxy_parse calls PROXY_MORE. */
size_t proxy_wants(const char *p, size_t n);

/* The other side, for connections of ours to a backend. Returns the bytes written. from and to of different families, or of none: a header
 * that names nobody (UNKNOWN; UNSPEC). */
size_t proxy_put_v1(char out[PROXY_V1_MAX], const struct addr *from, const struct addr *to);
/* With what of h is there: addresses, authority, alpn, unique_id and the SSL TLV; local = LOCAL. crc: with checksum. 0 = it does not fit into cap. */
size_t proxy_put_v2(char *out, size_t cap, const struct proxy_header *h, bool crc);
#endif
