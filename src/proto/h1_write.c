#include "proto/h1_int.h"

/* Room for everything in a head that is not the caller's fields: status line, Date, length, Connection. */
#define HEAD_ROOM 224

static char *put(char *d, const char *s, size_t n) {
    memcpy(d, s, n);
    return d + n;
}
#define PUT(d, text) put(d, text, sizeof(text) - 1)

static char *put_status(char *d, int status) {
    const char *reason = h1_reason(status);
    d = PUT(d, "HTTP/1.1 ");
    *d++ = (char)('0' + status / 100);
    *d++ = (char)('0' + status / 10 % 10);
    *d++ = (char)('0' + status % 10);
    *d++ = ' ';
    d = put(d, reason, strlen(reason));
    return PUT(d, "\r\n");
}

static char *put_length(char *d, uint64_t n) {
    char text[20], *t = text + sizeof text;
    do *--t = (char)('0' + n % 10);
    while (n /= 10);
    d = PUT(d, "Content-Length: ");
    d = put(d, t, (size_t)(text + sizeof text - t));
    return PUT(d, "\r\n");
}

static bool without_body(int status) {
    return status < 200 || status == 204 || status == 304;
}

/* What a client of HTTP/1.0 has to be told, and whoever is to close. */
static char *put_connection(char *d, const struct request *req, bool close) {
    if (close) return PUT(d, "Connection: close\r\n");
    if (req && req->minor == 0) return PUT(d, "Connection: keep-alive\r\n");
    return d;
}

bool h1_write_head(struct buf *out, int status, const char *fields, size_t fields_n, int64_t length, const struct request *req, bool close,
                   const char date[29]) {
    bool chunked = length < 0 && !(req && req->minor == 0);
    if (status < 100 || status > 999 || fields_n > SIZE_MAX - HEAD_ROOM || !buf_reserve(out, fields_n + HEAD_ROOM)) return false;
    char *d = put_status(out->p + out->n, status);
    if (fields_n) d = put(d, fields, fields_n);
    if (!without_body(status)) {
        if (length >= 0) d = put_length(d, (uint64_t)length);
        else if (chunked) d = PUT(d, "Transfer-Encoding: chunked\r\n");
        else close = true;
    }
    if (status >= 200) {
        d = PUT(d, "Date: ");
        d = put(d, date, 29);
        d = PUT(d, "\r\n");
        d = put_connection(d, req, close);
    }
    d = PUT(d, "\r\n");
    out->n = (size_t)(d - out->p);
    return true;
}

bool h1_write_chunk(struct buf *out, const void *p, size_t n) {
    char size[18], *s = size + sizeof size;
    size_t left = n;
    if (n == 0) return buf_add(out, "0\r\n\r\n", 5);
    if (n > SIZE_MAX - 32 || !buf_reserve(out, n + 32)) return false;
    *--s = '\n';
    *--s = '\r';
    for (; left > 0; left >>= 4) *--s = "0123456789abcdef"[left & 15];
    char *d = put(out->p + out->n, s, (size_t)(size + sizeof size - s));
    d = put(d, p, n);
    d = PUT(d, "\r\n");
    out->n = (size_t)(d - out->p);
    return true;
}

bool h1_write_continue(struct buf *out) {
    return buf_str(out, "HTTP/1.1 100 Continue\r\n\r\n");
}

/* Lines a maker serialised by itself: each a field that may be sent, each ended by CRLF, none that rules the framing. */
static bool fields_ok(const char *p, size_t n, struct err *e) {
    for (const char *end = p + n; p < end;) {
        const char *cr = memchr(p, '\r', (size_t)(end - p)), *line = p;
        if (!cr || end - cr < 2 || cr[1] != '\n')
            return err_set(e, "response field without its end: a line must end in CR LF and hold no other");
        const char *colon = memchr(line, ':', (size_t)(cr - line));
        if (!colon || !h1_field_ok(line, (size_t)(colon - line), colon + 1, (size_t)(cr - colon - 1)))
            return err_set(e, "response field is not \"Name: value\" free of control bytes");
        if (h1_field_framing(line, (size_t)(colon - line)))
            return err_set(e, "response field %.*s: the server writes this one itself; leave it out", (int)(colon - line), line);
        p = cr + 2;
    }
    return true;
}

bool h1_fixed_make(struct h1_fixed *f, int status, const char *fields, size_t n, const void *body, size_t body_n, struct err *e) {
    static const char no_date[29] = "                             ";
    *f = (struct h1_fixed){.status = status, .wire.max = (size_t)H1_FIXED_MAX};
    if (status < 200 || status > 599) return err_set(e, "response status %d: must be 200 to 599", status);
    if (body_n > 0 && without_body(status))
        return err_set(e, "response status %d carries no body, but %zu bytes were given", status, body_n);
    if (!fields_ok(fields, n, e)) return false;
    bool fine =
        n < H1_FIXED_MAX && body_n < H1_FIXED_MAX && h1_write_head(&f->wire, status, fields, n, (int64_t)body_n, NULL, false, no_date);
    /* The date and the two line ends behind it are the last of the head. */
    f->head_n = (uint32_t)f->wire.n;
    f->date_at = fine ? f->head_n - 4 - 29 : 0;
    if (fine && buf_add(&f->wire, body, body_n)) return true;
    h1_fixed_finish(f);
    return err_set(e, "fixed response of %zu bytes does not fit in %u bytes (or memory ran out)", n + body_n, H1_FIXED_MAX);
}

bool h1_fixed_write(struct buf *out, const struct h1_fixed *f, const struct request *req, bool close, const char date[29]) {
    bool head = req && req->method == M_HEAD;
    size_t whole = head ? f->head_n : f->wire.n, open = f->head_n - 2u;
    if (!buf_reserve(out, whole + 32)) return false;
    char *start = out->p + out->n, *d = start;
    if (!close && !(req && req->minor == 0)) {
        d = put(d, f->wire.p, whole);
    } else {
        d = put(d, f->wire.p, open);
        d = put_connection(d, req, close);
        d = put(d, f->wire.p + open, whole - open);
    }
    memcpy(start + f->date_at, date, 29);
    out->n = (size_t)(d - out->p);
    return true;
}

void h1_fixed_finish(struct h1_fixed *f) {
    buf_free(&f->wire);
    f->head_n = f->date_at = 0;
}
