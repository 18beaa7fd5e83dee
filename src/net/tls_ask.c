/* A client that wants to see which certificate is shown, and nothing else: for the self-probe. It trusts nobody and is asked by nobody, so chain
 * and names do not matter here: the certificate must be the very one that was planned. */
#include "net/tls_ctx.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tls_asker {
    SSL_CTX *ctx;
};
struct tls_ask {
    SSL *ssl;
    char why[160];
    bool dead;
};

struct tls_asker *tls_asker_create(void) {
    struct tls_asker *a = calloc(1, sizeof *a);
    if (a == NULL) return NULL;
    ERR_clear_error();
    a->ctx = SSL_CTX_new(TLS_client_method());
    if (a->ctx == NULL) {
        free(a);
        return NULL;
    }
    SSL_CTX_set_verify(a->ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(a->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(a->ctx, SSL_OP_NO_TICKET);
    return a;
}

void tls_asker_destroy(struct tls_asker *a) {
    if (a == NULL) return;
    SSL_CTX_free(a->ctx);
    free(a);
}

struct tls_ask *tls_ask_open(struct tls_asker *a, int fd, const char *name) {
    struct tls_ask *t = calloc(1, sizeof *t);
    if (t == NULL) return NULL;
    ERR_clear_error();
    t->ssl = SSL_new(a->ctx);
    if (t->ssl == NULL || SSL_set_fd(t->ssl, fd) != 1 || (name[0] != '\0' && SSL_set_tlsext_host_name(t->ssl, name) != 1)) {
        tls_ask_close(t);
        return NULL;
    }
    SSL_set_connect_state(t->ssl);
    return t;
}

void tls_ask_close(struct tls_ask *t) {
    if (t == NULL) return;
    SSL_free(t->ssl);
    free(t);
}

int tls_ask_step(struct tls_ask *t) {
    if (t->dead) return STREAM_ERROR;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(t->ssl), saved = errno;
    if (rc == 1) return 1;
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ: return STREAM_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return STREAM_WANT_WRITE;
    case SSL_ERROR_SYSCALL:
        snprintf(t->why, sizeof t->why, "%s", saved != 0 ? strerrordesc_np(saved) : "closed during the handshake");
        break;
    default: {
        const char *text = ERR_reason_error_string(ERR_peek_error());
        snprintf(t->why, sizeof t->why, "%s", text == NULL ? "TLS error" : text);
    }
    }
    t->dead = true;
    return STREAM_ERROR;
}

const char *tls_ask_why(const struct tls_ask *t) {
    return t->why;
}

const char *tls_ask_version(const struct tls_ask *t) {
    return SSL_get_version(t->ssl);
}

bool tls_ask_saw(struct tls_ask *t, const struct tls_print *planned) {
    struct tls_print seen;
    unsigned n = 0;
    char subject[100] = "";
    X509 *x = SSL_get1_peer_certificate(t->ssl);
    bool read = x != NULL && X509_digest(x, EVP_sha256(), seen.sha256, &n) == 1 && n == sizeof seen.sha256;
    if (x != NULL) X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof subject);
    X509_free(x);
    if (read && memcmp(seen.sha256, planned->sha256, sizeof seen.sha256) == 0) return true;
    snprintf(t->why, sizeof t->why, read ? "another certificate was shown: %s" : "no certificate was shown", subject);
    return false;
}

bool tls_certs_print(const struct tls_certs *c, const char *certificate, struct tls_print *out) {
    unsigned n = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (strcmp(c->cert[i].name, certificate) != 0) continue;
        const X509 *x = SSL_CTX_get0_certificate(c->cert[i].ctx);
        return x != NULL && X509_digest(x, EVP_sha256(), out->sha256, &n) == 1 && n == sizeof out->sha256;
    }
    return false;
}

const char *tls_certs_names(const struct tls_certs *c, const char *certificate) {
    for (uint32_t i = 0; i < c->n; i++)
        if (strcmp(c->cert[i].name, certificate) == 0) return c->cert[i].info.names;
    return "";
}
