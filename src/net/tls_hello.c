/* What admission is told of a ClientHello, and its JA4 fingerprint. Made from the message's own bytes (net/hello.c): OpenSSL's list of
 * extensions leaves out those that it does not know, and a fingerprint without them is nobody's. */
#include "net/tls_hello.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 512u /* ciphers, signature algorithms looked at; what comes behind is not part of the fingerprint */

enum { EXT_SNI = 0, EXT_ALPN = 16 };

static bool grease(unsigned x) { /* RFC 8701 */
    return (x & 0x0f0f) == 0x0a0a && x >> 8 == (x & 0xff);
}

struct words {
    uint16_t w[MOST];
    unsigned n;
};

static void add(struct words *l, unsigned x) {
    if (!grease(x) && l->n < MOST) l->w[l->n++] = (uint16_t)x;
}

static unsigned pair(const uint8_t *p) {
    return (unsigned)p[0] << 8 | p[1];
}

struct parsed {
    unsigned version;
    struct words ciphers, extensions, signatures;
    unsigned nextensions; /* with SNI and ALPN, which the hash leaves out */
    bool sni, alpn;
    uint8_t alpn_first, alpn_last;
};

/* The lengths in these parts have been looked at by hello.c. */
static void read_parts(const struct hello *h, struct parsed *p) {
    unsigned best = 0;
    for (uint32_t i = 0; i + 1 < h->ciphers.n; i += 2) add(&p->ciphers, pair(h->ciphers.p + i));
    for (uint32_t i = 0; i + 1 < h->algorithms.n; i += 2) add(&p->signatures, pair(h->algorithms.p + i));
    for (uint32_t i = 0; i + 1 < h->versions.n; i += 2) {
        unsigned x = pair(h->versions.p + i);
        if (!grease(x) && x > best) best = x;
    }
    p->version = best ? best : h->version;
    for (uint32_t i = 0; i + 3 < h->extensions.n; i += 4 + pair(h->extensions.p + i + 2)) {
        unsigned type = pair(h->extensions.p + i);
        if (grease(type)) continue;
        p->nextensions++;
        p->sni |= type == EXT_SNI;
        if (type != EXT_SNI && type != EXT_ALPN) add(&p->extensions, type);
    }
    p->alpn = h->alpn.n > 0;
    if (p->alpn) p->alpn_first = h->alpn.p[1], p->alpn_last = h->alpn.p[h->alpn.p[0]];
}

static bool printable(const uint8_t *name, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == ',') return false;
    return true;
}

static void name_protocols(const struct hello *h, struct tls_hello *out) {
    size_t at = 0;
    for (uint32_t i = 0; i < h->alpn.n; i += 1u + h->alpn.p[i]) {
        unsigned n = h->alpn.p[i];
        const uint8_t *name = h->alpn.p + i + 1;
        if (!printable(name, n) || at + n + 2 > sizeof out->alpn) continue;
        at += (size_t)snprintf(out->alpn + at, sizeof out->alpn - at, "%s%.*s", at ? "," : "", (int)n, (const char *)name);
    }
}

/* ---- the fingerprint (FoxIO, JA4: TLS client) ---- */

static int by_number(const void *a, const void *b) {
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static size_t hex_list(const struct words *l, char *out) {
    size_t at = 0;
    for (unsigned i = 0; i < l->n; i++) at += (size_t)sprintf(out + at, "%s%04x", i ? "," : "", l->w[i]);
    return at;
}

static void digest12(const char *text, size_t n, char out[13]) {
    unsigned char md[EVP_MAX_MD_SIZE] = {0};
    if (n) (void)EVP_Digest(text, n, md, NULL, EVP_sha256(), NULL);
    for (unsigned i = 0; i < 6; i++) snprintf(out + i * 2, 3, "%02x", md[i]);
}

static const char *version_text(unsigned v) {
    switch (v) {
    case 0x0304: return "13";
    case 0x0303: return "12";
    case 0x0302: return "11";
    case 0x0301: return "10";
    case 0x0300: return "s3";
    default: return "00";
    }
}

static bool alnum(unsigned c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static void fingerprint(struct parsed *p, struct tls_hello *out) {
    char text[2 * MOST * 5 + 8], ciphers[13], extensions[13], alpn[3] = "00", hex[5];
    if (p->alpn) {
        snprintf(hex, sizeof hex, "%02x%02x", p->alpn_first, p->alpn_last);
        bool plain = alnum(p->alpn_first) && alnum(p->alpn_last);
        alpn[0] = plain ? (char)p->alpn_first : hex[0];
        alpn[1] = plain ? (char)p->alpn_last : hex[3];
    }
    unsigned nciphers = p->ciphers.n;
    qsort(p->ciphers.w, p->ciphers.n, sizeof *p->ciphers.w, by_number);
    qsort(p->extensions.w, p->extensions.n, sizeof *p->extensions.w, by_number);
    digest12(text, hex_list(&p->ciphers, text), ciphers);
    size_t n = hex_list(&p->extensions, text);
    if (p->signatures.n) {
        text[n++] = '_';
        n += hex_list(&p->signatures, text + n);
    }
    digest12(text, p->extensions.n ? n : 0, extensions);
    snprintf(out->ja4, sizeof out->ja4, "t%s%c%02u%02u%s_%s_%s", version_text(p->version), p->sni ? 'd' : 'i',
             nciphers < 99 ? nciphers : 99, p->nextensions < 99 ? p->nextensions : 99, alpn, ciphers, extensions);
}

void tls_hello_of(const struct hello *h, struct tls_hello *out) {
    __attribute__((uninitialized)) struct parsed p; /* three kilobytes and more */
    p.ciphers.n = p.extensions.n = p.signatures.n = p.nextensions = 0;
    p.sni = false;
    *out = (struct tls_hello){0};
    _Static_assert(sizeof out->sni >= sizeof h->sni, "a name fits");
    memcpy(out->sni, h->sni, sizeof h->sni);
    read_parts(h, &p);
    name_protocols(h, out);
    fingerprint(&p, out);
}

bool tls_hello_parse(const uint8_t *msg, size_t n, struct tls_hello *out) {
    struct hello h;
    *out = (struct tls_hello){0};
    if (hello_message(msg, n, &h) != NULL) return false;
    tls_hello_of(&h, out);
    return true;
}
