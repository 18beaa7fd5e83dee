#include "base/utf8.h"
#include <string.h>

size_t utf8_len(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
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

bool utf8_valid(const char *s, size_t n) {
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_len(s + i, n - i);
        if (len == 0) return false;
    }
    return true;
}

int utf8_shown(const char *s, size_t n, int most) {
    int at = 0;
    while ((size_t)at < n && at < most) {
        size_t len = utf8_len(s + at, n - (size_t)at);
        bool control = (unsigned char)s[at] < 0x20 || s[at] == 0x7f;
        if (len == 0 || control || at + (int)len > most) break;
        at += (int)len;
    }
    return at;
}

void utf8_tame(char *s, size_t n) {
    for (size_t i = 0, len; i < n; i += len) {
        unsigned char c = (unsigned char)s[i];
        len = utf8_len(s + i, n - i);
        bool c1 = len == 2 && c == 0xc2 && (unsigned char)s[i + 1] < 0xa0; /* terminals take these for orders, too */
        if (len && !c1 && (c >= 0x20 || c == '\n' || c == '\t') && c != 0x7f) continue;
        if (!len) len = 1;
        memset(s + i, '?', len);
    }
}

size_t utf8_put(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

unsigned utf8_acts(const char *s, size_t n) {
    const unsigned char *u = (const unsigned char *)s;
    if (n == 2 && u[0] == 0xc2 && u[1] < 0xa0) return u[1];
    if (n != 3 || u[0] != 0xe2) return 0;
    bool turns = (u[1] == 0x80 && u[2] >= 0xa8 && u[2] <= 0xae) || (u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9);
    return turns ? 0x2000u | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu) : 0;
}
