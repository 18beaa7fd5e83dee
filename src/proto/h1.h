/* HTTP/1.1 (RFC 9112, semantics RFC 9110): strict, pure, incremental. No I/O, no policy; the parser allocates nothing.
 * Anything ambiguous is refused: bare LF, obs-fold, white space before a colon, two lengths, a length with chunked, unknown transfer
 * codings, numbers with signs or overflow, control bytes, absent or repeated Host. The verdict never depends on how the bytes were cut.
 *
 * One connection: h1_head until H1_DONE; h1_body_start, and unless h1_body_none, h1_write_continue where req.expect_continue, then
 * h1_body_eat until H1_DONE; answer; zero the scan; next. After H1_BAD: answer bad.status, close, read nothing more. */
#ifndef PORTREEVE_PROTO_H1_H
#define PORTREEVE_PROTO_H1_H
#include "base/buf.h"
#include "base/err.h"
#include "proto/exchange.h"

struct h1_limits {
    uint32_t max_line;   /* bytes of the request line without CRLF: 414 */
    uint32_t max_head;   /* bytes of the head, request line and empty line with it: 431 (414 within the request line) */
    uint32_t max_fields; /* 431; the caller's field array is as long */
    int64_t max_body;    /* decoded bytes: 413 */
};
#define H1_CHUNK_LINE  256   /* bytes of one chunk-size line with its extensions */
#define H1_CHUNK_EXTRA 16384 /* bytes of extensions of all chunks of a body together */
#define H1_TRAILER     8192  /* bytes of all trailer fields together; they are checked and dropped; framing fields in them: 400 */

struct h1_bad {      /* why a request was refused: the status to answer with, then close */
    int status;      /* 400 413 414 417 431 501 505 */
    const char *why; /* static text for the log */
};

/* Where the search for the end of the head stands, so that work is linear however the bytes trickle in. Zero it before each request. */
struct h1_scan {
    uint32_t seen;
    uint32_t line;   /* start of the current line */
    uint32_t fields; /* field lines taken */
};
enum h1_result { H1_MORE, H1_DONE, H1_BAD };
/* Look for one whole head in p[0..n). H1_DONE: *used bytes were the head and *req is filled (field array: `fields`, as long as
 * limits->max_fields). H1_MORE: nothing is wrong so far; call again with the same bytes and more behind them (p may have moved).
 * H1_BAD: *bad is filled. A leading empty line (at most one CRLF) is skipped and counted in *used. A request line or field is judged when
 * its CRLF is there. TRACE and CONNECT are parsed (CONNECT: path = target = "host:port", never kept alive): refusing methods is the
 * caller's. req->host is the whole value, ":port" with it, syntax checked; "" only in HTTP/1.0. Slices lie in p[0..n), but for the path
 * of an absolute-form without one ("/" or "*" in static memory) and empty host and body: p[0..n) stays where it is until the exchange
 * ends. expect_continue is set only where a body follows. */
enum h1_result h1_head(struct h1_scan *scan, const char *p, size_t n, const struct h1_limits *limits, struct field *fields,
                       struct request *req, size_t *used, struct h1_bad *bad);

/* Body decoding, chunked or counted. Decoded bytes are moved to the front of the caller's buffer region (in place), so no second buffer. */
struct h1_body {
    uint8_t state;
    bool chunked;
    uint64_t left;  /* of this chunk, or of the counted body */
    uint64_t total; /* decoded so far */
    uint32_t meta;  /* bytes of the current size line or of the trailers, bounded */
    uint32_t extra; /* bytes of chunk extensions so far, bounded */
    uint8_t may;    /* trailer name: forbidden names it can still become, and */
    uint16_t at;    /* how many bytes of it are seen */
};
void h1_body_start(struct h1_body *b, const struct request *req); /* after h1_head; req->chunked / content_length */
bool h1_body_none(const struct h1_body *b);                       /* nothing to read */
/* Eat raw bytes in p[0..n): *used were consumed, *out decoded bytes now stand at p[0..*out). H1_DONE at the end of the body: what lies
 * behind *used is the next request. H1_MORE: all n were consumed. */
enum h1_result h1_body_eat(struct h1_body *b, char *p, size_t n, const struct h1_limits *limits, size_t *used, size_t *out,
                           struct h1_bad *bad);

/* Writing. Head of a response; `fields` are already-serialised "Name: value\r\n" lines (checked by the maker with h1_field_ok, framing
 * fields left out: h1_field_framing). Adds Date (cached text, 29 bytes), Connection: close, or keep-alive to an HTTP/1.0 client, and
 * Content-Length (length >= 0; to HEAD as well, where the caller sends no body) or Transfer-Encoding: chunked (length == -1). To an
 * HTTP/1.0 client a body of unknown length ends with the connection: Connection: close is written, the caller sends plain bytes and closes.
 * 1xx, 204 and 304 carry neither length nor coding, 1xx only `fields`. req may be NULL (nothing readable was asked): then HTTP/1.1.
 * All h1_write_*: false = no room in `out` (its bound) or no such status; then nothing was added. */
bool h1_write_head(struct buf *out, int status, const char *fields, size_t fields_n, int64_t length, const struct request *req, bool close,
                   const char date[29]);
bool h1_write_chunk(struct buf *out, const void *p, size_t n); /* n == 0 writes the last chunk */
bool h1_write_continue(struct buf *out);                       /* 100 Continue, once, before the body is read */
const char *h1_reason(int status);                             /* "Not Found"; "Unknown" never: every code has a text */
void h1_date(int64_t unix_seconds, char out[30]);              /* IMF-fixdate and NUL */
/* A field name or value that may stand in a response: token / no CR LF NUL. */
bool h1_field_ok(const char *name, size_t nn, const char *value, size_t vn);
/* A field that only this file writes: Date, Connection, Content-Length, Transfer-Encoding, Keep-Alive, Upgrade, Trailer (any case). */
bool h1_field_framing(const char *name, size_t n);

/* A response made once and written often (policies' response.fixed): everything but Date and Connection is one block of bytes, so that
 * writing is one copy, the date over its place, and for HEAD less of it. Immutable after make: any number of readers. */
#define H1_FIXED_MAX (8u << 20)
struct h1_fixed {
    struct buf wire;  /* head, date left blank, empty line, body */
    uint32_t date_at; /* the 29 bytes of the date */
    uint32_t head_n;  /* where the body begins */
    int status;
};
/* status 200–599; `fields` as for h1_write_head, checked here. 204 and 304 take no body. Caller finishes. On false nothing is left. */
bool h1_fixed_make(struct h1_fixed *f, int status, const char *fields, size_t n, const void *body, size_t body_n, struct err *e);
/* req may be NULL. HEAD gets the head only. */
bool h1_fixed_write(struct buf *out, const struct h1_fixed *f, const struct request *req, bool close, const char date[29]);
void h1_fixed_finish(struct h1_fixed *f); /* zeroed or made or finished: legal */
#endif
