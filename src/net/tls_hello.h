/* A ClientHello as bytes: what it asks for and whose it looks like. Pure. */
#ifndef PORTREEVE_NET_TLS_HELLO_H
#define PORTREEVE_NET_TLS_HELLO_H
#include "net/hello.h"
#include "net/tls.h"

/* What admission is told of a hello that has been read (net/hello.h). Protocol names that are too long or not printable are left out. */
void tls_hello_of(const struct hello *h, struct tls_hello *out);
/* The same of a handshake message as OpenSSL hands it over. false: it is no ClientHello, *out is empty. */
bool tls_hello_parse(const uint8_t *msg, size_t n, struct tls_hello *out);
#endif
