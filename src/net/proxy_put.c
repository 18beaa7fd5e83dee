#include "net/proxy.h"
#include "net/proxy_i.h"
#include <stdio.h>
#include <string.h>

/* Hexadecimal groups only: what RFC 5952 makes of ::192.0.2.1 is not of this format. */
static void format_ip(const struct addr *a, char out[ADDR_TEXT]) {
    const uint8_t *b = a->ip;
    int n = 0;
    if (a->family == 4) snprintf(out, ADDR_TEXT, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
    for (int i = 0; a->family == 6 && i < 16; i += 2)
        n += snprintf(out + n, (size_t)(ADDR_TEXT - n), "%s%x", i ? ":" : "", (unsigned)(b[i] << 8 | b[i + 1]));
}

size_t proxy_put_v1(char out[PROXY_V1_MAX], const struct addr *from, const struct addr *to) {
    char line[PROXY_V1_MAX + 1], a[ADDR_TEXT], b[ADDR_TEXT];
    if (!from->family || from->family != to->family) {
        memcpy(out, "PROXY UNKNOWN\r\n", 15);
        return 15;
    }
    format_ip(from, a);
    format_ip(to, b);
    int n = snprintf(line, sizeof line, "PROXY TCP%u %s %s %u %u\r\n", from->family, a, b, from->port, to->port);
    memcpy(out, line, (size_t)n);
    return (size_t)n;
}

struct out {
    char *p;
    size_t n, cap;
    bool full;
};

static void put(struct out *o, const void *p, size_t n) {
    if (o->full || o->cap - o->n < n) {
        o->full = true;
        return;
    }
    memcpy(o->p + o->n, p, n);
    o->n += n;
}

static void put8(struct out *o, unsigned v) {
    put(o, &(uint8_t){(uint8_t)v}, 1);
}

static void put16(struct out *o, size_t v) {
    put8(o, (unsigned)(v >> 8));
    put8(o, (unsigned)v);
}

/* Where the length of a TLV stands once its value is written. */
static size_t open_tlv(struct out *o, unsigned type) {
    put8(o, type);
    put16(o, 0);
    return o->n;
}

static void set16(struct out *o, size_t at, size_t v) {
    if (o->full) return;
    if (v > UINT16_MAX) {
        o->full = true;
        return;
    }
    o->p[at] = (char)(v >> 8);
    o->p[at + 1] = (char)v;
}

static void close_tlv(struct out *o, size_t value) {
    set16(o, value - 2, o->n - value);
}

static void put_text(struct out *o, unsigned type, struct proxy_text t) {
    if (!t.n) return;
    size_t at = open_tlv(o, type);
    put(o, t.p, t.n);
    close_tlv(o, at);
}

static void put_ssl(struct out *o, const struct proxy_header *h) {
    size_t at = open_tlv(o, PP2_SSL);
    put8(o, (h->tls ? PP2_CLIENT_SSL : 0u) | (h->cert ? PP2_CLIENT_CERT_CONN : 0u) | (h->cert_session ? PP2_CLIENT_CERT_SESS : 0u));
    put16(o, 0);
    put16(o, h->verified ? 0 : 1);
    put_text(o, PP2_SSL_VERSION, h->tls_version);
    put_text(o, PP2_SSL_CN, h->cn);
    put_text(o, PP2_SSL_CIPHER, h->cipher);
    close_tlv(o, at);
}

static void put_addresses(struct out *o, const struct addr *from, const struct addr *to) {
    size_t ip = from->family == 4 ? 4 : 16;
    put(o, from->ip, ip);
    put(o, to->ip, ip);
    put16(o, from->port);
    put16(o, to->port);
}

size_t proxy_put_v2(char *out, size_t cap, const struct proxy_header *h, bool crc) {
    struct out o = {.p = out, .cap = cap};
    bool named = !h->local && h->from.family && h->from.family == h->to.family;
    put(&o, proxy_signature, PROXY_SIGNATURE);
    put8(&o, h->local ? 0x20 : 0x21);
    put8(&o, !named ? 0x00 : h->from.family == 4 ? 0x11 : 0x21);
    put16(&o, 0);
    if (named) put_addresses(&o, &h->from, &h->to);
    put_text(&o, PP2_ALPN, h->alpn);
    put_text(&o, PP2_AUTHORITY, h->authority);
    put_text(&o, PP2_UNIQUE_ID, h->unique_id);
    if (h->ssl) put_ssl(&o, h);
    if (crc) {
        open_tlv(&o, PP2_CRC32C);
        put16(&o, 0);
        put16(&o, 0);
        set16(&o, o.n - 6, 4);
    }
    set16(&o, PP2_FIXED - 2, o.n - PP2_FIXED);
    if (o.full) return 0;
    if (crc) {
        uint32_t sum = proxy_crc32c(0, out, o.n);
        set16(&o, o.n - 4, sum >> 16);
        set16(&o, o.n - 2, sum & 0xffff);
    }
    return o.n;
}
