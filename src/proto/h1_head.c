/* The head: lines are judged one by one as they become complete, first their length, then their bytes; what fields mean together is
 * judged when the head is whole. So the answer is the same however the bytes were cut on their way. */
#include "proto/h1_int.h"

struct marks {           /* what the fields said that rules the message itself */
    struct h1_bad fault; /* first one found; counts once every line was read */
    int64_t length;
    struct slice host;
    bool has_host, has_length, has_coding, close, keep, expect;
};

/* First byte at or behind s that may not stand in a field value, eight at a time. HTAB is rare enough to pass through the loop. */
static const char *value_end(const char *s, const char *end) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    for (;;) {
        while (end - s >= 8) {
            uint64_t w, del;
            memcpy(&w, s, 8);
            del = w ^ 0x7f * ones;
            if ((((w - 0x20 * ones) & ~w) | ((del - ones) & ~del)) & tops) break;
            s += 8;
        }
        const char *stop = end - s >= 8 ? s + 8 : end;
        while (s < stop && H1_IS(*s, H1_VALUE)) s++;
        if (s < stop || s == end) return s;
    }
}

static const char *bad_name(const char *name, const char *s, struct h1_bad *bad) {
    if (s == name && (*s == ' ' || *s == '\t')) return h1_refuse(bad, 400, "header field folded over two lines (obs-fold)");
    if (s == name && *s == ':') return h1_refuse(bad, 400, "header field without a name");
    if (*s == ' ' || *s == '\t') return h1_refuse(bad, 400, "white space before the colon of a header field");
    if (*s == '\n') return h1_refuse(bad, 400, s == name ? "head ends in a bare LF" : "header field without a colon");
    if (*s == '\r') return h1_refuse(bad, 400, s == name ? "bare CR in the head" : "header field without a colon");
    return h1_refuse(bad, 400, "byte that may not stand in a field name");
}

static const char *bad_value(char c, struct h1_bad *bad) {
    if (c == '\r') return h1_refuse(bad, 400, "bare CR in a header field");
    if (c == '\n') return h1_refuse(bad, 400, "header field ends in a bare LF");
    if (c == '\0') return h1_refuse(bad, 400, "NUL in a header field");
    return h1_refuse(bad, 400, "control byte in a header field");
}

/* As h1_request_line, for one field. */
static const char *field_line(const char *s, const char *end, struct field *f, struct h1_bad *bad) {
    const char *name = s;
    while (s < end && H1_IS(*s, H1_TOKEN)) s++;
    if (s == end) return NULL;
    if (*s != ':' || s == name) return bad_name(name, s, bad);
    f->name = (struct slice){name, (uint32_t)(s - name)};
    s++;
    while (s < end && (*s == ' ' || *s == '\t')) s++;
    const char *value = s, *last;
    last = s = value_end(s, end);
    if (s == end) return NULL;
    if (*s != '\r') return bad_value(*s, bad);
    if (end - s < 2) return NULL;
    if (s[1] != '\n') return bad_value('\r', bad);
    while (last > value && (last[-1] == ' ' || last[-1] == '\t')) last--;
    f->value = (struct slice){value, (uint32_t)(last - value)};
    return s + 2;
}

static void fault(struct marks *m, int status, const char *why) {
    if (!m->fault.why) m->fault = (struct h1_bad){status, why};
}

/* `name` in lower case, letters and '-' only; s holds tchar only, so that setting bit 5 changes nothing but the case. */
static bool named(struct slice s, const char *name) {
    for (uint32_t i = 0; i < s.n; i++)
        if ((s.p[i] | 0x20) != name[i]) return false;
    return true;
}

static void take_host(struct marks *m, struct slice v) {
    if (m->has_host) fault(m, 400, "Host repeated");
    m->has_host = true;
    m->host = v;
    if (!h1_host_ok(v, false)) fault(m, 400, "Host is empty or not a valid host");
}

static void take_length(struct marks *m, struct slice v) {
    int64_t n = 0;
    if (m->has_length) fault(m, 400, "Content-Length repeated");
    m->has_length = true;
    if (v.n == 0) fault(m, 400, "Content-Length is empty");
    for (uint32_t i = 0; i < v.n; i++) {
        int d = v.p[i] - '0';
        if (!H1_IS(v.p[i], H1_DIGIT)) return fault(m, 400, "Content-Length is not a plain decimal number");
        if (n > (INT64_MAX - d) / 10) return fault(m, 400, "Content-Length beyond 2^63-1");
        n = n * 10 + d;
    }
    m->length = n;
}

/* Only the one coding every recipient has to know. A list that ends in chunked is well-formed but more than is spoken here; a list that
 * does not end in chunked leaves the length unknown. */
static void take_coding(struct marks *m, struct slice v) {
    struct slice tail = {v.p + v.n - (v.n < 7 ? v.n : 7), v.n < 7 ? v.n : 7};
    if (m->has_coding) fault(m, 400, "Transfer-Encoding repeated");
    m->has_coding = true;
    if (slice_is_nocase(v, "chunked")) return;
    if (!slice_is_nocase(tail, "chunked")) return fault(m, 400, "Transfer-Encoding does not end in chunked");
    for (uint32_t i = 0; i + 7 < v.n; i++)
        if (v.n - i >= 14 && slice_is_nocase((struct slice){v.p + i, 7}, "chunked")) return fault(m, 400, "chunked given twice");
    const char before = v.p[v.n - 8];
    if (before != ',' && before != ' ' && before != '\t') return fault(m, 400, "Transfer-Encoding is not chunked");
    fault(m, 501, "transfer coding other than chunked");
}

static void take_connection(struct marks *m, struct slice v) {
    const char *s = v.p, *end = v.p + v.n;
    while (s < end) {
        while (s < end && (*s == ' ' || *s == '\t' || *s == ',')) s++;
        const char *start = s;
        while (s < end && *s != ',') s++;
        const char *last = s;
        while (last > start && (last[-1] == ' ' || last[-1] == '\t')) last--;
        struct slice option = {start, (uint32_t)(last - start)};
        if (slice_is_nocase(option, "close")) m->close = true;
        if (slice_is_nocase(option, "keep-alive")) m->keep = true;
    }
}

static void take_expect(struct marks *m, struct slice v) {
    m->expect = true;
    if (!slice_is_nocase(v, "100-continue")) fault(m, 417, "expectation other than 100-continue");
}

static inline void take(struct marks *m, const struct field *f) {
    switch (f->name.n) {
    case 4:
        if (named(f->name, "host")) take_host(m, f->value);
        break;
    case 6:
        if (named(f->name, "expect")) take_expect(m, f->value);
        break;
    case 10:
        if (named(f->name, "connection")) take_connection(m, f->value);
        break;
    case 14:
        if (named(f->name, "content-length")) take_length(m, f->value);
        break;
    case 17:
        if (named(f->name, "transfer-encoding")) take_coding(m, f->value);
        break;
    default: break;
    }
}

static enum h1_result refused(struct h1_bad *bad, int status, const char *why) {
    h1_refuse(bad, status, why);
    return H1_BAD;
}

/* No LF in p[0..n) behind `line`: wait, unless the line can no longer end within its bound. */
static enum h1_result unfinished(struct h1_scan *scan, size_t n, size_t bound) {
    if (n >= bound) return H1_BAD;
    scan->seen = (uint32_t)n;
    return H1_MORE;
}

static size_t line_bound(const struct h1_scan *scan, const struct h1_limits *l) {
    size_t bound = (size_t)scan->line + l->max_line + 2;
    return scan->line > 2 || bound > l->max_head ? l->max_head : bound;
}

/* A line that could not be taken: too long, not here yet, or bad for the reason already in *bad. */
static enum h1_result not_taken(struct h1_scan *scan, const char *p, size_t n, size_t from, const struct h1_limits *l, struct h1_bad *bad) {
    size_t bound = line_bound(scan, l), look = n < bound ? n : bound;
    if (from < look && memchr(p + from, '\n', look - from)) {
        if (!bad->why) return refused(bad, 400, "line of the head ends in a bare LF");
        return H1_BAD;
    }
    if (unfinished(scan, n, bound) == H1_MORE) return H1_MORE;
    if (scan->line <= 2) return refused(bad, 414, "request line longer than MaxRequestLine");
    return refused(bad, 431, "head longer than MaxRequestHead");
}

/* The first byte alone tells what never becomes a request: answer at once instead of waiting for a line that may not come. */
static enum h1_result first_line(struct h1_scan *scan, const char *p, size_t n, struct h1_bad *bad) {
    if (scan->line == 0 && n > 0 && p[0] == '\r') {
        if (n == 1) return scan->seen = 1, H1_MORE;
        if (p[1] != '\n') return refused(bad, 400, "bare CR before the request line");
        scan->line = 2;
    }
    if (n <= scan->line) return scan->seen = (uint32_t)n, H1_MORE;
    unsigned char c = (unsigned char)p[scan->line];
    if (H1_IS(c, H1_TOKEN)) return H1_DONE;
    if (c == 0x16 || c == 0x80) return refused(bad, 400, "TLS handshake on a plain HTTP port");
    if (c == '\n') return refused(bad, 400, "bare LF before the request line");
    if (c == '\r') return refused(bad, 400, "more than one empty line before the request line");
    if (c == ' ' || c == '\t') return refused(bad, 400, "white space before the method");
    return refused(bad, 400, "first byte cannot begin a request");
}

static enum h1_result read_fields(struct h1_scan *scan, const char *p, size_t n, const struct h1_limits *l, struct field *fields,
                                  struct marks *m, struct h1_bad *bad) {
    const char *s = p + scan->line, *end = p + n;
    while (end - s < 2 || s[0] != '\r' || s[1] != '\n') {
        struct field *f = &fields[scan->fields];
        const char *next = NULL;
        if (scan->fields >= l->max_fields) h1_refuse(bad, 431, "more header fields than MaxHeaderFields");
        else next = field_line(s, end, f, bad);
        if (!next) return not_taken(scan, p, n, scan->line, l, bad);
        take(m, f);
        s = next;
        scan->fields++;
        scan->line = (uint32_t)(s - p);
    }
    scan->line += 2;
    return H1_DONE;
}

static enum h1_result read_lines(struct h1_scan *scan, const char *p, size_t n, const struct h1_limits *l, struct field *fields,
                                 struct request *req, struct marks *m, struct h1_bad *bad) {
    *m = (struct marks){.length = -1};
    bad->why = NULL;
    if (scan->line <= 2) {
        enum h1_result r = first_line(scan, p, n, bad);
        if (r != H1_DONE) return r;
    }
    if (scan->seen > scan->line && !memchr(p + scan->seen, '\n', n - scan->seen)) return not_taken(scan, p, n, n, l, bad);
    if (scan->line <= 2) {
        const char *s = h1_request_line(p + scan->line, p + n, req, bad);
        if (!s || (size_t)(s - p) > line_bound(scan, l)) return not_taken(scan, p, n, scan->line, l, bad);
        scan->line = (uint32_t)(s - p);
    }
    return read_fields(scan, p, n, l, fields, m, bad);
}

/* What the fields mean together: RFC 9112 sections 3.2, 6.1, 6.3, 9.3; RFC 9110 section 10.1.1. */
static enum h1_result judge(struct request *req, const struct marks *m, const struct h1_limits *l, struct h1_bad *bad) {
    if (m->fault.why) return *bad = m->fault, H1_BAD;
    if (m->has_coding && m->has_length) return refused(bad, 400, "Content-Length together with Transfer-Encoding");
    if (m->has_coding && req->minor == 0) return refused(bad, 400, "Transfer-Encoding in HTTP/1.0");
    if (!m->has_host && req->minor == 1) return refused(bad, 400, "Host missing");
    if (req->method == M_CONNECT && (m->has_coding || m->has_length)) return refused(bad, 400, "CONNECT with a body");
    if (m->length > l->max_body) return refused(bad, 413, "Content-Length beyond MaxRequestBody");
    if (!req->host.p) req->host = m->has_host ? m->host : (struct slice){"", 0};
    req->chunked = m->has_coding;
    req->content_length = m->length;
    /* What a client sends behind CONNECT is meant for a tunnel, never to be read as a request. */
    req->keep_alive = !m->close && (req->minor == 1 || m->keep) && req->method != M_CONNECT;
    req->expect_continue = m->expect && req->minor == 1 && (m->has_coding || m->length > 0);
    req->body = (struct slice){"", 0};
    return H1_DONE;
}

enum h1_result h1_head(struct h1_scan *scan, const char *p, size_t n, const struct h1_limits *limits, struct field *fields,
                       struct request *req, size_t *used, struct h1_bad *bad) {
    struct marks m;
    bool fresh = scan->seen == 0;
    if (n > limits->max_head) n = limits->max_head;
    if (n < scan->seen) return refused(bad, 431, "head longer than MaxRequestHead"); /* a reload made it smaller meanwhile */
    enum h1_result r = read_lines(scan, p, n, limits, fields, req, &m, bad);
    if (r == H1_DONE && !fresh) { /* the lines judged by earlier calls were not kept: the buffer may have moved */
        *scan = (struct h1_scan){0};
        r = read_lines(scan, p, n, limits, fields, req, &m, bad);
    }
    if (r != H1_DONE) return r;
    req->field = fields;
    req->nfields = (uint16_t)scan->fields;
    *used = scan->line;
    return judge(req, &m, limits, bad);
}
