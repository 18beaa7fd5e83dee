/* Certificates and keys from the bytes of the bundle: PEM or PKCS#12. What is wrong is said by kind, since "cannot load" helps nobody. */
#include "net/tls_ctx.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_MAX 16

bool tls_refuse(const struct plan_cert *pc, const char *file, struct err *e, const char *fmt, ...) {
    char why[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    ERR_clear_error();
    if (pc->because.file[0] == '\0') return err_set(e, "certificate %s: %s: %s", pc->name, file, why);
    return err_at(e, pc->because.file, pc->because.line, "%s: %s: %s", pc->because.entry[0] != '\0' ? pc->because.entry : pc->name, file,
                  why);
}

void tls_material_finish(struct tls_material *m) {
    X509_free(m->cert);
    EVP_PKEY_free(m->key);
    sk_X509_pop_free(m->chain, X509_free);
    memset(m, 0, sizeof *m);
}

static bool begins(const char *p, size_t n, const char *with, size_t with_n) {
    return n >= with_n && memcmp(p, with, with_n) == 0;
}

/* Length that the outermost DER element claims, headers included; 0 = not DER of the common sizes. */
static size_t der_length(const uint8_t *p, size_t n) {
    if (n < 2 || p[0] != 0x30) return 0;
    if (p[1] < 0x80) return 2u + p[1];
    unsigned bytes = p[1] & 0x7f;
    if (bytes == 0 || bytes > 4 || n < 2 + bytes) return 0;
    size_t len = 0;
    for (unsigned i = 0; i < bytes; i++) len = len << 8 | p[2 + i];
    return 2 + bytes + len;
}

static bool is_pem(const char *p, size_t n) {
    return memmem(p, n, "-----BEGIN ", 11) != NULL;
}

bool tls_pem_cut(const char *p, size_t n) {
    const char *at = p, *end = p + n;
    for (;;) {
        const char *b = memmem(at, (size_t)(end - at), "-----BEGIN ", 11);
        if (b == NULL) return false;
        const char *f = memmem(b, (size_t)(end - b), "-----END ", 9);
        const char *next = memmem(b + 11, (size_t)(end - b - 11), "-----BEGIN ", 11);
        if (f == NULL || (next != NULL && next < f)) return true;
        if (memmem(f + 9, (size_t)(end - f - 9), "-----", 5) == NULL) return true;
        at = f + 9;
    }
}

/* Nothing of ours could read it: say what it is instead. */
static bool refuse_unknown(const struct plan_cert *pc, const char *file, const char *p, size_t n, struct err *e) {
    const uint8_t *u = (const uint8_t *)p;
    if (n == 0) return tls_refuse(pc, file, e, "the file is empty");
    if (begins(p, n, "\xfe\xed\xfe\xed", 4) || begins(p, n, "\xce\xce\xce\xce", 4))
        return tls_refuse(pc, file, e,
                          "a Java keystore (JKS), which OpenSSL cannot read; convert it: "
                          "keytool -importkeystore -srckeystore %s -destkeystore new.p12 -deststoretype PKCS12",
                          file);
    size_t len = der_length(u, n);
    if (len > n) return tls_refuse(pc, file, e, "truncated: %zu of %zu bytes are there", n, len);
    const uint8_t *at = u;
    X509 *x = len == 0 ? NULL : d2i_X509(NULL, &at, (long)n);
    X509_free(x);
    if (x != NULL)
        return tls_refuse(pc, file, e, "a certificate in DER form; convert it: openssl x509 -inform der -in %s -out new.pem", file);
    return tls_refuse(pc, file, e, "unknown format: neither PEM nor PKCS#12");
}

static int give_password(char *out, int cap, int writing, void *password) {
    (void)writing;
    const char *s = password;
    size_t n = s == NULL ? 0 : strlen(s);
    if (n == 0 || n > (size_t)cap) return -1;
    memcpy(out, s, n);
    return (int)n;
}

/* The first private key in a PEM text. */
static bool pem_key(const struct plan_cert *pc, const char *file, const char *p, size_t n, EVP_PKEY **out, struct err *e) {
    if (!is_pem(p, n)) return refuse_unknown(pc, file, p, n, e);
    if (tls_pem_cut(p, n)) return tls_refuse(pc, file, e, "truncated: a PEM block has no end");
    BIO *bio = BIO_new_mem_buf(p, (int)n);
    if (bio == NULL) return tls_refuse(pc, file, e, "out of memory");
    char password[sizeof pc->password];
    memcpy(password, pc->password, sizeof password);
    ERR_clear_error();
    *out = PEM_read_bio_PrivateKey(bio, NULL, give_password, password);
    OPENSSL_cleanse(password, sizeof password);
    BIO_free(bio);
    if (*out != NULL) return true;
    if (memmem(p, n, "PRIVATE KEY-----", 16) == NULL) return tls_refuse(pc, file, e, "no private key in it");
    if (memmem(p, n, "ENCRYPTED", 9) == NULL)
        return tls_refuse(pc, file, e, "the private key is damaged or of a kind OpenSSL does not know");
    if (pc->password[0] == '\0')
        return tls_refuse(pc, file, e, "the private key is encrypted and no password is given; set %s.PasswordFile", pc->name);
    return tls_refuse(pc, file, e, "wrong password for the private key");
}

static bool pem_certs(const struct plan_cert *pc, const char *file, const char *p, size_t n, struct tls_material *out, struct err *e) {
    if (!is_pem(p, n)) return refuse_unknown(pc, file, p, n, e);
    if (tls_pem_cut(p, n)) return tls_refuse(pc, file, e, "truncated: a PEM block has no end");
    BIO *bio = BIO_new_mem_buf(p, (int)n);
    out->chain = sk_X509_new_null();
    if (bio == NULL || out->chain == NULL) {
        BIO_free(bio);
        return tls_refuse(pc, file, e, "out of memory");
    }
    ERR_clear_error();
    out->cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    X509 *x = NULL;
    while (out->cert != NULL && sk_X509_num(out->chain) < CHAIN_MAX && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        if (sk_X509_push(out->chain, x) == 0) X509_free(x);
    BIO_free(bio);
    unsigned long code = ERR_peek_last_error();
    bool at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (out->cert == NULL) return tls_refuse(pc, file, e, at_end ? "no certificate in it" : "the certificate is damaged");
    if (x != NULL) return tls_refuse(pc, file, e, "more than %d chain certificates", CHAIN_MAX);
    if (!at_end) return tls_refuse(pc, file, e, "certificate %d of the chain is damaged", sk_X509_num(out->chain) + 2);
    ERR_clear_error();
    return true;
}

/* The password under which the keystore's MAC is right: as given, or the two ways to say "none". */
static bool p12_password(PKCS12 *p12, const char *given, const char **use) {
    *use = given;
    if (PKCS12_verify_mac(p12, given, -1) == 1) return true;
    if (given[0] != '\0') return false;
    *use = NULL;
    return PKCS12_verify_mac(p12, NULL, 0) == 1;
}

static bool p12_load(const struct plan_cert *pc, const char *file, PKCS12 *p12, struct tls_material *out, struct err *e) {
    const char *password = pc->password;
    if (PKCS12_mac_present(p12) && !p12_password(p12, pc->password, &password)) {
        if (pc->password[0] == '\0') return tls_refuse(pc, file, e, "the keystore needs a password; set %s.PasswordFile", pc->name);
        return tls_refuse(pc, file, e, "wrong password for the keystore");
    }
    ERR_clear_error();
    if (PKCS12_parse(p12, password, &out->key, &out->cert, &out->chain) != 1) {
        unsigned long code = ERR_peek_error();
        if (ERR_GET_REASON(code) == ERR_R_UNSUPPORTED || ERR_GET_REASON(code) == ERR_R_FETCH_FAILED)
            return tls_refuse(pc, file, e,
                              "the keystore uses a cipher OpenSSL 3 no longer offers; make it anew: openssl pkcs12 -legacy -in %s "
                              "-nodes -out new.pem",
                              file);
        return tls_refuse(pc, file, e, "wrong password for the keystore, or the keystore is damaged");
    }
    if (out->key == NULL) return tls_refuse(pc, file, e, "no private key in the keystore");
    if (out->cert == NULL) return tls_refuse(pc, file, e, "no certificate in the keystore that belongs to its key");
    return true;
}

/* Issuer by issuer: keystores keep no order. What does not belong to the chain stays behind it. */
static void sort_chain(struct tls_material *m) {
    const X509 *below = m->cert;
    for (int at = 0; m->chain != NULL && at < sk_X509_num(m->chain); at++) {
        int found = -1;
        for (int i = at; i < sk_X509_num(m->chain) && found < 0; i++)
            if (X509_NAME_cmp(X509_get_issuer_name(below), X509_get_subject_name(sk_X509_value(m->chain, i))) == 0) found = i;
        if (found < 0) return;
        X509 *x = sk_X509_delete(m->chain, found);
        if (sk_X509_insert(m->chain, x, at) == 0) {
            X509_free(x);
            return;
        }
        below = x;
    }
}

static bool key_fits(const struct plan_cert *pc, const char *file, const struct tls_material *m, struct err *e) {
    const EVP_PKEY *public = X509_get0_pubkey(m->cert);
    if (public == NULL) return tls_refuse(pc, file, e, "the certificate's public key is of a kind OpenSSL does not know");
    if (EVP_PKEY_get_base_id(public) != EVP_PKEY_get_base_id(m->key)) {
        const char *a = EVP_PKEY_get0_type_name(public), *b = EVP_PKEY_get0_type_name(m->key);
        return tls_refuse(pc, file, e, "the certificate is for a key of type %s, the key is of type %s", a == NULL ? "?" : a,
                          b == NULL ? "?" : b);
    }
    if (X509_check_private_key(m->cert, m->key) == 1) return true;
    for (int i = 0; m->chain != NULL && i < sk_X509_num(m->chain); i++)
        if (X509_check_private_key(sk_X509_value(m->chain, i), m->key) == 1)
            return tls_refuse(pc, file, e, "the server's own certificate must stand first; it is number %d", i + 2);
    return tls_refuse(pc, file, e, "certificate and key do not belong together");
}

static bool bundle_bytes(const struct plan_cert *pc, const struct bundle *b, const char *path, const char **p, size_t *n,
                         const char **display, struct err *e) {
    const struct bundle_file *f = bundle_find(b, path);
    if (f == NULL) return tls_refuse(pc, path, e, "the file is not there");
    if (f->size > 1u << 20) return tls_refuse(pc, f->display, e, "more than 1 MiB: not a certificate or key");
    *p = bundle_text(b, f);
    *n = f->size;
    *display = f->display;
    return true;
}

static bool load_pem(const struct plan_cert *pc, const struct bundle *b, const char *file, const char *p, size_t n,
                     struct tls_material *out, struct err *e) {
    const char *key_file = file;
    if (!pem_certs(pc, file, p, n, out, e)) return false;
    if (pc->key[0] != '\0' && !bundle_bytes(pc, b, pc->key, &p, &n, &key_file, e)) return false;
    if (pc->key[0] == '\0' && memmem(p, n, "PRIVATE KEY-----", 16) == NULL)
        return tls_refuse(pc, file, e, "no private key in it; set %s.Key", pc->name);
    return pem_key(pc, key_file, p, n, &out->key, e) && key_fits(pc, key_file, out, e);
}

bool tls_material_load(const struct plan_cert *pc, const struct bundle *b, struct tls_material *out, struct err *e) {
    const char *p, *file;
    size_t n;
    memset(out, 0, sizeof *out);
    if (!bundle_bytes(pc, b, pc->chain, &p, &n, &file, e)) return false;
    const uint8_t *at = (const uint8_t *)p;
    bool fine;
    if (is_pem(p, n)) {
        fine = load_pem(pc, b, file, p, n, out, e);
    } else {
        PKCS12 *p12 = der_length(at, n) == 0 ? NULL : d2i_PKCS12(NULL, &at, (long)n);
        fine = p12 == NULL ? refuse_unknown(pc, file, p, n, e) : p12_load(pc, file, p12, out, e) && key_fits(pc, file, out, e);
        PKCS12_free(p12);
    }
    if (fine) sort_chain(out);
    else tls_material_finish(out);
    return fine;
}
