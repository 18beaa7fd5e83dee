/* What the files of the HTTP/1.1 parser share among themselves: byte classes, the request line, and the rule for a host.
 * Nobody outside src/proto includes this. */
#ifndef PORTREEVE_PROTO_H1_INT_H
#define PORTREEVE_PROTO_H1_INT_H
#include "proto/h1.h"

enum h1_class_bit {
    H1_TOKEN = 1,  /* tchar, RFC 9110 section 5.6.2 */
    H1_VALUE = 2,  /* HTAB, SP, VCHAR, obs-text: RFC 9110 section 5.5 */
    H1_TARGET = 4, /* VCHAR without '#': browsers send more than RFC 3986 allows, nobody may send a fragment or a blank */
    H1_PATH = 8,   /* H1_TARGET without '?' */
    H1_NAME = 16,  /* what DNS names are made of: letters, digits, '-', '.', '_' */
    H1_DIGIT = 32,
    H1_ADDRESS = 64 /* inside of an IP literal: hex digits, ':', '.' */
};
extern const uint8_t h1_class[256];
#define H1_IS(c, bits) ((h1_class[(unsigned char)(c)] & (bits)) != 0)

static inline const char *h1_refuse(struct h1_bad *bad, int status, const char *why) {
    bad->status = status;
    bad->why = why;
    return NULL;
}

/* Read one request line from s. Returns the byte behind its CRLF, with method, target, path, query, minor and (absolute-form and
 * authority-form only) host of *req filled. NULL: *bad says why, or bad->why is NULL where the line does not end before `end`.
 * No judgement depends on a byte behind the first LF. */
const char *h1_request_line(const char *s, const char *end, struct request *req, struct h1_bad *bad);

/* uri-host [ ":" port ], RFC 9110 section 7.2, narrowed to names DNS can hold and real IP literals; the port, where written, <= 65535. */
bool h1_host_ok(struct slice s, bool port_required);
#endif
