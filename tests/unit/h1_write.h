/* Checks of the writing half; part of tests/unit/h1.c. */
#ifndef PORTREEVE_TESTS_H1_WRITE_H
#define PORTREEVE_TESTS_H1_WRITE_H
#include "proto/h1.h"
#include "unit/tap.h"

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"
static const struct request req10 = {.method = M_GET, .minor = 0}, req11 = {.method = M_GET, .minor = 1},
                            head11 = {.method = M_HEAD, .minor = 1};

static void expect_bytes(struct buf *b, bool fine, const char *want, const char *what) {
    bool same = fine && b->n == strlen(want) && memcmp(b->p, want, b->n) == 0;
    ok(same, "%s", what);
    if (!same) printf("# got:\n%.*s\n", (int)b->n, b->n ? b->p : "");
    buf_clear(b);
}

static void check_write(void) {
    struct buf b = {0};
    const char *f = "A: b\r\n";
    expect_bytes(&b, h1_write_head(&b, 200, f, 6, 43, &req11, false, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 43\r\nDate: " DATE "\r\n\r\n", "200, counted, kept");
    expect_bytes(&b, h1_write_head(&b, 404, NULL, 0, 0, &req11, true, DATE),
                 "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nDate: " DATE "\r\nConnection: close\r\n\r\n", "404, empty, closed");
    expect_bytes(&b, h1_write_head(&b, 200, f, 6, -1, &req11, false, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\nDate: " DATE "\r\n\r\n", "unknown length is chunked");
    expect_bytes(&b, h1_write_head(&b, 200, f, 6, -1, &req10, false, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nDate: " DATE "\r\nConnection: close\r\n\r\n",
                 "unknown length to HTTP/1.0 ends with the connection");
    expect_bytes(&b, h1_write_head(&b, 200, f, 6, 9223372036854775807, &req10, false, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 9223372036854775807\r\nDate: " DATE "\r\nConnection: keep-alive\r\n\r\n",
                 "HTTP/1.0 is told that it may stay");
    expect_bytes(&b, h1_write_head(&b, 204, f, 6, 0, &req11, false, DATE), "HTTP/1.1 204 No Content\r\nA: b\r\nDate: " DATE "\r\n\r\n",
                 "204 carries no length");
    expect_bytes(&b, h1_write_head(&b, 304, f, 6, -1, &req11, false, DATE), "HTTP/1.1 304 Not Modified\r\nA: b\r\nDate: " DATE "\r\n\r\n",
                 "304 carries no coding");
    expect_bytes(&b, h1_write_head(&b, 304, NULL, 0, -1, &req10, false, DATE),
                 "HTTP/1.1 304 Not Modified\r\nDate: " DATE "\r\nConnection: keep-alive\r\n\r\n", "304 to HTTP/1.0 does not close");
    expect_bytes(&b, h1_write_head(&b, 103, f, 6, 5, &req11, false, NULL), "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n",
                 "1xx carries fields only");
    expect_bytes(&b, h1_write_head(&b, 400, NULL, 0, 3, NULL, true, DATE),
                 "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nDate: " DATE "\r\nConnection: close\r\n\r\n",
                 "answer to something unreadable");
    expect_bytes(&b, h1_write_head(&b, 200, NULL, 0, 7, &head11, false, DATE),
                 "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nDate: " DATE "\r\n\r\n", "HEAD gets the length of what GET would get");
    expect_bytes(&b, h1_write_continue(&b), "HTTP/1.1 100 Continue\r\n\r\n", "100 Continue");
    bool fine = h1_write_chunk(&b, "hello", 5) && h1_write_chunk(&b, "0123456789abcdefg", 17) && h1_write_chunk(&b, NULL, 0);
    expect_bytes(&b, fine, "5\r\nhello\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n", "chunks");
    ok(!h1_write_head(&b, 99, NULL, 0, 0, &req11, false, DATE) && !h1_write_head(&b, 1000, NULL, 0, 0, &req11, false, DATE) && b.n == 0,
       "no such status: nothing is written");
    buf_free(&b);
    b.max = 100;
    ok(!h1_write_head(&b, 200, NULL, 0, 0, &req11, false, DATE) && !h1_write_chunk(&b, DATE DATE DATE DATE, 116) && b.n == 0,
       "no room: nothing is written");
    buf_free(&b);
}

/* What the writer chunks the reader must take apart again. */
static void check_chunk_round(void) {
    static char text[70000];
    struct buf b = {0};
    struct request req = {.chunked = true, .content_length = -1};
    struct h1_limits l = {100, 1000, 10, sizeof text};
    struct h1_body body;
    struct h1_bad bad;
    size_t used, out, sum = 0;
    bool fine = true;
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 31 >> 3);
    for (size_t n = 1; sum + n <= sizeof text; sum += n, n = n * 3 / 2 + 1) fine = fine && h1_write_chunk(&b, text + sum, n);
    fine = fine && h1_write_chunk(&b, NULL, 0);
    h1_body_start(&body, &req);
    fine = fine && h1_body_eat(&body, b.p, b.n, &l, &used, &out, &bad) == H1_DONE;
    ok(fine && used == b.n && out == sum && memcmp(b.p, text, sum) == 0, "%zu bytes in growing chunks come back", sum);
    buf_free(&b);
}

static bool makes(struct h1_fixed *f, int status, const char *fields, const char *body, struct err *e) {
    return h1_fixed_make(f, status, fields, strlen(fields), body, strlen(body), e);
}

static void check_fixed(void) {
    struct h1_fixed f;
    struct err e = {""};
    struct buf b = {0};
    ok(makes(&f, 200, "A: b\r\nC:\r\n", "GIF", &e), "fixed response is made");
    expect_bytes(&b, h1_fixed_write(&b, &f, &req11, false, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nC:\r\nContent-Length: 3\r\nDate: " DATE "\r\n\r\nGIF", "fixed, kept");
    expect_bytes(&b, h1_fixed_write(&b, &f, &req11, true, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nC:\r\nContent-Length: 3\r\nDate: " DATE "\r\nConnection: close\r\n\r\nGIF", "fixed, closed");
    expect_bytes(&b, h1_fixed_write(&b, &f, &req10, false, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nC:\r\nContent-Length: 3\r\nDate: " DATE "\r\nConnection: keep-alive\r\n\r\nGIF",
                 "fixed, HTTP/1.0");
    expect_bytes(&b, h1_fixed_write(&b, &f, &head11, false, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nC:\r\nContent-Length: 3\r\nDate: " DATE "\r\n\r\n", "fixed, HEAD");
    expect_bytes(&b, h1_fixed_write(&b, &f, &head11, true, DATE),
                 "HTTP/1.1 200 OK\r\nA: b\r\nC:\r\nContent-Length: 3\r\nDate: " DATE "\r\nConnection: close\r\n\r\n",
                 "fixed, HEAD, closed");
    h1_fixed_finish(&f);
    h1_fixed_finish(&f);
    ok(makes(&f, 204, "", "", &e), "fixed 204");
    expect_bytes(&b, h1_fixed_write(&b, &f, NULL, true, DATE), "HTTP/1.1 204 No Content\r\nDate: " DATE "\r\nConnection: close\r\n\r\n",
                 "fixed, 204");
    h1_fixed_finish(&f);
    ok(!makes(&f, 204, "", "x", &e) && strstr(e.text, "204"), "204 with a body: %.200s", e.text);
    ok(!makes(&f, 199, "", "", &e) && !makes(&f, 600, "", "", &e), "status outside: %.200s", e.text);
    ok(!makes(&f, 200, "A: b", "", &e) && !makes(&f, 200, "A: b\n", "", &e) && !makes(&f, 200, "A: b\rC: d\r\n", "", &e),
       "line ends: %.200s", e.text);
    ok(!makes(&f, 200, "A b\r\n", "", &e) && !makes(&f, 200, ": b\r\n", "", &e) && !makes(&f, 200, "A: b\nX: y\r\n", "", &e) &&
           !makes(&f, 200, "\r\n", "", &e),
       "injection: %.200s", e.text);
    ok(!makes(&f, 200, "content-length: 3\r\n", "", &e) && strstr(e.text, "content-length"), "framing field: %.200s", e.text);
    ok(!h1_fixed_make(&f, 200, "", 0, DATE, H1_FIXED_MAX, &e), "too large: %.200s", e.text);
    buf_free(&b);
}

static void check_texts(void) {
    static const struct {
        int64_t t;
        const char *text;
    } dates[] = {{784111777, DATE},
                 {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
                 {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
                 {-1, "Wed, 31 Dec 1969 23:59:59 GMT"},
                 {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
                 {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
                 {INT64_MIN, "Sat, 01 Jan 0000 00:00:00 GMT"}};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        char out[30];
        h1_date(dates[i].t, out);
        ok(strcmp(out, dates[i].text) == 0, "date %lld: %s", (long long)dates[i].t, out);
    }
    bool all = true;
    for (int s = 100; s < 1000; s++) all = all && h1_reason(s) && h1_reason(s)[0] && strlen(h1_reason(s)) < 40;
    ok(all && strcmp(h1_reason(404), "Not Found") == 0 && strcmp(h1_reason(299), "Success") == 0, "every status has a reason");
    ok(h1_field_ok("X-a", 3, "v \t\xe4", 4) && h1_field_ok("X", 1, "", 0), "fields that may be sent");
    ok(!h1_field_ok("", 0, "v", 1) && !h1_field_ok("X:", 2, "v", 1) && !h1_field_ok("X", 1, "a\rb", 3) && !h1_field_ok("X", 1, "a\nb", 3) &&
           !h1_field_ok("X", 1, "a\0b", 3) && !h1_field_ok("X y", 3, "a", 1),
       "fields that may not be sent");
    ok(h1_field_framing("Content-Length", 14) && h1_field_framing("DATE", 4) && !h1_field_framing("Content-Type", 12), "framing fields");
    check_chunk_round();
}
#endif
