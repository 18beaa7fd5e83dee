/* HTTP/1.1 (RFC 9112, semantics RFC 9110): strict, pure, incremental. No I/O, no allocation, no policy.
 * Anything ambiguous is refused: bare LF, obs-fold, white space before a colon, two lengths, a length with chunked, unknown transfer
 * codings, numbers with signs or overflow, control bytes, absent or repeated Host. */
#ifndef PORTREEVE_PROTO_H1_H
#define PORTREEVE_PROTO_H1_H
#include "base/buf.h"
#include "proto/exchange.h"

struct h1_limits {
    uint32_t max_line, max_head, max_fields;
    int64_t max_body;
};
struct h1_bad {       /* why a request was refused: the status to answer with, then close */
    int status;       /* 400 405 408 411 413 414 417 431 501 505 */
    const char *why;  /* static text for the log */
};

/* Where the search for the end of the head stands, so that bytes are looked at once however they trickle in. Zero it before each request. */
struct h1_scan {
    uint32_t seen;
    uint32_t line; /* start of the current line */
};
enum h1_result { H1_MORE, H1_DONE, H1_BAD };
/* Look for one whole head in p[0..n). H1_DONE: *used bytes were the head and *req is filled (field array: `fields`, cap `limits->max_fields`).
 * H1_MORE: nothing is wrong so far. H1_BAD: *bad is filled. Leading empty lines (at most one CRLF) are skipped. */
enum h1_result h1_head(struct h1_scan *scan, const char *p, size_t n, const struct h1_limits *limits, struct field *fields,
                       struct request *req, size_t *used, struct h1_bad *bad);

/* Body decoding, chunked or counted. Decoded bytes are moved to the front of the caller's buffer region (in place), so no second buffer. */
struct h1_body {
    uint8_t state;
    bool chunked;
    uint64_t left;  /* of this chunk, or of the counted body */
    uint64_t total; /* decoded so far */
    uint32_t meta;  /* bytes of the current size line or trailer, bounded */
};
void h1_body_start(struct h1_body *b, const struct request *req); /* after h1_head; req->chunked / content_length */
bool h1_body_none(const struct h1_body *b);                       /* nothing to read */
/* Eat raw bytes in p[0..n): *used were consumed, *out decoded bytes now stand at p[0..*out). H1_DONE at the end of the body. */
enum h1_result h1_body_eat(struct h1_body *b, char *p, size_t n, const struct h1_limits *limits, size_t *used, size_t *out, struct h1_bad *bad);

/* Writing. Head of a response; `fields` are already-serialised "Name: value\r\n" lines (checked by the maker for CR, LF, NUL).
 * Adds Date (cached text, 29 bytes), Connection: close or keep-alive (for HTTP/1.0) as needed, Content-Length (length >= 0) or
 * Transfer-Encoding: chunked (length == -1; never to HTTP/1.0). 204 and 304 carry neither. */
bool h1_write_head(struct buf *out, int status, const char *fields, size_t fields_n, int64_t length, const struct request *req, bool close,
                   const char date[29]);
bool h1_write_chunk(struct buf *out, const void *p, size_t n); /* n == 0 writes the last chunk */
const char *h1_reason(int status);                            /* "Not Found"; "Unknown" never: every code has a text */
void h1_date(int64_t unix_seconds, char out[30]);             /* IMF-fixdate and NUL */
/* A field name or value that may stand in a response: token / no CR LF NUL. */
bool h1_field_ok(const char *name, size_t nn, const char *value, size_t vn);
#endif
