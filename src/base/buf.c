#include "base/buf.h"
#include "base/utf8.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MAX_DEFAULT (64u << 20)
#define BUF_FIRST       64

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

/* One character as JSON; *used = bytes of s taken. */
static bool json_char(struct buf *b, const char *s, size_t n, size_t *used) {
    unsigned char c = (unsigned char)s[0];
    *used = utf8_len(s, n);
    if (*used == 0) {
        *used = 1;
        return buf_str(b, "\xef\xbf\xbd");
    }
    switch (c) {
    case '"': return buf_str(b, "\\\"");
    case '\\': return buf_str(b, "\\\\");
    case '\b': return buf_str(b, "\\b");
    case '\f': return buf_str(b, "\\f");
    case '\n': return buf_str(b, "\\n");
    case '\r': return buf_str(b, "\\r");
    case '\t': return buf_str(b, "\\t");
    default: break;
    }
    if (c < 0x20 || c == 0x7f) return buf_fmt(b, "\\u%04x", c);
    unsigned acts = c < 0x80 ? 0 : utf8_acts(s, *used); /* such lines are read in terminals, too */
    if (acts) return buf_fmt(b, "\\u%04x", acts);
    return buf_add(b, s, *used);
}

bool buf_json(struct buf *b, const char *s, size_t n) {
    size_t start = b->n;
    bool fine = buf_add(b, "\"", 1);
    for (size_t i = 0, used = 0; fine && i < n; i += used) fine = json_char(b, s + i, n - i, &used);
    fine = fine && buf_add(b, "\"", 1);
    if (!fine) b->n = start;
    return fine;
}

bool buf_member(struct buf *b, const char *key, const char *value) {
    char last = b->n ? b->p[b->n - 1] : '{';
    size_t start = b->n;
    bool first = last == '{' || last == '[' || last == ',';
    bool fine = buf_fmt(b, first ? "\"%s\":" : ",\"%s\":", key) && buf_json(b, value, strlen(value));
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
