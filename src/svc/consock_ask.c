/* Asking the console: one line out, one line in, and the little JSON reading that its answers need. */
#include "svc/consock.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

static bool send_all(int fd, const char *p, size_t n) {
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static bool read_line(int fd, struct buf *line, struct err *e) {
    char part[16384];
    line->max = CONSOCK_REPLY + 2;
    for (;;) {
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(e, "the server's answer cannot be read: %s", strerror(errno));
        if (n == 0) return err_set(e, "the server closed the connection");
        char *end = memchr(part, '\n', (size_t)n);
        if (!buf_add(line, part, end ? (size_t)(end - part) : (size_t)n)) return err_set(e, "the server's answer is longer than 4 MiB");
        if (end) return true;
    }
}

static int hex4(const char *p, const char *end) {
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

static bool add_rune(struct buf *out, uint32_t c) {
    char u[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n == 1) {
        u[0] = (char)c;
    } else {
        static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n - 1; i > 0; i--, c >>= 6) u[i] = (char)(0x80 | (c & 63));
        u[0] = (char)(lead[n] | c);
    }
    return buf_add(out, u, n);
}

/* The escape behind '\' at p; returns what follows it, NULL where it is none. */
static const char *add_escape(struct buf *out, const char *p, const char *end) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p >= end) return NULL;
    const char *at = *p ? strchr(from, *p) : NULL;
    if (at) return buf_add(out, &to[at - from], 1) ? p + 1 : NULL;
    int c = *p == 'u' ? hex4(p + 1, end) : -1, low;
    if (c < 0) return NULL;
    p += 5;
    if (c >= 0xd800 && c < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' && (low = hex4(p + 2, end)) >= 0xdc00 && low < 0xe000)
        return add_rune(out, 0x10000u + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00)) ? p + 6 : NULL;
    return add_rune(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : (uint32_t)c) ? p : NULL;
}

/* Exactly {"ok":true|false,"text":"…"}: what our server sends. */
static bool read_answer(const struct buf *line, bool *ok, struct buf *text) {
    static const char yes[] = "{\"ok\":true,\"text\":\"", no[] = "{\"ok\":false,\"text\":\"";
    const char *p = line->p, *end = p + line->n;
    *ok = line->n >= sizeof yes - 1 && memcmp(p, yes, sizeof yes - 1) == 0;
    if (!*ok && (line->n < sizeof no - 1 || memcmp(p, no, sizeof no - 1) != 0)) return false;
    p += *ok ? sizeof yes - 1 : sizeof no - 1;
    text->max = CONSOCK_REPLY + 2;
    while (p && p < end && *p != '"') {
        if (*p == '\\') p = add_escape(text, p + 1, end);
        else if (!buf_add(text, p++, 1)) return false;
    }
    return p && end - p == 2 && p[0] == '"' && p[1] == '}';
}

bool consock_ask(int fd, const struct buf *request, bool *ok, struct buf *text, struct err *e) {
    struct buf line = {0};
    if (request->n >= CONSOCK_LINE) return err_set(e, "the request is longer than 64 KiB");
    if (!send_all(fd, request->p, request->n) || !send_all(fd, "\n", 1)) {
        struct err unread;
        if (!read_line(fd, &line, &unread)) { /* it may have said why before it closed */
            buf_free(&line);
            return err_set(e, "the server closed the connection");
        }
    } else if (!read_line(fd, &line, e)) {
        buf_free(&line);
        return false;
    }
    buf_clear(text);
    bool fine = line.p && read_answer(&line, ok, text);
    buf_free(&line);
    return fine || err_set(e, "the server's answer is not understood");
}
