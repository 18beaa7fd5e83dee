/* A ClientHello as bytes: what it asks for and whose it looks like. Pure. */
#ifndef PORTREEVE_NET_TLS_HELLO_H
#define PORTREEVE_NET_TLS_HELLO_H
#include "net/tls.h"
#include <stdint.h>

/* msg: one whole handshake message, its four bytes of type and length with it (no record headers). false: it is no ClientHello; `out` then holds
 * what could be read. Names that are too long, or hold what no name holds, are left out. */
bool tls_hello_parse(const uint8_t *msg, size_t n, struct tls_hello *out);
#endif
