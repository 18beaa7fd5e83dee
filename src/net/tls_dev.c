/* The development certificate: for a first start without any; browsers warn of it, as they should. */
#include "base/newfile.h"
#include "net/tls.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAYS 825 /* the longest that Apple's clients accept of a certificate they were told to trust */

static bool extension(X509 *x, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool fine = ext != NULL && X509_add_ext(x, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return fine;
}

static bool host_is_name(const char *s) {
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.");
    return n > 0 && n < 200 && s[n] == '\0' && strcmp(s, "localhost") != 0;
}

static bool serial(X509 *x) {
    unsigned char id[16];
    if (RAND_bytes(id, sizeof id) != 1) return false;
    id[0] &= 0x7f;
    BIGNUM *n = BN_bin2bn(id, sizeof id, NULL);
    bool fine = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return fine;
}

static X509 *certificate(EVP_PKEY *key) {
    char host[256] = "", names[400];
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    bool own = host_is_name(host);
    snprintf(names, sizeof names, "DNS:localhost,IP:127.0.0.1,IP:::1%s%s", own ? ",DNS:" : "", own ? host : "");
    X509 *x = X509_new();
    if (x == NULL) return NULL;
    X509_NAME *subject = X509_get_subject_name(x);
    bool fine = X509_set_version(x, X509_VERSION_3) == 1 && serial(x) && X509_gmtime_adj(X509_getm_notBefore(x), -300) != NULL &&
                X509_time_adj_ex(X509_getm_notAfter(x), DAYS, 0, NULL) != NULL && X509_set_pubkey(x, key) == 1 &&
                X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"Portreeve development", -1, -1, 0) == 1 &&
                X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0) == 1 &&
                X509_set_issuer_name(x, subject) == 1 && extension(x, NID_subject_key_identifier, "hash") &&
                extension(x, NID_basic_constraints, "critical,CA:FALSE") && extension(x, NID_key_usage, "critical,digitalSignature") &&
                extension(x, NID_ext_key_usage, "serverAuth") && extension(x, NID_subject_alt_name, names) &&
                X509_sign(x, key, EVP_sha256()) > 0;
    if (fine) return x;
    X509_free(x);
    return NULL;
}

bool tls_make_development(const char *path, struct err *e) {
    struct stat st;
    if (lstat(path, &st) == 0) return true;
    ERR_clear_error();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = key == NULL ? NULL : certificate(key);
    BIO *bio = BIO_new(BIO_s_secmem());
    bool fine = x != NULL && bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                PEM_write_bio_X509(bio, x) == 1;
    if (fine) {
        char *p;
        long n = BIO_get_mem_data(bio, &p);
        fine = newfile_create(path, p, (size_t)n, 0600, e);
    } else {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        err_set(e, "%s: cannot make the development certificate: %s", path, why == NULL ? "no reason given" : why);
    }
    BIO_free(bio);
    X509_free(x);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return fine;
}
