/* Body decoding: counted, or chunked (RFC 9112 section 7.1) as a byte machine between the chunks and a move within them. */
#include "proto/h1_int.h"

enum state {
    B_END,
    B_COUNTED,
    B_SIZE_FIRST, /* one hex digit at least */
    B_SIZE,
    B_EXT, /* behind ';': name, value, quoted value */
    B_EXT_NAME,
    B_EXT_IS, /* behind '=' */
    B_EXT_TOKEN,
    B_EXT_QUOTED,
    B_EXT_ESCAPE,
    B_EXT_AFTER, /* behind a quoted value */
    B_SIZE_LF,
    B_DATA,
    B_DATA_CR,
    B_DATA_LF,
    B_TRAILER, /* start of a trailer line */
    B_TRAILER_NAME,
    B_TRAILER_VALUE,
    B_TRAILER_LF,
    B_END_LF
};

void h1_body_start(struct h1_body *b, const struct request *req) {
    uint64_t left = req->chunked || req->content_length < 0 ? 0 : (uint64_t)req->content_length;
    *b = (struct h1_body){.chunked = req->chunked, .left = left};
    b->state = req->chunked ? B_SIZE_FIRST : left > 0 ? B_COUNTED : B_END;
}

bool h1_body_none(const struct h1_body *b) {
    return b->state == B_END;
}

static bool refuse(struct h1_bad *bad, int status, const char *why) {
    return h1_refuse(bad, status, why), false;
}

static int hex_digit(unsigned char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool go(struct h1_body *b, enum state s) {
    b->state = (uint8_t)s;
    return true;
}

static bool size_byte(struct h1_body *b, unsigned char c, struct h1_bad *bad) {
    int d = hex_digit(c);
    if (d >= 0) {
        if (b->left > (uint64_t)INT64_MAX >> 4) return refuse(bad, 400, "chunk size beyond 2^63-1");
        b->left = b->left << 4 | (uint64_t)d;
        return go(b, B_SIZE);
    }
    if (b->state == B_SIZE_FIRST) return refuse(bad, 400, "chunk size does not begin with a hexadecimal digit");
    if (c == ';') return go(b, B_EXT);
    if (c == '\r') return go(b, B_SIZE_LF);
    return refuse(bad, 400, c == '\n' ? "bare LF behind a chunk size" : "chunk size is followed by neither CRLF nor an extension");
}

static bool ext_end(struct h1_body *b, unsigned char c, struct h1_bad *bad) {
    if (c == '\r') return go(b, B_SIZE_LF);
    if (c == ';') return go(b, B_EXT);
    return refuse(bad, 400, c == '\n' ? "bare LF behind a chunk extension" : "malformed chunk extension");
}

/* *( ";" name [ "=" ( token / quoted-string ) ] ); the blanks RFC 9112 calls bad are refused. */
static bool ext_byte(struct h1_body *b, unsigned char c, struct h1_bad *bad) {
    if (++b->extra > H1_CHUNK_EXTRA) return refuse(bad, 400, "chunk extensions beyond their bound");
    switch (b->state) {
    case B_EXT:
        if (H1_IS(c, H1_TOKEN)) return go(b, B_EXT_NAME);
        return refuse(bad, 400, "chunk extension without a name");
    case B_EXT_NAME:
        if (H1_IS(c, H1_TOKEN)) return true;
        return c == '=' ? go(b, B_EXT_IS) : ext_end(b, c, bad);
    case B_EXT_IS:
        if (c == '"') return go(b, B_EXT_QUOTED);
        if (H1_IS(c, H1_TOKEN)) return go(b, B_EXT_TOKEN);
        return refuse(bad, 400, "chunk extension without a value");
    case B_EXT_TOKEN: return H1_IS(c, H1_TOKEN) || ext_end(b, c, bad);
    case B_EXT_QUOTED:
        if (c == '"') return go(b, B_EXT_AFTER);
        if (c == '\\') return go(b, B_EXT_ESCAPE);
        return H1_IS(c, H1_VALUE) || refuse(bad, 400, "control byte in a chunk extension");
    case B_EXT_ESCAPE: return H1_IS(c, H1_VALUE) ? go(b, B_EXT_QUOTED) : refuse(bad, 400, "control byte in a chunk extension");
    default: return ext_end(b, c, bad);
    }
}

/* The size line is whole. */
static bool size_done(struct h1_body *b, const struct h1_limits *limits, struct h1_bad *bad) {
    uint64_t max = limits->max_body < 0 ? 0 : (uint64_t)limits->max_body;
    b->meta = 0;
    if (b->left == 0) return go(b, B_TRAILER);
    if (b->total > max || b->left > max - b->total) return refuse(bad, 413, "chunked body beyond MaxRequestBody");
    return go(b, B_DATA);
}

/* A field that would have ruled framing, connection or host, sent where no one applies it, is an attempt on a reader that does
 * (RFC 9110 section 6.5.1 forbids sending it). `may`: the names that the bytes so far can still become. */
static bool name_byte(struct h1_body *b, unsigned char c, struct h1_bad *bad) {
    static const char *const forbidden[] = {"content-length", "transfer-encoding", "connection", "host"};
    bool whole = false;
    for (unsigned i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        if (!(b->may & 1u << i)) continue;
        char want = forbidden[i][b->at];
        if (c == ':' && want == '\0') whole = true;
        if (want == '\0' || (c | 0x20) != want) b->may = (uint8_t)(b->may & ~(1u << i));
    }
    b->at++;
    if (whole) return refuse(bad, 400, "framing, connection or host field in a trailer");
    return c == ':' ? go(b, B_TRAILER_VALUE) : true;
}

static bool trailer_byte(struct h1_body *b, unsigned char c, struct h1_bad *bad) {
    if (++b->meta > H1_TRAILER) return refuse(bad, 431, "trailer fields beyond their bound");
    switch (b->state) {
    case B_TRAILER:
        if (c == '\r') return go(b, B_END_LF);
        if (H1_IS(c, H1_TOKEN)) {
            b->may = 15;
            b->at = 0;
            return go(b, B_TRAILER_NAME) && name_byte(b, c, bad);
        }
        return refuse(bad, 400, c == '\n' ? "chunked body ends in a bare LF" : "malformed trailer field");
    case B_TRAILER_NAME: return H1_IS(c, H1_TOKEN) || c == ':' ? name_byte(b, c, bad) : refuse(bad, 400, "malformed trailer field");
    default:
        if (c == '\r') return go(b, B_TRAILER_LF);
        return H1_IS(c, H1_VALUE) || refuse(bad, 400, c == '\n' ? "trailer field ends in a bare LF" : "control byte in a trailer field");
    }
}

static bool expect_byte(struct h1_body *b, unsigned char c, char want, enum state next, const char *why, struct h1_bad *bad) {
    return c == (unsigned char)want ? go(b, next) : refuse(bad, 400, why);
}

static bool step(struct h1_body *b, unsigned char c, const struct h1_limits *limits, struct h1_bad *bad) {
    switch (b->state) {
    case B_SIZE_FIRST:
    case B_SIZE:
        if (++b->meta > H1_CHUNK_LINE) return refuse(bad, 400, "chunk size line beyond its bound");
        return size_byte(b, c, bad);
    case B_SIZE_LF: return c == '\n' ? size_done(b, limits, bad) : refuse(bad, 400, "bare CR behind a chunk size");
    case B_DATA_CR: return expect_byte(b, c, '\r', B_DATA_LF, "chunk is not followed by CRLF", bad);
    case B_DATA_LF: return expect_byte(b, c, '\n', B_SIZE_FIRST, "chunk is not followed by CRLF", bad);
    case B_TRAILER:
    case B_TRAILER_NAME:
    case B_TRAILER_VALUE: return trailer_byte(b, c, bad);
    case B_TRAILER_LF: return expect_byte(b, c, '\n', B_TRAILER, "bare CR in a trailer field", bad);
    case B_END_LF: return expect_byte(b, c, '\n', B_END, "bare CR at the end of a chunked body", bad);
    default:
        if (++b->meta > H1_CHUNK_LINE) return refuse(bad, 400, "chunk size line beyond its bound");
        return ext_byte(b, c, bad);
    }
}

enum h1_result h1_body_eat(struct h1_body *b, char *p, size_t n, const struct h1_limits *limits, size_t *used, size_t *out,
                           struct h1_bad *bad) {
    size_t i = 0, kept = 0;
    while (i < n && b->state != B_END) {
        if (b->state != B_DATA && b->state != B_COUNTED) {
            if (!step(b, (unsigned char)p[i], limits, bad)) return *used = i, *out = kept, H1_BAD;
            i++;
            continue;
        }
        size_t take = n - i < b->left ? n - i : (size_t)b->left;
        if (kept != i) memmove(p + kept, p + i, take);
        kept += take;
        i += take;
        b->left -= take;
        b->total += take;
        if (b->left == 0) b->state = b->state == B_DATA ? B_DATA_CR : B_END;
    }
    *used = i;
    *out = kept;
    return b->state == B_END ? H1_DONE : H1_MORE;
}
