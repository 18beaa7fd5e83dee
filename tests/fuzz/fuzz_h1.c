/* Fuzz target: a connection's bytes through head parser and body decoder. Three bytes of control (limits, cut, rest fed byte by byte or
 * not), then the bytes. The verdict must be the same whole, cut in two and byte by byte; every slice must lie in the head it was read from.
 */
#include "unit/h1_drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct drive *d, const struct h1_limits *l, const char *p, size_t n, size_t cut, bool bytes) {
    drive_start(d, l);
    drive_feed(d, p, cut);
    if (bytes)
        for (size_t i = cut; i < n; i++) drive_feed(d, p + i, 1);
    else drive_feed(d, p + cut, n - cut);
    drive_end(d);
}

/* What was accepted must be what it claims to be: read off the request itself, by other means than the parser's. */
static void sane(const struct request *r, int step, void *arg) {
    const struct h1_limits *l = arg;
    unsigned hosts = 0, lengths = 0, codings = 0;
    (void)step;
    for (unsigned i = 0; i < r->nfields; i++) {
        const struct field *f = &r->field[i];
        hosts += slice_is_nocase(f->name, "host");
        lengths += slice_is_nocase(f->name, "content-length");
        codings += slice_is_nocase(f->name, "transfer-encoding");
        if (!h1_field_ok(f->name.p, f->name.n, f->value.p, f->value.n)) abort();
    }
    if (hosts > 1 || (hosts == 0 && r->minor == 1) || lengths > 1 || codings > 1 || lengths + codings > 1) abort();
    if (r->chunked != (codings == 1) || (r->content_length >= 0) != (lengths == 1)) abort();
    if ((int64_t)r->body.n > l->max_body || (r->content_length >= 0 && r->body.n != r->content_length)) abort();
    if (!r->chunked && r->content_length < 0 && r->body.n) abort();
    if (r->path.p[0] != '/' && !slice_is(r->path, "*") && r->method != M_CONNECT) abort();
    for (uint32_t i = 0; i < r->target.n; i++)
        if (r->target.p[i] <= ' ' || r->target.p[i] >= 0x7f || r->target.p[i] == '#') abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct drive whole, part, bytes;
    if (size < 3 || size > 4096) return 0;
    struct h1_limits limits[] = {{8192, 16384, 100, 1048576}, {64, 256, 4, 16}, {20, 60, 1, 0}, {300, 200, 128, 100}};
    const struct h1_limits *l = &limits[data[0] & 3];
    const char *p = (const char *)data + 3;
    size_t n = size - 3, cut = ((size_t)data[1] << 8 | data[2]) % (n + 1);
    drive_start(&whole, l);
    whole.seen = sane;
    whole.arg = &limits[data[0] & 3];
    drive_feed(&whole, p, n);
    drive_end(&whole);
    feed(&part, l, p, n, cut, false);
    feed(&bytes, l, p, n, cut, true);
    if (!drive_same(&whole, &part) || !drive_same(&whole, &bytes)) abort();
    return 0;
}
