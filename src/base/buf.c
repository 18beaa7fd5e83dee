#include "base/buf.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MAX_DEFAULT (64u << 20)
#define BUF_FIRST 64

bool buf_reserve(struct buf *b, size_t more) {
    size_t max = b->max ? b->max : BUF_MAX_DEFAULT;
    if (more <= b->cap - b->n) return true;
    if (b->n > max || more > max - b->n) {
        errno = ENOBUFS;
        return false;
    }
    size_t need = b->n + more, cap = b->cap ? b->cap : BUF_FIRST;
    if (cap > max) cap = max;
    while (cap < need) cap = cap > max / 2 ? max : cap * 2;
    char *p = realloc(b->p, cap);
    if (!p) return false;
    b->p = p;
    b->cap = cap;
    return true;
}

bool buf_add(struct buf *b, const void *p, size_t n) {
    if (n == 0) return true;
    if (!buf_reserve(b, n)) return false;
    memcpy(b->p + b->n, p, n);
    b->n += n;
    return true;
}

bool buf_str(struct buf *b, const char *s) {
    return buf_add(b, s, strlen(s));
}

bool buf_vfmt(struct buf *b, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    size_t room = b->cap - b->n;
    int n = vsnprintf(b->p ? b->p + b->n : NULL, room, fmt, ap);
    bool fine = n >= 0;
    if (fine && (size_t)n >= room) {
        fine = buf_reserve(b, (size_t)n + 1);
        if (fine) vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    if (fine) b->n += (size_t)n;
    return fine;
}

bool buf_fmt(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    bool fine = buf_vfmt(b, fmt, ap);
    va_end(ap);
    return fine;
}

/* Length of the well-formed UTF-8 character at s (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF), 0 = none. */
static size_t utf8_char(const unsigned char *s, size_t n) {
    unsigned char c = s[0], lo = 0x80, hi = 0xbf;
    size_t len;
    if (c < 0x80) return 1;
    if (c >= 0xc2 && c <= 0xdf) len = 2;
    else if (c >= 0xe0 && c <= 0xef) len = 3;
    else if (c >= 0xf0 && c <= 0xf4) len = 4;
    else return 0;
    if (c == 0xe0) lo = 0xa0;
    if (c == 0xed) hi = 0x9f;
    if (c == 0xf0) lo = 0x90;
    if (c == 0xf4) hi = 0x8f;
    if (n < len || s[1] < lo || s[1] > hi) return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return len;
}

/* One character as JSON; *used = bytes of s taken. */
static bool json_char(struct buf *b, const unsigned char *s, size_t n, size_t *used) {
    *used = utf8_char(s, n);
    if (*used == 0) {
        *used = 1;
        return buf_str(b, "\xef\xbf\xbd");
    }
    switch (s[0]) {
    case '"': return buf_str(b, "\\\"");
    case '\\': return buf_str(b, "\\\\");
    case '\b': return buf_str(b, "\\b");
    case '\f': return buf_str(b, "\\f");
    case '\n': return buf_str(b, "\\n");
    case '\r': return buf_str(b, "\\r");
    case '\t': return buf_str(b, "\\t");
    default: break;
    }
    if (s[0] < 0x20 || s[0] == 0x7f) return buf_fmt(b, "\\u%04x", s[0]);
    return buf_add(b, s, *used);
}

bool buf_json(struct buf *b, const char *s, size_t n) {
    size_t start = b->n;
    bool fine = buf_add(b, "\"", 1);
    for (size_t i = 0, used = 0; fine && i < n; i += used) fine = json_char(b, (const unsigned char *)s + i, n - i, &used);
    fine = fine && buf_add(b, "\"", 1);
    if (!fine) b->n = start;
    return fine;
}

void buf_drop(struct buf *b, size_t n) {
    if (n >= b->n) {
        b->n = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

void buf_clear(struct buf *b) {
    b->n = 0;
}

void buf_free(struct buf *b) {
    size_t max = b->max;
    free(b->p);
    *b = (struct buf){.max = max};
}
