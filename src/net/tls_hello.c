/* What a ClientHello says (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301) and its JA4 fingerprint. Parsed from the message's own bytes:
 * OpenSSL's list of extensions leaves out those that it does not know, and a fingerprint without them is nobody's. */
#include "net/tls_hello.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 512u /* ciphers, extensions, signature algorithms looked at; what comes behind is not part of the fingerprint */

enum { EXT_SNI = 0, EXT_SIGNATURES = 13, EXT_ALPN = 16, EXT_VERSIONS = 43 };

struct view { /* what is left of the bytes */
    const uint8_t *p;
    size_t n;
    bool bad;
};

static unsigned take8(struct view *v) {
    if (v->n < 1) {
        v->bad = true;
        return 0;
    }
    v->n--;
    return *v->p++;
}

static unsigned take16(struct view *v) {
    unsigned hi = take8(v);
    return hi << 8 | take8(v);
}

static struct view part(struct view *v, size_t n) {
    if (v->bad || v->n < n) {
        v->bad = true;
        return (struct view){.bad = true};
    }
    struct view w = {.p = v->p, .n = n};
    v->p += n;
    v->n -= n;
    return w;
}

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

struct parsed {
    unsigned version;
    struct words ciphers, extensions, signatures;
    unsigned nextensions; /* with SNI and ALPN, which the hash leaves out */
    bool sni, alpn;
    uint8_t alpn_first, alpn_last;
};

static void read_sni(struct view v, struct parsed *p, struct tls_hello *out) {
    struct view list = part(&v, take16(&v));
    unsigned type = take8(&list);
    struct view name = part(&list, take16(&list));
    p->sni = true;
    if (list.bad || type != 0 || name.n == 0 || name.n >= sizeof out->sni || memchr(name.p, 0, name.n)) return;
    for (size_t i = 0; i < name.n; i++) out->sni[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] | 32 : name.p[i]);
    out->sni[name.n] = '\0';
}

static bool printable(struct view v) {
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] > '~' || v.p[i] == ',') return false;
    return true;
}

static void read_alpn(struct view v, struct parsed *p, struct tls_hello *out) {
    struct view list = part(&v, take16(&v));
    size_t at = 0;
    while (list.n && !list.bad) {
        struct view name = part(&list, take8(&list));
        if (list.bad || name.n == 0) return;
        if (!p->alpn) p->alpn_first = name.p[0], p->alpn_last = name.p[name.n - 1];
        p->alpn = true;
        if (!printable(name) || at + name.n + 2 > sizeof out->alpn) continue;
        at += (size_t)snprintf(out->alpn + at, sizeof out->alpn - at, "%s%.*s", at ? "," : "", (int)name.n, (const char *)name.p);
    }
}

static void read_versions(struct view v, struct parsed *p) {
    struct view list = part(&v, take8(&v));
    unsigned best = 0;
    while (list.n >= 2) {
        unsigned x = take16(&list);
        if (!grease(x) && x > best) best = x;
    }
    if (best) p->version = best;
}

static void read_extension(unsigned type, struct view v, struct parsed *p, struct tls_hello *out) {
    if (grease(type)) return;
    p->nextensions++;
    if (type != EXT_SNI && type != EXT_ALPN) add(&p->extensions, type);
    if (type == EXT_SNI) read_sni(v, p, out);
    if (type == EXT_ALPN) read_alpn(v, p, out);
    if (type == EXT_VERSIONS) read_versions(v, p);
    if (type == EXT_SIGNATURES)
        for (struct view list = part(&v, take16(&v)); list.n >= 2;) add(&p->signatures, take16(&list));
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
    snprintf(out->ja4, sizeof out->ja4, "t%s%c%02u%02u%s_%s_%s", version_text(p->version), p->sni ? 'd' : 'i', nciphers < 99 ? nciphers : 99,
             p->nextensions < 99 ? p->nextensions : 99, alpn, ciphers, extensions);
}

bool tls_hello_parse(const uint8_t *msg, size_t n, struct tls_hello *out) {
    __attribute__((uninitialized)) struct parsed p; /* three kilobytes and more */
    struct view v = {.p = msg, .n = n};
    p.ciphers.n = p.extensions.n = p.signatures.n = p.nextensions = 0;
    p.sni = p.alpn = false;
    *out = (struct tls_hello){0};
    unsigned type = take8(&v), high = take8(&v);
    size_t length = (size_t)high << 16;
    length |= take16(&v);
    if (v.bad || type != 1 || length != v.n) return false;
    p.version = take16(&v);
    (void)part(&v, 32);
    (void)part(&v, take8(&v)); /* session id */
    struct view ciphers = part(&v, take16(&v));
    (void)part(&v, take8(&v)); /* compression methods */
    if (v.bad || ciphers.n % 2) return false;
    while (ciphers.n) add(&p.ciphers, take16(&ciphers));
    struct view all = v.n ? part(&v, take16(&v)) : v;
    if (v.bad || v.n) return false;
    while (all.n) {
        unsigned what = take16(&all);
        struct view one = part(&all, take16(&all));
        if (all.bad) return false;
        read_extension(what, one, &p, out);
    }
    fingerprint(&p, out);
    return true;
}
