/* A growable byte buffer with a hard bound. Zero-initialised is empty. Growth doubles; past `max` an append fails and changes nothing. */
#ifndef PORTREEVE_BASE_BUF_H
#define PORTREEVE_BASE_BUF_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *p;
    size_t n, cap;
    size_t max; /* 0 = 64 MiB */
};

bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes behind n */
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_str(struct buf *b, const char *s);
bool buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vfmt(struct buf *b, const char *fmt, va_list ap);
bool buf_json(struct buf *b, const char *s, size_t n); /* a quoted JSON string; invalid UTF-8 becomes U+FFFD */
/* A member of a JSON object, "key":"value", behind a comma where a value stands in front of it. The key is plain. */
bool buf_member(struct buf *b, const char *key, const char *value);
void buf_drop(struct buf *b, size_t n); /* forget the first n bytes */
void buf_clear(struct buf *b);          /* keep the memory */
void buf_free(struct buf *b);           /* close function; the struct is empty again */
#endif
