/* The ClientHello of TLS, read without answering it: who is asked for (SNI) and how. Pure and strict: one message, in records, of which
 * nothing is believed that the lengths do not bear out. RFC 8446 4.1.2 and 5.1, RFC 5246 7.4.1.2, RFC 6066 3, RFC 7301 3.1. */
#ifndef PORTREEVE_NET_HELLO_H
#define PORTREEVE_NET_HELLO_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELLO_MOST       16384u /* bytes of records that a ClientHello may fill; a longer one is refused */
#define HELLO_EXTENSIONS 100u
#define HELLO_NAME       256

enum hello_result { HELLO_MORE, HELLO_DONE, HELLO_BAD };

struct hello_part { /* a place in the caller's bytes; n 0 = not there (or empty) */
    const uint8_t *p;
    uint32_t n;
};
struct hello {
    uint16_t version;     /* legacy_version */
    bool tls13;           /* offered in supported_versions */
    char sni[HELLO_NAME]; /* lower case, without a dot at its end; "" = none. Letters, digits, - _ and . only: fit for logs and look-ups */
    struct hello_part ciphers;              /* two bytes each */
    struct hello_part extensions;           /* type, length, content, one after the other; each type once */
    struct hello_part alpn;                 /* length byte, name, … */
    struct hello_part versions, algorithms; /* supported_versions, signature_algorithms: two bytes each */
};

/* The n bytes at p are what came first on a connection. They are changed: records that carry the rest of the message are joined to the first, so
 * peek anew before the next call. HELLO_DONE: *out is filled and points into p. HELLO_MORE: *need (> n, at most HELLO_MOST) is how
 * many bytes there must be before asking again is of use. HELLO_BAD: *why says why, a literal. */
enum hello_result hello_read(uint8_t *p, size_t n, struct hello *out, size_t *need, const char **why);
/* One whole handshake message, its four bytes of type and length with it, without record heads. NULL: *out is filled and points into m; else why not. */
const char *hello_message(const uint8_t *m, size_t n, struct hello *out);
#endif
