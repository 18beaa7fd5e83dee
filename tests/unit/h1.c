/* The HTTP/1.1 parser and writer. Requests come from tests/e2e/data/malformed.txt, each fed whole, cut in two at every byte, and byte by
 * byte. `h1 --say` instead reads cases from standard input (u32 length, little endian, then bytes) and prints what becomes of each and the
 * bodies in hexadecimal: the oracle test compares that with another implementation. */
#include "unit/h1_drive.h"
#include "unit/h1_vectors.h"
#include "unit/tap.h"

#define VECTORS "tests/e2e/data/malformed.txt"
static const struct h1_limits shipped = {8192, 16384, 100, 1048576};

static void outcome(const struct drive *d, char *out, size_t cap) {
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < d->steps && n < cap; i++) {
        const struct drive_step *s = &d->step[i];
        const char *comma = i ? ", " : "";
        if (s->kind == DRIVE_REFUSE) n += (size_t)snprintf(out + n, cap - n, "%srefuse %d", comma, s->status);
        else
            n += (size_t)snprintf(out + n, cap - n, "%s%s", comma,
                                  s->kind == DRIVE_ACCEPT  ? "accept"
                                  : s->kind == DRIVE_CLOSE ? "close"
                                                           : "more");
    }
}

static bool same(struct slice s, const struct buf *want) {
    return s.n == want->n && (s.n == 0 || memcmp(s.p, want->p, s.n) == 0);
}

struct first {
    const struct vector *v;
    bool fine;
};

static void first_request(const struct request *r, int step, void *arg) {
    struct first *f = arg;
    const struct vector *v = f->v;
    if (step != 0) return;
    f->fine = (!v->has_path || same(r->path, &v->path)) && (!v->has_query || (r->query.p && same(r->query, &v->query))) &&
              (!v->has_host || same(r->host, &v->host)) && (!v->has_body || same(r->body, &v->body)) &&
              (v->fields < 0 || r->nfields == v->fields);
}

static void run(struct drive *d, const struct vector *v, size_t cut) {
    drive_start(d, &shipped);
    drive_feed(d, v->raw.p, cut);
    drive_feed(d, v->raw.p + cut, v->raw.n - cut);
    drive_end(d);
}

static void run_bytes(struct drive *d, const struct vector *v) {
    drive_start(d, &shipped);
    for (size_t i = 0; i < v->raw.n; i++) drive_feed(d, v->raw.p + i, 1);
    drive_end(d);
}

static void check(struct vector *v, void *arg) {
    static struct drive whole, part;
    struct first first = {v, true};
    char got[200];
    (void)arg;
    drive_start(&whole, &shipped);
    whole.seen = first_request;
    whole.arg = &first;
    drive_feed(&whole, v->raw.p, v->raw.n);
    drive_end(&whole);
    outcome(&whole, got, sizeof got);
    ok(strcmp(got, v->expect) == 0 && !whole.stray, "%s (RFC %s, line %d): %s%s%s", v->name, v->rfc, v->line, got,
       strcmp(got, v->expect) == 0 ? "" : " instead of ", strcmp(got, v->expect) == 0 ? "" : v->expect);
    ok(first.fine, "%s: path, query, host, body, fields", v->name);
    size_t bad_cut = 0;
    for (size_t cut = 1; cut < v->raw.n && !bad_cut; cut++) {
        run(&part, v, cut);
        if (!drive_same(&whole, &part)) bad_cut = cut;
    }
    ok(!bad_cut, "%s: the same however it is cut in two (%zu)", v->name, bad_cut);
    run_bytes(&part, v);
    ok(drive_same(&whole, &part), "%s: the same byte by byte", v->name);
}

/* -- limits -- */

static void check_limits(void) {
    static struct drive d;
    struct h1_limits small = {20, 60, 2, 4};
    const struct {
        const char *raw, *want;
    } rows[] = {
        {"GET /aaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", "accept"},
        {"GET /aaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", "refuse 414"},
        {"GET /aaaaaaa HTTP/1.1\n", "refuse 400"}, /* the LF stands where CRLF might still end in time: a bare LF, not too long */
        {"GET /\001aaaaaa HTTP/1.1\r\n", "refuse 414"},
        {"GET /aaaaaaa HTTP/1.", "more"},
        {"GET /aaaaaaa HTTP/1.1\r", "refuse 414"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", "accept"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nZ", "more"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nZ\n", "refuse 431"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n", "accept"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n", "refuse 431"},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", "accept"},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "refuse 413"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char got[200];
        drive_start(&d, &small);
        drive_feed(&d, rows[i].raw, strlen(rows[i].raw));
        drive_end(&d);
        outcome(&d, got, sizeof got);
        ok(strcmp(got, rows[i].want) == 0, "limits, row %zu: %s, wanted %s", i, got, rows[i].want);
    }
}

/* Bytes are looked at a bounded number of times however they trickle in: a head of 60,000 bytes, one at a time, is counted in calls of the
 * parser that take a line apart, not in time. What a call may cost shows in where `line` stands. */
static void check_trickle(void) {
    static struct field fields[DRIVE_FIELDS];
    struct h1_limits l = {8192, 65536, 100, 0};
    struct h1_scan scan = {0};
    struct h1_bad bad;
    struct request req;
    struct buf b = {0};
    size_t used;
    bool fine = buf_str(&b, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    for (int i = 0; i < 60000; i++) {
        fine = fine && buf_add(&b, "y", 1) && h1_head(&scan, b.p, b.n, &l, fields, &req, &used, &bad) == H1_MORE;
        fine = fine && scan.line == 25 && scan.seen == b.n && scan.fields == 1;
    }
    ok(fine, "a trickled line is scanned from where the last call stopped");
    buf_free(&b);
}

/* A reload may bring smaller limits while a head is on its way. */
static void check_shrunk(void) {
    static struct field fields[3];
    static const char raw[] = "GET /aaaaaaaaa HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\n\r\n";
    const struct h1_limits before = {8192, 16384, 3, 0},
                           after[] = {{8192, 30, 3, 0}, {8192, 16384, 1, 0}, {4, 16384, 3, 0}, {8192, 0, 0, 0}};
    for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
        struct h1_scan scan = {0};
        struct h1_bad bad = {0};
        struct request req;
        size_t used;
        bool fine = h1_head(&scan, raw, 44, &before, fields, &req, &used, &bad) == H1_MORE && scan.fields == 2;
        fine = fine && h1_head(&scan, raw, sizeof raw - 1, &after[i], fields, &req, &used, &bad) == H1_BAD;
        ok(fine && (bad.status == 431 || bad.status == 414), "limits that shrink within a head, row %zu: %d", i, bad.status);
    }
}

/* -- the request as a handler sees it -- */

static void check_request(void) {
    static struct field fields[DRIVE_FIELDS];
    const char *raw = "POST /a/b?c=d HTTP/1.0\r\nHOST: h:1\r\nX-One: 1\r\nx-one: 2\r\nConnection: foo,keep-alive\r\nContent-Length: 7\r\n"
                      "Expect: 100-continue\r\n\r\n";
    struct h1_scan scan = {0};
    struct h1_bad bad;
    struct request r;
    size_t used = 0;
    ok(h1_head(&scan, raw, strlen(raw), &shipped, fields, &r, &used, &bad) == H1_DONE && used == strlen(raw), "a head is taken whole");
    ok(r.method == M_POST && slice_is(r.method_text, "POST") && slice_is(r.target, "/a/b?c=d"), "method and target");
    ok(slice_is(r.path, "/a/b") && slice_is(r.query, "c=d") && slice_is(r.host, "h:1"), "path, query, host with its port");
    ok(r.minor == 0 && r.keep_alive && !r.chunked && r.content_length == 7 && r.nfields == 6, "version, keep-alive, length, fields");
    ok(!r.expect_continue, "an HTTP/1.0 client is never sent 100 Continue");
    ok(request_field(&r, "x-one") == &fields[1] && slice_is(request_field(&r, "x-one")->value, "1"), "first field of a name, any case");
    ok(request_field(&r, "x-two") == NULL && request_field(&r, "x-on") == NULL, "no such field");
    ok(slice_is_nocase(fields[0].name, "host") && !slice_is_nocase(fields[0].name, "hos"), "slice_is_nocase");
    ok(!slice_is_nocase((struct slice){"a@", 2}, "a`"), "case means letters only");
}

static const char *method_names[] = {"", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"};

static void check_methods(void) {
    static struct field fields[DRIVE_FIELDS];
    for (int m = M_OTHER; m <= M_TRACE; m++) {
        char raw[100];
        struct h1_scan scan = {0};
        struct h1_bad bad;
        struct request r;
        size_t used;
        snprintf(raw, sizeof raw, "%s %s HTTP/1.1\r\nHost: a:1\r\n\r\n", m ? method_names[m] : "GEX", m == M_CONNECT ? "a:1" : "/");
        ok(h1_head(&scan, raw, strlen(raw), &shipped, fields, &r, &used, &bad) == H1_DONE && (int)r.method == m, "method %s", raw);
    }
}

#include "unit/h1_write.h"

static void say_body(const struct request *r, int step, void *arg) {
    struct buf *hex = arg;
    bool fine = step == 0 || buf_str(hex, ",");
    for (uint32_t i = 0; fine && i < r->body.n; i++) fine = buf_fmt(hex, "%02x", (unsigned char)r->body.p[i]);
    if (!fine || !buf_reserve(hex, 1)) abort();
    hex->p[hex->n] = '\0';
}

static int say(void) {
    static char raw[1 << 20];
    struct buf hex = {0};
    static struct drive d;
    unsigned char len[4];
    while (fread(len, 1, 4, stdin) == 4) {
        size_t n = (size_t)len[0] | (size_t)len[1] << 8 | (size_t)len[2] << 16 | (size_t)len[3] << 24;
        char got[200];
        if (n > sizeof raw || fread(raw, 1, n, stdin) != n) return 1;
        drive_start(&d, &shipped);
        d.seen = say_body;
        d.arg = &hex;
        drive_feed(&d, raw, n);
        drive_end(&d);
        outcome(&d, got, sizeof got);
        printf("%s bodies %s\n", got, hex.n ? hex.p : "");
        buf_clear(&hex);
    }
    buf_free(&hex);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--say") == 0) return say();
    int n = vectors_read(argc > 1 ? argv[1] : VECTORS, check, NULL);
    ok(n >= 200, "cases read from the file: %d", n);
    check_limits();
    check_trickle();
    check_shrunk();
    check_request();
    check_methods();
    check_write();
    check_fixed();
    check_texts();
    return tap_end();
}
