/* What reading (proxy.c) and writing (proxy_put.c) PROXY headers share; nobody else includes this. */
#ifndef PORTREEVE_NET_PROXY_I_H
#define PORTREEVE_NET_PROXY_I_H
#include <stddef.h>
#include <stdint.h>

#define PROXY_SIGNATURE 12
#define PP2_FIXED       16u /* signature, version and command, protocol, length */
extern const char proxy_signature[PROXY_SIGNATURE];

enum { /* the specification's PP2_TYPE_…, PP2_SUBTYPE_… and flags */
       PP2_ALPN = 0x01,
       PP2_AUTHORITY = 0x02,
       PP2_CRC32C = 0x03,
       PP2_UNIQUE_ID = 0x05,
       PP2_SSL = 0x20,
       PP2_SSL_VERSION = 0x21,
       PP2_SSL_CN = 0x22,
       PP2_SSL_CIPHER = 0x23,
       PP2_CLIENT_SSL = 1,
       PP2_CLIENT_CERT_CONN = 2,
       PP2_CLIENT_CERT_SESS = 4
};

uint32_t proxy_crc32c(uint32_t crc, const char *p, size_t n); /* RFC 4960; begins with crc 0 */
#endif
