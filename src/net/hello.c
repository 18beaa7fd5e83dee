#include "net/hello.h"
#include <string.h>

enum { RECORD_HANDSHAKE = 22, MESSAGE_HELLO = 1 };
enum { EXT_SERVER_NAME = 0, EXT_ALGORITHMS = 13, EXT_ALPN = 16, EXT_VERSIONS = 43 };
#define RECORD_HEAD  5u
#define MESSAGE_HEAD 4u
#define RECORD_MOST  16384u

/* What is left of a message. A read past its end makes it bad and gives nothing. */
struct cursor {
    const uint8_t *p;
    size_t n;
    bool bad;
};

static struct hello_part take(struct cursor *c, size_t n) {
    if (c->bad || n > c->n) {
        c->bad = true;
        return (struct hello_part){c->p, 0};
    }
    struct hello_part out = {c->p, (uint32_t)n};
    c->p += n;
    c->n -= n;
    return out;
}

static uint32_t number(struct cursor *c, unsigned bytes) {
    struct hello_part part = take(c, bytes);
    uint32_t v = 0;
    for (unsigned i = 0; i < part.n; i++) v = v << 8 | part.p[i];
    return v;
}

/* A vector with a length of `bytes` bytes before it. */
static struct hello_part vector(struct cursor *c, unsigned bytes) {
    return take(c, number(c, bytes));
}

static struct cursor within(struct hello_part part) {
    return (struct cursor){.p = part.p, .n = part.n};
}

static bool is_name(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static const char *read_name(struct hello_part ext, struct hello *out) {
    struct cursor c = within(ext), list = within(vector(&c, 2));
    uint32_t type = number(&list, 1);
    struct hello_part name = vector(&list, 2);
    if (c.bad || list.bad || c.n || list.n || type != 0) return "server_name is not one host name";
    size_t n = name.n;
    if (n && name.p[n - 1] == '.') n--;
    if (n == 0 || n >= sizeof out->sni - 2 || name.p[0] == '.') return "server_name has no good length";
    for (size_t i = 0; i < n; i++) {
        if (!is_name(name.p[i])) return "server_name has a character that no host name has";
        if (name.p[i] == '.' && (i + 1 == n || name.p[i + 1] == '.')) return "server_name has an empty label";
        out->sni[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
    }
    out->sni[n] = '\0';
    return NULL;
}

static const char *read_alpn(struct hello_part ext, struct hello *out) {
    struct cursor c = within(ext);
    out->alpn = vector(&c, 2);
    if (c.bad || c.n || !out->alpn.n) return "the list of protocols does not fill its extension";
    for (struct cursor list = within(out->alpn); list.n;)
        if (!vector(&list, 1).n || list.bad) return "an empty or cut name in the list of protocols";
    return NULL;
}

static const char *read_pairs(struct hello_part ext, unsigned bytes, struct hello_part *out) {
    struct cursor c = within(ext);
    *out = vector(&c, bytes);
    return c.bad || c.n || !out->n || out->n % 2 ? "a list of two-byte values does not fill its extension" : NULL;
}

static const char *read_versions(struct hello_part ext, struct hello *out) {
    const char *why = read_pairs(ext, 1, &out->versions);
    for (uint32_t i = 0; !why && i < out->versions.n; i += 2) out->tls13 |= out->versions.p[i] == 3 && out->versions.p[i + 1] == 4;
    return why;
}

static const char *read_extensions(struct hello *out) {
    uint16_t seen[HELLO_EXTENSIONS];
    unsigned n = 0;
    for (struct cursor c = within(out->extensions); c.n;) {
        uint16_t type = (uint16_t)number(&c, 2);
        struct hello_part ext = vector(&c, 2);
        const char *why = NULL;
        if (c.bad) return "the extensions are cut";
        if (n == HELLO_EXTENSIONS) return "more than 100 extensions";
        for (unsigned i = 0; i < n; i++)
            if (seen[i] == type) return "an extension is there twice";
        seen[n++] = type;
        switch (type) {
        case EXT_SERVER_NAME: why = read_name(ext, out); break;
        case EXT_ALPN: why = read_alpn(ext, out); break;
        case EXT_VERSIONS: why = read_versions(ext, out); break;
        case EXT_ALGORITHMS: why = read_pairs(ext, 2, &out->algorithms); break;
        default: break;
        }
        if (why) return why;
    }
    return NULL;
}

static const char *read_body(struct hello_part body, struct hello *out) {
    struct cursor c = within(body);
    out->version = (uint16_t)number(&c, 2);
    take(&c, 32); /* random */
    uint32_t session = vector(&c, 1).n;
    out->ciphers = vector(&c, 2);
    uint32_t compressions = vector(&c, 1).n;
    bool more = !c.bad && c.n > 0;
    if (more) out->extensions = vector(&c, 2);
    if (c.bad || c.n) return "its fields do not fill it";
    if (out->version >> 8 != 3) return "it is of no version of TLS";
    if (session > 32 || out->ciphers.n < 2 || out->ciphers.n % 2 || compressions < 1)
        return "session, ciphers or compressions have no good length";
    return read_extensions(out);
}

const char *hello_message(const uint8_t *m, size_t n, struct hello *out) {
    memset(out, 0, sizeof *out);
    if (n < MESSAGE_HEAD || m[0] != MESSAGE_HELLO) return "it does not begin with a ClientHello";
    size_t size = (size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3];
    if (size != n - MESSAGE_HEAD || size > HELLO_MOST) return "its length is not that of the message";
    return read_body((struct hello_part){m + MESSAGE_HEAD, (uint32_t)size}, out);
}

/* Ask for more: never for less than there is, nor for more than may be there. */
static enum hello_result more(size_t n, size_t want, size_t *need, const char **why) {
    *need = want > n ? want : n + 1;
    *why = "it is longer than 16384 bytes";
    return *need <= HELLO_MOST ? HELLO_MORE : HELLO_BAD;
}

/* The records hold `have` bytes of the message, joined at p + RECORD_HEAD. */
static enum hello_result message(uint8_t *p, size_t have, bool record_ends, struct hello *out, const char **why) {
    const uint8_t *m = p + RECORD_HEAD;
    *why = "it does not begin with a ClientHello";
    if (have && m[0] != MESSAGE_HELLO) return HELLO_BAD;
    if (have < MESSAGE_HEAD) return HELLO_MORE;
    size_t size = (size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3];
    *why = "it is longer than 16384 bytes";
    if (size > HELLO_MOST) return HELLO_BAD;
    if (have < MESSAGE_HEAD + size) return HELLO_MORE;
    *why = "something follows the ClientHello in its record";
    if (have > MESSAGE_HEAD + size || !record_ends) return HELLO_BAD;
    *why = read_body((struct hello_part){m + MESSAGE_HEAD, (uint32_t)size}, out);
    return *why ? HELLO_BAD : HELLO_DONE;
}

enum hello_result hello_read(uint8_t *p, size_t n, struct hello *out, size_t *need, const char **why) {
    size_t at = 0, have = 0; /* of the input; of the message, joined behind the first record's head */
    memset(out, 0, sizeof *out);
    for (;;) {
        const uint8_t *head = p + at;
        size_t left = n - at;
        *why = "it is no TLS";
        if ((left > 0 && head[0] != RECORD_HANDSHAKE) || (left > 1 && head[1] != 3) || (left > 2 && head[2] > 4)) return HELLO_BAD;
        if (left < RECORD_HEAD) return more(n, at + RECORD_HEAD, need, why);
        size_t size = (size_t)head[3] << 8 | head[4], there = left - RECORD_HEAD < size ? left - RECORD_HEAD : size;
        if (size == 0 || size > RECORD_MOST) return HELLO_BAD;
        memmove(p + RECORD_HEAD + have, head + RECORD_HEAD, there);
        have += there;
        enum hello_result r = message(p, have, there == size, out, why);
        if (r != HELLO_MORE) return r;
        at += RECORD_HEAD + there;
        if (there < size) return more(n, at - there + size, need, why);
        if (at == n) return more(n, at + RECORD_HEAD, need, why);
    }
}
