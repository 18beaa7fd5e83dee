#include "base/addr.h"
#include "base/utf8.h"
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* How much of a refused text an error repeats. */
#define SHOWN(s, n) utf8_shown(s, n, 80), s

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void take_v6(const uint8_t ip[16], struct addr *out) {
    if (memcmp(ip, MAPPED, sizeof MAPPED) == 0) {
        out->family = 4;
        memcpy(out->ip, ip + 12, 4);
        return;
    }
    out->family = 6;
    memcpy(out->ip, ip, 16);
}

static bool parse_v4(const char *s, size_t n, struct addr *out, struct err *e) {
    size_t i = 0;
    for (int part = 0; part < 4; part++) {
        if (part > 0 && (i >= n || s[i++] != '.'))
            return err_set(e, "\"%.*s\" is not an IPv4 address: write four numbers with dots between them, like 192.0.2.1", SHOWN(s, n));
        size_t start = i;
        unsigned v = 0;
        while (i < n && i - start < 4 && s[i] >= '0' && s[i] <= '9') v = v * 10 + (unsigned)(s[i++] - '0');
        if (i == start) return err_set(e, "\"%.*s\" is not an IPv4 or IPv6 address", SHOWN(s, n));
        if (s[start] == '0' && i - start > 1)
            return err_set(e, "\"%.*s\": leading zeros are not allowed in an IPv4 address (some read them as octal); drop them",
                           SHOWN(s, n));
        if (v > 255) return err_set(e, "\"%.*s\": each number of an IPv4 address is at most 255", SHOWN(s, n));
        out->ip[part] = (uint8_t)v;
    }
    if (i != n) return err_set(e, "\"%.*s\" is not an IPv4 address: something follows the fourth number", SHOWN(s, n));
    out->family = 4;
    return true;
}

/* A zone is an interface index or the name of an interface of this machine. */
static bool parse_zone(const char *s, size_t n, struct addr *out, struct err *e) {
    uint64_t v = 0;
    size_t i = 0;
    if (n == 0 || n >= IF_NAMESIZE || memchr(s, 0, n))
        return err_set(e, "\"%%%.*s\" is not a zone: write an interface name or index behind %%", SHOWN(s, n));
    while (i < n && s[i] >= '0' && s[i] <= '9' && v <= UINT32_MAX) v = v * 10 + (unsigned)(s[i++] - '0');
    if (i == n && (v == 0 || v > INT32_MAX)) return err_set(e, "zone \"%%%.*s\": an interface index is 1 to 2147483647", SHOWN(s, n));
    if (i != n) {
        char name[IF_NAMESIZE] = "";
        memcpy(name, s, n);
        v = if_nametoindex(name);
        if (v == 0) return err_set(e, "zone \"%%%s\": there is no such interface on this machine", name);
    }
    out->scope = (uint32_t)v;
    return true;
}

static bool parse_v6(const char *s, size_t n, struct addr *out, struct err *e) {
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    const char *zone = memchr(s, '%', n);
    size_t len = zone ? (size_t)(zone - s) : n;
    if (len >= sizeof text || memchr(s, 0, len)) return err_set(e, "\"%.*s\" is not an IPv6 address", SHOWN(s, n));
    memcpy(text, s, len);
    text[len] = 0;
    if (inet_pton(AF_INET6, text, ip) != 1) return err_set(e, "\"%.*s\" is not an IPv6 address", SHOWN(s, n));
    take_v6(ip, out);
    if (!zone) return true;
    if (!addr_is_link_local(out)) return err_set(e, "\"%.*s\": only a link-local address (fe80::/10) can have a %%zone", SHOWN(s, n));
    return parse_zone(zone + 1, n - len - 1, out, e);
}

bool addr_parse_ip(const char *s, size_t n, struct addr *out, struct err *e) {
    struct addr a = {0};
    if (n == 0) return err_set(e, "an IP address is missing");
    if (s[0] == '[') return err_set(e, "\"%.*s\": write this address without brackets and without a port", SHOWN(s, n));
    bool fine = memchr(s, ':', n) ? parse_v6(s, n, &a, e) : parse_v4(s, n, &a, e);
    if (fine) *out = a;
    return fine;
}

/* s is what follows the address: empty, or ':' and a port. */
static bool parse_port(const char *s, size_t n, bool allow0, struct addr *out, struct err *e) {
    uint32_t v = 0;
    size_t i = 1;
    if (n == 0) return true;
    if (s[0] != ':') return err_set(e, "\"%.*s\" follows the address: only \":port\" may", SHOWN(s, n));
    if (n == 1) return err_set(e, "the port behind \":\" is missing: write a number from 1 to 65535, or drop the colon");
    while (i < n && s[i] >= '0' && s[i] <= '9' && v <= 65535) v = v * 10 + (uint32_t)(s[i++] - '0');
    if (i != n && v <= 65535) return err_set(e, "port \"%.*s\" is not a number", SHOWN(s + 1, n - 1));
    if (s[1] == '0' && n > 2) return err_set(e, "port \"%.*s\" has leading zeros: drop them", SHOWN(s + 1, n - 1));
    if (v > 65535 || (v == 0 && !allow0))
        return err_set(e, "port %.*s is out of range: write a number from 1 to 65535", SHOWN(s + 1, n - 1));
    out->port = (uint16_t)v;
    return true;
}

static bool parse_bracketed(const char *s, size_t n, bool allow0, struct addr *out, struct err *e) {
    const char *end = memchr(s, ']', n);
    if (!end) return err_set(e, "\"%.*s\": the closing bracket ] is missing", SHOWN(s, n));
    size_t len = (size_t)(end - s) - 1;
    if (len == 0) return err_set(e, "\"%.*s\": there is no address between the brackets", SHOWN(s, n));
    if (!memchr(s + 1, ':', len)) {
        struct addr v4;
        if (addr_parse_ip(s + 1, len, &v4, NULL)) return err_set(e, "\"%.*s\": an IPv4 address is written without brackets", SHOWN(s, n));
        return err_set(e, "\"%.*s\" is not an IPv6 address", SHOWN(s + 1, len));
    }
    return parse_v6(s + 1, len, out, e) && parse_port(end + 1, n - len - 2, allow0, out, e);
}

bool addr_parse_hostport(const char *s, size_t n, bool allow_port0, struct addr *out, struct err *e) {
    struct addr a = {0};
    bool fine;
    if (n == 0) return err_set(e, "an address is missing");
    const char *colon = memchr(s, ':', n);
    if (s[0] == '[') {
        fine = parse_bracketed(s, n, allow_port0, &a, e);
    } else if (colon && memchr(colon + 1, ':', n - (size_t)(colon - s) - 1)) {
        return err_set(e, "\"%.*s\": an IPv6 address is written in brackets, like [::1] or [::1]:8080", SHOWN(s, n));
    } else if (colon == s) {
        return err_set(e, "\"%.*s\": the address before \":\" is missing", SHOWN(s, n));
    } else {
        size_t len = colon ? (size_t)(colon - s) : n;
        fine = parse_v4(s, len, &a, e) && parse_port(s + len, n - len, allow_port0, &a, e);
    }
    if (fine) *out = a;
    return fine;
}

static size_t put_number(char *out, unsigned v, unsigned base) {
    char d[8];
    size_t n = 0, i = 0;
    do d[n++] = "0123456789abcdef"[v % base];
    while ((v /= base) != 0);
    while (n > 0) out[i++] = d[--n];
    return i;
}

static size_t format_v4(const uint8_t ip[4], char *out) {
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        if (i > 0) out[n++] = '.';
        n += put_number(out + n, ip[i], 10);
    }
    out[n] = 0;
    return n;
}

/* RFC 5952: lower case, no leading zeros, "::" for the first of the longest runs of two or more zero groups. */
static size_t format_v6(const uint8_t ip[16], char *out) {
    int best = -1, best_len = 1;
    unsigned group[8];
    for (int i = 0; i < 8; i++) group[i] = (unsigned)ip[2 * i] << 8 | ip[2 * i + 1];
    for (int i = 0; i < 8; i++) {
        int len = 0;
        while (i + len < 8 && group[i + len] == 0) len++;
        if (len > best_len) {
            best = i;
            best_len = len;
        }
        i += len;
    }
    size_t n = 0;
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            out[n++] = ':';
            out[n++] = ':';
            i += best_len - 1;
            continue;
        }
        if (i > 0 && out[n - 1] != ':') out[n++] = ':';
        n += put_number(out + n, group[i], 16);
    }
    out[n] = 0;
    return n;
}

size_t addr_format_ip(const struct addr *a, char out[ADDR_TEXT]) {
    if (a->family == 4) return format_v4(a->ip, out);
    if (a->family != 6) return (size_t)snprintf(out, ADDR_TEXT, "none");
    size_t n = format_v6(a->ip, out);
    if (a->scope == 0) return n;
    char name[IF_NAMESIZE];
    /* The kernel takes almost any name; what stands in JSON and on terminals is the number of one that could do harm there. */
    static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@+";
    bool named = if_indextoname(a->scope, name) && name[strspn(name, harmless)] == '\0';
    int more = named ? snprintf(out + n, ADDR_TEXT - n, "%%%s", name) : snprintf(out + n, ADDR_TEXT - n, "%%%u", a->scope);
    return n + (size_t)more;
}

size_t addr_format(const struct addr *a, char out[ADDR_TEXT]) {
    size_t n = 0;
    if (a->family == 6) {
        char ip[ADDR_TEXT];
        size_t len = addr_format_ip(a, ip);
        out[n++] = '[';
        memcpy(out + n, ip, len);
        n += len;
        out[n++] = ']';
    } else {
        n = addr_format_ip(a, out);
    }
    out[n++] = ':';
    n += put_number(out + n, a->port, 10);
    out[n] = 0;
    return n;
}

void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out) {
    *out = (struct addr){0};
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        out->family = 4;
        out->port = ntohs(in->sin_port);
        memcpy(out->ip, &in->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        take_v6((const uint8_t *)&in6->sin6_addr, out);
        out->port = ntohs(in6->sin6_port);
        if (out->family == 6) out->scope = in6->sin6_scope_id;
    }
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    if (a->family == 4) {
        struct sockaddr_in *in = (void *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof *in;
    }
    if (a->family != 6) return 0;
    struct sockaddr_in6 *in6 = (void *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    in6->sin6_scope_id = a->scope;
    memcpy(&in6->sin6_addr, a->ip, 16);
    return sizeof *in6;
}

bool addr_same_ip(const struct addr *a, const struct addr *b) {
    if (a->family != b->family || memcmp(a->ip, b->ip, sizeof a->ip) != 0) return false;
    return a->scope == b->scope || a->scope == 0 || b->scope == 0;
}

bool addr_is_any(const struct addr *a) {
    static const uint8_t zero[16];
    return a->family != 0 && memcmp(a->ip, zero, sizeof zero) == 0;
}

bool addr_is_loopback(const struct addr *a) {
    static const uint8_t one[16] = {[15] = 1};
    if (a->family == 4) return a->ip[0] == 127;
    return a->family == 6 && memcmp(a->ip, one, sizeof one) == 0;
}

bool addr_is_link_local(const struct addr *a) {
    return a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}
