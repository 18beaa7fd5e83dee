#include "net/proxy.h"
#include "base/utf8.h"
#include "net/proxy_i.h"
#include <netinet/in.h>
#include <string.h>

#define V1_TCP4_MAX   56u
#define V1_TCP6_MAX   104u
#define UNIQUE_ID_MAX 128u

const char proxy_signature[PROXY_SIGNATURE] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_result bad(const char **why, const char *text) {
    *why = text;
    return PROXY_BAD;
}

/* Do the first n bytes at p agree with the beginning of `word`? */
static bool begins(const char *p, size_t n, const char *word, size_t len) {
    return memcmp(p, word, n < len ? n : len) == 0;
}

/* ---- version 1 ---- */

struct line { /* what is left of it */
    const char *p, *end;
};

/* Up to the next space, or to the end; the space goes too. */
static struct proxy_text next_word(struct line *l) {
    const char *space = memchr(l->p, ' ', (size_t)(l->end - l->p));
    struct proxy_text t = {l->p, (size_t)((space ? space : l->end) - l->p)};
    l->p = space ? space + 1 : l->end;
    return t;
}

static bool read_ip(struct line *l, bool six, struct addr *out) {
    struct proxy_text t = next_word(l);
    return (memchr(t.p, ':', t.n) != NULL) == six && addr_parse_ip(t.p, t.n, out, NULL);
}

static bool read_port(struct line *l, uint16_t *out) {
    struct proxy_text t = next_word(l);
    unsigned v = 0;
    if (t.n < 1 || t.n > 5 || (t.n > 1 && t.p[0] == '0')) return false;
    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] < '0' || t.p[i] > '9') return false;
        v = v * 10 + (unsigned)(t.p[i] - '0');
    }
    *out = (uint16_t)v;
    return v <= 65535;
}

/* "ADDRESS ADDRESS PORT PORT", exactly: each word ends at one space, the last at the line's end. */
static bool read_ends(struct line l, bool six, struct proxy_header *out) {
    const char *end = l.end;
    return end > l.p && end[-1] != ' ' && read_ip(&l, six, &out->from) && read_ip(&l, six, &out->to) && read_port(&l, &out->from.port) &&
           l.p < end && read_port(&l, &out->to.port) && l.p == end;
}

static enum proxy_result parse_v1(const char *p, size_t n, struct proxy_header *out, size_t *used, const char **why) {
    static const char tcp4[] = "PROXY TCP4 ", tcp6[] = "PROXY TCP6 ", unknown[] = "PROXY UNKNOWN";
    size_t most = begins(p, n, tcp4, sizeof tcp4 - 1)         ? V1_TCP4_MAX
                  : begins(p, n, tcp6, sizeof tcp6 - 1)       ? V1_TCP6_MAX
                  : begins(p, n, unknown, sizeof unknown - 1) ? PROXY_V1_MAX
                                                              : 0;
    size_t i = most == PROXY_V1_MAX ? sizeof unknown - 1 : sizeof tcp4 - 1;
    if (!most) return bad(why, "neither a PROXY line nor a binary header");
    if (n <= i) return PROXY_MORE; /* short enough to be any of the three */
    if (most == PROXY_V1_MAX && p[i] != ' ' && p[i] != '\r')
        return bad(why, "UNKNOWN is followed by something else than a space or the line's end");
    const char *allowed = most == V1_TCP4_MAX ? "0123456789. " : most == V1_TCP6_MAX ? "0123456789abcdefABCDEF: " : NULL;
    size_t first = i;
    for (; i < n && i < most - 1 && p[i] != '\r'; i++) {
        if (p[i] == '\n') return bad(why, "the line ends without a carriage return");
        if (allowed && (!p[i] || !strchr(allowed, p[i]))) return bad(why, "a character that no address or port of its family has");
    }
    if (i == most - 1) return bad(why, "the line is longer than any of its family can be");
    if (i + 1 >= n) return PROXY_MORE;
    if (p[i + 1] != '\n') return bad(why, "a carriage return without line feed");
    if (allowed && !read_ends((struct line){p + first, p + i}, most == V1_TCP6_MAX, out))
        return bad(why, "not two addresses and two ports with single spaces, as the family wants them");
    out->version = 1;
    *used = i + 2;
    return PROXY_DONE;
}

/* ---- version 2 ---- */

static size_t get16(const char *p) {
    return (size_t)(uint8_t)p[0] << 8 | (uint8_t)p[1];
}

static uint32_t get32(const char *p) {
    return (uint32_t)get16(p) << 16 | (uint32_t)get16(p + 2);
}

uint32_t proxy_crc32c(uint32_t crc, const char *p, size_t n) {
    /* By half bytes: reversed polynomial 0x82f63b78 (RFC 4960, appendix B). */
    static const uint32_t half[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                      0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint8_t)p[i];
        crc = crc >> 4 ^ half[crc & 15];
        crc = crc >> 4 ^ half[crc & 15];
    }
    return ~crc;
}

/* One TLV off the front. false: it does not fit. */
static bool next_tlv(struct line *l, uint8_t *type, struct proxy_text *value) {
    size_t left = (size_t)(l->end - l->p);
    if (left < 3 || left - 3 < get16(l->p + 1)) return false;
    *type = (uint8_t)l->p[0];
    *value = (struct proxy_text){l->p + 3, get16(l->p + 1)};
    l->p = value->p + value->n;
    return true;
}

static bool is_text(struct proxy_text t) {
    for (size_t i = 0; i < t.n; i++)
        if ((uint8_t)t.p[i] < 0x20 || t.p[i] == 0x7f) return false;
    return utf8_valid(t.p, t.n);
}

static const char *keep(struct proxy_text *to, struct proxy_text value, bool text) {
    if (to->p) return "a TLV is there twice";
    if (text && !is_text(value)) return "a TLV is not the text it should be";
    *to = value;
    return NULL;
}

static const char *read_ssl(struct proxy_text v, struct proxy_header *out) {
    if (out->ssl) return "a TLV is there twice";
    if (v.n < 5) return "the SSL TLV is too short";
    uint8_t client = (uint8_t)v.p[0], type;
    out->ssl = true;
    out->tls = client & PP2_CLIENT_SSL;
    out->cert = client & PP2_CLIENT_CERT_CONN;
    out->cert_session = client & PP2_CLIENT_CERT_SESS;
    out->verified = (out->cert || out->cert_session) && get32(v.p + 1) == 0;
    struct line l = {v.p + 5, v.p + v.n};
    struct proxy_text sub;
    const char *why = NULL;
    while (!why && l.p < l.end) {
        if (!next_tlv(&l, &type, &sub)) return "a TLV within the SSL TLV does not fit into it";
        if (type == PP2_SSL_VERSION) why = keep(&out->tls_version, sub, true);
        if (type == PP2_SSL_CN) why = keep(&out->cn, sub, true);
        if (type == PP2_SSL_CIPHER) why = keep(&out->cipher, sub, true);
    }
    return why;
}

/* The checksum of the whole header with zeros in the place of the checksum itself. */
static const char *check_crc(const char *p, size_t n, struct proxy_text crc) {
    static const char zeros[4];
    if (crc.n != 4) return "a checksum has four bytes";
    size_t at = (size_t)(crc.p - p);
    uint32_t sum = proxy_crc32c(proxy_crc32c(proxy_crc32c(0, p, at), zeros, 4), crc.p + 4, n - at - 4);
    return sum == get32(crc.p) ? NULL : "bad checksum (CRC32c)";
}

/* All TLVs of the header p[0..n), from l on. */
static const char *read_tlvs(const char *p, size_t n, struct line l, struct proxy_header *out) {
    struct proxy_text value, crc = {NULL, 0};
    const char *why = NULL;
    uint8_t type;
    while (!why && l.p < l.end) {
        if (!next_tlv(&l, &type, &value)) return "a TLV does not fit into the header";
        switch (type) {
        case PP2_ALPN: why = keep(&out->alpn, value, false); break;
        case PP2_AUTHORITY: why = keep(&out->authority, value, true); break;
        case PP2_CRC32C: why = keep(&crc, value, false); break;
        case PP2_UNIQUE_ID:
            why = value.n > UNIQUE_ID_MAX ? "a unique id has at most 128 bytes" : keep(&out->unique_id, value, false);
            break;
        case PP2_SSL: why = read_ssl(value, out); break;
        default: break;
        }
    }
    return why || !crc.p ? why : check_crc(p, n, crc);
}

static void take_address(struct addr *a, const char *ip, size_t n, const char *port) {
    if (n == 4) {
        *a = (struct addr){.family = 4};
        memcpy(a->ip, ip, 4);
    } else {
        struct sockaddr_in6 sa = {.sin6_family = AF_INET6}; /* mapped addresses become IPv4 there */
        memcpy(&sa.sin6_addr, ip, 16);
        addr_from_sockaddr((const struct sockaddr *)&sa, a);
    }
    a->port = (uint16_t)get16(port);
}

/* Bytes of the address block of a protocol byte; -1 = there is no such protocol. */
static int address_bytes(uint8_t protocol) {
    switch (protocol) {
    case 0x00: return 0;
    case 0x11:
    case 0x12: return 12;
    case 0x21:
    case 0x22: return 36;
    case 0x31:
    case 0x32: return 216;
    default: return -1;
    }
}

/* What LOCAL and UNSPEC carry is to be skipped, whatever it is. But where it is TLVs, a checksum among them holds, and those of UNSPEC are read. */
static enum proxy_result skip_block(const char *p, size_t n, size_t addresses, struct proxy_header *out, const char **why) {
    struct proxy_header seen = *out;
    struct proxy_text value, crc = {NULL, 0};
    uint8_t type;
    const struct line all = {p + (PP2_FIXED + addresses <= n ? PP2_FIXED + addresses : PP2_FIXED), p + n};
    for (struct line l = all; l.p < l.end;) {
        if (!next_tlv(&l, &type, &value)) return PROXY_DONE;
        if (type == PP2_CRC32C) crc = value;
    }
    *why = crc.p ? check_crc(p, n, crc) : NULL;
    if (*why) return PROXY_BAD;
    if (!out->local && !read_tlvs(p, n, all, &seen)) *out = seen;
    return PROXY_DONE;
}

static enum proxy_result read_block(const char *p, size_t n, int addresses, struct proxy_header *out, const char **why) {
    out->version = 2;
    out->local = (p[12] & 15) == 0;
    if (out->local || addresses == 0) return skip_block(p, n, addresses > 0 ? (size_t)addresses : 0, out, why);
    const char *a = p + PP2_FIXED;
    size_t ip = addresses == 12 ? 4 : 16;
    if (addresses != 216) {
        take_address(&out->from, a, ip, a + 2 * ip);
        take_address(&out->to, a + ip, ip, a + 2 * ip + 2);
    }
    *why = read_tlvs(p, n, (struct line){a + addresses, p + n}, out);
    return *why ? PROXY_BAD : PROXY_DONE;
}

static enum proxy_result parse_v2(const char *p, size_t n, struct proxy_header *out, size_t *used, const char **why) {
    if (!begins(p, n, proxy_signature, PROXY_SIGNATURE)) return bad(why, "neither a PROXY line nor a binary header");
    if (n > 12 && (uint8_t)p[12] >> 4 != 2) return bad(why, "a binary header of a version that is not 2");
    if (n > 12 && (p[12] & 15) > 1) return bad(why, "a command that is neither LOCAL nor PROXY");
    bool local = n > 12 && (p[12] & 15) == 0;
    int addresses = n > 13 ? address_bytes((uint8_t)p[13]) : 0;
    if (n > 13 && !local && addresses < 0) return bad(why, "a protocol or family that does not exist");
    if (n < PP2_FIXED) return PROXY_MORE;
    size_t len = get16(p + 14);
    if (PP2_FIXED + len > PROXY_MAX) return bad(why, "the header is longer than 4096 bytes");
    if (!local && len < (size_t)addresses) return bad(why, "the header is too short for its addresses");
    if (n - PP2_FIXED < len) return PROXY_MORE;
    *used = PP2_FIXED + len;
    return read_block(p, *used, addresses, out, why);
}

size_t proxy_wants(const char *p, size_t n) {
    const size_t shortest = 15; /* "PROXY UNKNOWN" and the line's end */
    if (n < shortest) return shortest - n;
    if (p[0] == '\r') return n < PP2_FIXED ? PP2_FIXED - n : PP2_FIXED + get16(p + 14) - n;
    return p[n - 1] == '\r' ? 1 : 2;
}

enum proxy_result proxy_parse(const char *p, size_t n, unsigned take, struct proxy_header *out, size_t *used, const char **why) {
    *out = (struct proxy_header){0};
    *used = 0;
    *why = NULL;
    if (n == 0) return PROXY_MORE;
    bool binary = p[0] == '\r';
    if (binary && !(take & PROXY_V2)) return bad(why, "a binary header, and only lines (V1) are taken here");
    if (p[0] == 'P' && !(take & PROXY_V1)) return bad(why, "a PROXY line, and only binary headers (V2) are taken here");
    enum proxy_result r = binary ? parse_v2(p, n, out, used, why) : parse_v1(p, n, out, used, why);
    if (r != PROXY_DONE) *used = 0;
    return r;
}
