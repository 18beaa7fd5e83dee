/* Fuzz target: the chunked decoder against a second one written the simple way (whole lines, no states). Two bytes of control (limit, cut),
 * then the raw body. Both must agree on what is a whole body, its bytes and its end; cut in two, or byte by byte, nothing may change. */
#include "proto/h1.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    enum h1_result r;
    size_t used, n;
    const char *why;
    char out[4096];
};

static bool token_char(char c) {
    return h1_field_ok(&c, 1, "", 0);
}

static bool value_char(char c) {
    return h1_field_ok("x", 1, &c, 1);
}

/* *( ";" token [ "=" ( token / quoted ) ] ), all of s..end. */
static bool ref_extensions(const char *s, const char *end) {
    while (s < end) {
        const char *start;
        if (*s++ != ';') return false;
        for (start = s; s < end && token_char(*s);) s++;
        if (s == start) return false;
        if (s == end || *s != '=') continue;
        if (++s < end && *s == '"') {
            for (s++; s < end && *s != '"'; s++) {
                if (*s == '\\' && ++s == end) return false;
                if (!value_char(*s)) return false;
            }
            if (s++ == end) return false;
            continue;
        }
        for (start = s; s < end && token_char(*s);) s++;
        if (s == start) return false;
    }
    return true;
}

static bool ref_trailers(const char *s, const char *end, size_t *used) {
    const char *begin = s;
    for (;;) {
        const char *cr = memchr(s, '\r', (size_t)(end - s)), *colon;
        if (!cr || cr + 1 == end || cr[1] != '\n' || cr + 2 - begin > H1_TRAILER) return false;
        if (cr == s) return *used = (size_t)(cr + 2 - begin), true;
        colon = memchr(s, ':', (size_t)(cr - s));
        if (!colon || !h1_field_ok(s, (size_t)(colon - s), colon + 1, (size_t)(cr - colon - 1))) return false;
        struct slice name = {s, (uint32_t)(colon - s)};
        if (slice_is_nocase(name, "content-length") || slice_is_nocase(name, "transfer-encoding")) return false;
        if (slice_is_nocase(name, "connection") || slice_is_nocase(name, "host")) return false;
        s = cr + 2;
    }
}

/* true: p begins with one whole chunked body. */
static bool reference(const char *p, size_t n, int64_t max, struct result *x) {
    const char *s = p, *end = p + n;
    size_t extra = 0, tail;
    x->n = 0;
    for (;;) {
        const char *cr = memchr(s, '\r', (size_t)(end - s)), *t = s;
        char hex[H1_CHUNK_LINE + 1] = "";
        if (!cr || cr + 1 == end || cr[1] != '\n' || cr - s >= H1_CHUNK_LINE) return false;
        while (t < cr && strchr("0123456789abcdefABCDEF", *t) && *t) t++;
        if (t == s || !ref_extensions(t, cr)) return false;
        if (t < cr) extra += (size_t)(cr - t); /* from behind the first ';' to CR */
        memcpy(hex, s, (size_t)(t - s));
        char *sig = hex + strspn(hex, "0");
        if (strlen(sig) > 16 || extra > H1_CHUNK_EXTRA) return false;
        unsigned long long size = strtoull(hex, NULL, 16);
        s = cr + 2;
        if (size == 0) break;
        if (size > (unsigned long long)max || x->n + size > (unsigned long long)max || size + 2 > (size_t)(end - s)) return false;
        memcpy(x->out + x->n, s, size);
        x->n += size;
        s += size + 2;
        if (s[-2] != '\r' || s[-1] != '\n') return false;
    }
    if (!ref_trailers(s, end, &tail)) return false;
    x->used = (size_t)(s - p) + tail;
    return true;
}

/* Feed p[0..n) in pieces: first `cut`, then `step` at a time. */
static void eat(const char *p, size_t n, size_t cut, size_t step, const struct h1_limits *l, struct result *x) {
    struct request req = {.chunked = true, .content_length = -1};
    struct h1_body b;
    struct h1_bad bad = {0};
    *x = (struct result){.r = H1_MORE};
    h1_body_start(&b, &req);
    for (size_t at = 0, len = cut; at < n && x->r == H1_MORE; at += len, len = step) {
        size_t used = 0, out = 0;
        if (len > n - at) len = n - at;
        char one, *copy = len == 1 ? &one : malloc(len);
        if (!copy) abort();
        memcpy(copy, p + at, len);
        x->r = h1_body_eat(&b, copy, len, l, &used, &out, &bad);
        if (used > len || out > used || x->n + out > sizeof x->out || (x->r == H1_MORE && used != len)) abort();
        memcpy(x->out + x->n, copy, out);
        x->n += out;
        x->used += used;
        if (copy != &one) free(copy);
    }
    x->why = bad.why;
    if ((int64_t)x->n > l->max_body || b.total != x->n || (x->r == H1_DONE) != h1_body_none(&b) || (x->r == H1_BAD) != !!bad.why) abort();
}

static bool same(const struct result *a, const struct result *b) {
    return a->r == b->r && a->used == b->used && a->n == b->n && a->why == b->why && memcmp(a->out, b->out, a->n) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct result whole, part, bytes, ref;
    if (size < 3 || size > sizeof ref.out) return 0;
    struct h1_limits l = {8192, 16384, 100, data[0] & 1 ? 4096 : 20};
    const char *p = (const char *)data + 2;
    size_t n = size - 2, cut = data[1] % n;
    eat(p, n, n, n, &l, &whole);
    eat(p, n, cut ? cut : 1, n, &l, &part);
    eat(p, n, 1, 1, &l, &bytes);
    if (!same(&whole, &part) || !same(&whole, &bytes)) abort();
    ref.why = NULL;
    ref.r = H1_DONE;
    if (reference(p, n, l.max_body, &ref) != (whole.r == H1_DONE)) abort();
    if (whole.r == H1_DONE && !same(&whole, &ref)) abort();
    return 0;
}
