/* UTF-8, one character at a time (RFC 3629). Libc only, pure. */
#ifndef PORTREEVE_BASE_UTF8_H
#define PORTREEVE_BASE_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at s (n bytes are there, n > 0): 1 to 4; 0 = none begins here. Overlong forms, surrogates and
 * anything above U+10FFFF are not well-formed. */
size_t utf8_len(const char *s, size_t n);
bool utf8_valid(const char *s, size_t n);
/* For messages that repeat refused input: bytes of the longest beginning of s that is at most `most` bytes, whole characters and free of
 * control characters. An int, for "%.*s". */
int utf8_shown(const char *s, size_t n, int most);
/* Text of somebody who may mean harm, before it goes to a terminal: control characters other than LF and TAB, and bytes that are no character,
 * become '?'. */
void utf8_tame(char *s, size_t n);
/* Write code point c (at most U+10FFFF) to out, return the bytes written, 1 to 4. A surrogate is written as three bytes too (so that a
 * lone one read from an escape survives); utf8_valid refuses it. */
size_t utf8_put(uint32_t c, char out[4]);
/* The code point of the whole character of n bytes at s where a terminal would obey it instead of showing it (C1 controls, U+0080 to U+009F) or show
 * what follows in another order or line (U+2028 to U+202E, U+2066 to U+2069); 0 = it shows it. C0 controls are one byte: the caller's own to see. */
unsigned utf8_acts(const char *s, size_t n);
#endif
