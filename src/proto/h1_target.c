/* The request line: method, the four forms of a request target (RFC 9112 section 3.2), version. */
#include "proto/h1_int.h"

static enum method method_of(const char *p, size_t n) {
    switch (n) {
    case 3: return memcmp(p, "GET", 3) == 0 ? M_GET : memcmp(p, "PUT", 3) == 0 ? M_PUT : M_OTHER;
    case 4: return memcmp(p, "HEAD", 4) == 0 ? M_HEAD : memcmp(p, "POST", 4) == 0 ? M_POST : M_OTHER;
    case 5: return memcmp(p, "PATCH", 5) == 0 ? M_PATCH : memcmp(p, "TRACE", 5) == 0 ? M_TRACE : M_OTHER;
    case 6: return memcmp(p, "DELETE", 6) == 0 ? M_DELETE : M_OTHER;
    case 7: return memcmp(p, "OPTIONS", 7) == 0 ? M_OPTIONS : memcmp(p, "CONNECT", 7) == 0 ? M_CONNECT : M_OTHER;
    default: return M_OTHER;
    }
}

static bool port_ok(const char *p, size_t n) {
    uint32_t v = 0;
    if (n > 5) return false;
    for (size_t i = 0; i < n; i++) {
        if (!H1_IS(p[i], H1_DIGIT)) return false;
        v = v * 10 + (uint32_t)(p[i] - '0');
    }
    return v <= 65535;
}

/* Length of an IP literal with its brackets, 0 where it is none. A zone is refused: it means something on the sender's host only. */
static size_t literal(struct slice s) {
    size_t i = 1;
    struct addr a;
    while (i < s.n && H1_IS(s.p[i], H1_ADDRESS)) i++;
    if (i >= s.n || s.p[i] != ']' || !addr_parse_ip(s.p + 1, i - 1, &a, NULL) || !memchr(s.p + 1, ':', i - 1)) return 0;
    return i + 1;
}

bool h1_host_ok(struct slice s, bool port_required) {
    size_t i = 0;
    if (s.n > 0 && s.p[0] == '[') i = literal(s);
    else
        while (i < s.n && H1_IS(s.p[i], H1_NAME)) i++;
    if (i == 0) return false;
    if (i == s.n) return !port_required;
    if (s.p[i] != ':' || (port_required && i + 1 == s.n)) return false;
    return port_ok(s.p + i + 1, s.n - i - 1);
}

static size_t scheme_length(struct slice t) {
    struct slice http = {t.p, 7}, https = {t.p, 8};
    if (t.n >= 7 && slice_is_nocase(http, "http://")) return 7;
    return t.n >= 8 && slice_is_nocase(https, "https://") ? 8 : 0;
}

/* `from` is where path and query begin inside the target. */
static void split_path(struct request *req, uint32_t from, const char *qmark) {
    struct slice t = req->target;
    const char *stop = qmark ? qmark : t.p + t.n;
    req->path = (struct slice){t.p + from, (uint32_t)(stop - (t.p + from))};
    req->query = (struct slice){NULL, 0};
    if (qmark) req->query = (struct slice){qmark + 1, (uint32_t)(t.p + t.n - (qmark + 1))};
}

static bool absolute_form(struct request *req, struct h1_bad *bad) {
    struct slice t = req->target;
    size_t start = scheme_length(t), i = start;
    if (start == 0) return h1_refuse(bad, 400, "request target is neither a path nor an http or https address"), false;
    while (i < t.n && t.p[i] != '/' && t.p[i] != '?') i++;
    req->host = (struct slice){t.p + start, (uint32_t)(i - start)};
    if (!h1_host_ok(req->host, false)) return h1_refuse(bad, 400, "host in the request target is not valid"), false;
    split_path(req, (uint32_t)i, memchr(t.p + i, '?', t.n - i));
    if (req->path.n == 0) req->path = (struct slice){req->method == M_OPTIONS && !req->query.p ? "*" : "/", 1};
    return true;
}

static bool target_form(struct request *req, const char *qmark, struct h1_bad *bad) {
    struct slice t = req->target;
    req->host = (struct slice){NULL, 0};
    if (req->method == M_CONNECT) {
        if (!h1_host_ok(t, true)) return h1_refuse(bad, 400, "CONNECT wants a target of the form host:port"), false;
        req->host = t;
        split_path(req, 0, NULL);
        return true;
    }
    if (t.p[0] == '/') {
        split_path(req, 0, qmark);
        return true;
    }
    if (t.n == 1 && t.p[0] == '*') {
        if (req->method != M_OPTIONS) return h1_refuse(bad, 400, "target * belongs to OPTIONS only"), false;
        split_path(req, 0, NULL);
        return true;
    }
    return absolute_form(req, bad);
}

/* Off the usual way: everything that is not " HTTP/1.0" or " HTTP/1.1" and CRLF. */
static const char *odd_version(const char *s, const char *end, const struct request *req, struct h1_bad *bad) {
    const char *lf = memchr(s, '\n', (size_t)(end - s));
    if (!lf) return NULL;
    if (lf == s || lf[-1] != '\r') return h1_refuse(bad, 400, "bare LF in the request line");
    if (lf - s == 1) return h1_refuse(bad, 400, "request line without a version (HTTP/0.9 is not spoken)");
    if (s[0] == ' ' && lf - s == 10 && memcmp(s + 1, "HTTP/", 5) == 0 && H1_IS(s[6], H1_DIGIT) && s[7] == '.' && H1_IS(s[8], H1_DIGIT)) {
        if (req->method_text.n == 3 && memcmp(req->method_text.p, "PRI", 3) == 0)
            return h1_refuse(bad, 505, "HTTP/2 without TLS negotiation (prior knowledge) is not spoken here");
        return h1_refuse(bad, 505, "HTTP version is neither 1.0 nor 1.1");
    }
    return h1_refuse(bad, 400, "request line does not end in one space, HTTP/1.x and CRLF");
}

static const char *version(const char *s, const char *end, struct request *req, struct h1_bad *bad) {
    if (end - s < 11 || memcmp(s, " HTTP/1.", 8) != 0 || (s[8] != '0' && s[8] != '1') || s[9] != '\r' || s[10] != '\n')
        return odd_version(s, end, req, bad);
    req->minor = (uint8_t)(s[8] - '0');
    return s + 11;
}

static const char *bad_target(char c, struct h1_bad *bad) {
    if (c == '#') return h1_refuse(bad, 400, "# in the request target");
    if ((unsigned char)c >= 0x80) return h1_refuse(bad, 400, "byte beyond ASCII in the request target");
    return h1_refuse(bad, 400, "control byte in the request target");
}

const char *h1_request_line(const char *s, const char *end, struct request *req, struct h1_bad *bad) {
    const char *start = s, *qmark = NULL;
    while (s < end && H1_IS(*s, H1_TOKEN)) s++;
    if (s == end) return NULL;
    if (*s != ' ') return h1_refuse(bad, 400, "method is not followed by one space");
    req->method_text = (struct slice){start, (uint32_t)(s - start)};
    req->method = method_of(start, (size_t)(s - start));
    start = ++s;
    while (s < end && H1_IS(*s, H1_PATH)) s++;
    if (s < end && *s == '?') {
        qmark = s;
        while (s < end && H1_IS(*s, H1_TARGET)) s++;
    }
    if (s == end) return NULL;
    if (*s != ' ' && *s != '\r' && *s != '\n') return bad_target(*s, bad);
    if (s == start) return h1_refuse(bad, 400, "empty request target");
    req->target = (struct slice){start, (uint32_t)(s - start)};
    s = version(s, end, req, bad);
    return s && target_form(req, qmark, bad) ? s : NULL;
}
