/* An IP address, an optional port and an optional IPv6 scope: the one form every room uses. The port is a TCP port unless `udp` is set.
 * IPv4-mapped IPv6 addresses become IPv4 on the way in (L5, M1). Libc only, no allocation. */
#ifndef PORTREEVE_BASE_ADDR_H
#define PORTREEVE_BASE_ADDR_H
#include "base/err.h"
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_TEXT 80 /* bytes that hold any formatted address with port, zone and NUL */

struct addr {
    uint8_t family; /* 4, 6, or 0 for none */
    bool udp;       /* of a socket: UDP, else TCP; formatting and addr_same_ip pass over it */
    uint16_t port;  /* host order; 0 = none */
    uint32_t scope; /* IPv6 scope id (interface index), 0 = none */
    uint8_t ip[16]; /* network order; IPv4 in the first four bytes, the rest zero */
};

/* Parse one bare IP address: strict dotted quad (no leading zeros, four parts) or RFC 4291 text, optional %zone
 * (interface name or index; link-local only). No brackets, no port. */
bool addr_parse_ip(const char *s, size_t n, struct addr *out, struct err *e);
/* Parse `a.b.c.d[:port]` or `[v6][:port]` (M12–M14); bare IPv6 without brackets is an error. out->port = 0 where none is written;
 * a written port must be 1–65535 (0 allowed only with allow_port0). */
bool addr_parse_hostport(const char *s, size_t n, bool allow_port0, struct addr *out, struct err *e);
/* "192.0.2.1", "fe80::1%eth0": canonical text (RFC 5952). Returns length. */
size_t addr_format_ip(const struct addr *a, char out[ADDR_TEXT]);
/* "192.0.2.1:80", "[::1]:80" (port always written). Returns length. */
size_t addr_format(const struct addr *a, char out[ADDR_TEXT]);
void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out);
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
/* Same family and bytes (and scope, where both have one); ports are not compared. */
bool addr_same_ip(const struct addr *a, const struct addr *b);
bool addr_is_any(const struct addr *a);
bool addr_is_loopback(const struct addr *a);   /* 127.0.0.0/8, ::1 */
bool addr_is_link_local(const struct addr *a); /* fe80::/10 */
#endif
