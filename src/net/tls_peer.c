/* Who is at the other end: the caller's certificate in words. All of it is the caller's choice until it is verified: bounded, and UTF-8. */
#include "base/utf8.h"
#include "net/tls_ctx.h"
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool plain(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~' || s[i] == ',') return false;
    return n > 0;
}

/* The host names and mail addresses of its subjectAltName, with commas; what does not fit or is none is left out. */
static void read_names(X509 *x, char *out, size_t cap) {
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    size_t at = 0;
    for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        if (g->type != GEN_DNS && g->type != GEN_EMAIL) continue;
        const char *s = (const char *)ASN1_STRING_get0_data(g->d.ia5);
        size_t n = (size_t)ASN1_STRING_length(g->d.ia5);
        if (!plain(s, n) || at + n + 2 > cap) continue;
        at += (size_t)snprintf(out + at, cap - at, "%s%.*s", at ? "," : "", (int)n, s);
    }
    GENERAL_NAMES_free(all);
}

/* One that is cut off must not equal a shorter one: it ends with "…". */
void tls_name_text(const X509_NAME *name, char *out, size_t cap) {
    static const char more[] = "…";
    BIO *b = BIO_new(BIO_s_mem());
    int n = b != NULL && X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0 ? BIO_read(b, out, (int)cap - 1) : 0;
    if (n > 0 && BIO_pending(b) > 0) {
        n = utf8_shown(out, (size_t)n, (int)(cap - sizeof more));
        memcpy(out + n, more, sizeof more - 1);
        n += (int)sizeof more - 1;
    }
    BIO_free(b);
    out[n > 0 ? n : 0] = '\0';
    if (n > 0) utf8_tame(out, (size_t)n);
}

/* The last CN of the subject, as devices in front of us tell it in their PROXY headers; "" where there is none or it does not fit. */
static void read_cn(const X509_NAME *name, char *out, size_t cap) {
    int at = -1, last = -1;
    while ((at = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0) last = at;
    unsigned char *text = NULL;
    int n = last < 0 ? -1 : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
    if (n > 0 && (size_t)n < cap && !memchr(text, '\0', (size_t)n)) {
        memcpy(out, text, (size_t)n);
        out[n] = '\0';
        utf8_tame(out, (size_t)n);
    }
    OPENSSL_free(text);
}

static void read_serial(const X509 *x, char *out, size_t cap) {
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *hex = number ? BN_bn2hex(number) : NULL;
    if (hex && strlen(hex) < cap) memcpy(out, hex, strlen(hex) + 1); /* RFC 5280 allows 20 bytes */
    for (; *out; out++)
        if (*out >= 'A' && *out <= 'F') *out = (char)(*out | 32);
    OPENSSL_free(hex);
    BN_free(number);
}

static int64_t unix_ms(const ASN1_TIME *t) {
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void read_certificate(X509 *x, struct tls_identity *out) {
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    tls_name_text(X509_get_subject_name(x), out->subject, sizeof out->subject);
    tls_name_text(X509_get_issuer_name(x), out->issuer, sizeof out->issuer);
    read_cn(X509_get_subject_name(x), out->cn, sizeof out->cn);
    read_names(x, out->names, sizeof out->names);
    read_serial(x, out->serial, sizeof out->serial);
    out->not_after_ms = unix_ms(X509_get0_notAfter(x));
    if (X509_digest(x, EVP_sha256(), md, &n) == 1)
        for (unsigned i = 0; i < n && i < 32; i++) snprintf(out->sha256 + i * 2, 3, "%02x", md[i]);
}

void tls_identity_of(const SSL *ssl, struct tls_identity *out) {
    *out = (struct tls_identity){.reason = ""};
    snprintf(out->version, sizeof out->version, "%s", SSL_get_version(ssl));
    const char *cipher = SSL_get_cipher_name(ssl);
    snprintf(out->cipher, sizeof out->cipher, "%s", cipher ? cipher : "");
    X509 *x = SSL_get0_peer_certificate(ssl);
    if (x == NULL) return;
    long why = SSL_get_verify_result(ssl);
    out->shown = true;
    out->resumed = SSL_session_reused(ssl) == 1;
    out->verified = why == X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
    if (why != X509_V_OK) out->reason = X509_verify_cert_error_string(why);
    read_certificate(x, out);
}
