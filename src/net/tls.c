/* The TLS stream. OpenSSL's error queue is per thread and sticky: it is emptied before each call, or the next connection would read
 * this one's errors. SSL_ERROR_SYSCALL and SSL_ERROR_SSL are final: after them only SSL_free. */
#include "net/tls.h"
#include "net/tls_ctx.h"
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

struct tls {
    SSL *ssl;
    struct tls_certs *certs;
    const struct tls_cert *own; /* the listener's certificate */
    const char *why;
    bool ready; /* the handshake is done */
    bool dead;  /* a final error was seen */
};

struct tls_tickets *tls_tickets_of(SSL *ssl) {
    const struct tls *t = SSL_get_app_data(ssl);
    return t == NULL ? NULL : t->own->tickets;
}

int tls_on_name(SSL *ssl, int *alert, void *certs) {
    (void)alert;
    const struct tls *t = SSL_get_app_data(ssl);
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (t == NULL || asked == NULL) return SSL_TLSEXT_ERR_NOACK;
    const struct tls_cert *pick = tls_certs_pick(certs, asked, t->own);
    if (pick != t->own && SSL_set_SSL_CTX(ssl, pick->ctx) == NULL) return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK; /* an unknown name gets the listener's certificate: the client decides whether it will do */
}

struct tls *tls_accept(const struct tls_certs *c, const char *fallback, int fd) {
    const struct tls_cert *own = NULL;
    for (uint32_t i = 0; i < c->n && own == NULL; i++)
        if (strcmp(c->cert[i].name, fallback) == 0) own = &c->cert[i];
    struct tls *t = own == NULL ? NULL : calloc(1, sizeof *t);
    if (t == NULL) return NULL;
    ERR_clear_error();
    t->ssl = SSL_new(own->ctx);
    if (t->ssl == NULL || SSL_set_fd(t->ssl, fd) != 1) {
        SSL_free(t->ssl);
        free(t);
        return NULL;
    }
    t->own = own;
    t->why = "";
    t->certs = (struct tls_certs *)c; /* counted, otherwise untouched */
    atomic_fetch_add_explicit(&t->certs->refs, 1, memory_order_relaxed);
    SSL_set_app_data(t->ssl, t);
    SSL_set_accept_state(t->ssl);
    return t;
}

/* What a failed call means: 0 = orderly end, else STREAM_*. */
static int outcome(struct tls *t, int rc, int saved_errno) {
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ: return STREAM_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return STREAM_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: t->why = saved_errno != 0 ? strerrordesc_np(saved_errno) : "connection closed by the peer"; break;
    default: {
        unsigned long code = ERR_peek_error();
        const char *text = ERR_reason_error_string(code);
        t->why = text == NULL ? "TLS error" : text;
        if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            t->dead = true;
            t->why = "connection closed without close_notify";
            return t->ready ? 0 : STREAM_ERROR; /* a bare FIN: HTTP frames its messages itself, so it is an end like any other */
        }
    }
    }
    t->dead = true;
    return STREAM_ERROR;
}

static ssize_t tls_stream_read(void *self, int fd, void *p, size_t n) {
    (void)fd;
    struct tls *t = self;
    size_t got;
    if (t->dead) return STREAM_ERROR;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_read_ex(t->ssl, p, n, &got);
    return rc == 1 ? (ssize_t)got : outcome(t, rc, errno);
}

static ssize_t tls_stream_write(void *self, int fd, const void *p, size_t n, bool last) {
    (void)last;
    (void)fd;
    struct tls *t = self;
    size_t put;
    if (t->dead) return STREAM_ERROR;
    if (n == 0) return 0;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_write_ex(t->ssl, p, n, &put);
    if (rc == 1) return (ssize_t)put;
    int r = outcome(t, rc, errno);
    if (r != 0) return r;
    t->dead = true;
    return STREAM_ERROR; /* the peer has said goodbye; nothing can be written any more */
}

static int tls_stream_handshake(void *self, int fd) {
    (void)fd;
    struct tls *t = self;
    if (t->dead) return STREAM_ERROR;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_accept(t->ssl);
    if (rc == 1) {
        t->ready = true;
        return 1;
    }
    int r = outcome(t, rc, errno);
    if (r != 0) return r;
    t->dead = true;
    t->why = "closed during the handshake";
    return STREAM_ERROR;
}

static int tls_stream_shutdown(void *self, int fd) {
    (void)fd;
    struct tls *t = self;
    if (t->dead || !t->ready) return 1;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_shutdown(t->ssl);
    if (rc >= 0) return 1; /* ours is out; the peer's is not waited for */
    int r = outcome(t, rc, errno);
    return r == STREAM_WANT_WRITE ? r : 1;
}

/* Also 1 where raw bytes wait in OpenSSL: they may be a record, or the beginning of one (then read says STREAM_WANT_READ). */
static size_t tls_stream_pending(void *self) {
    struct tls *t = self;
    if (t->dead) return 0;
    int n = SSL_pending(t->ssl);
    return n > 0 ? (size_t)n : SSL_has_pending(t->ssl) ? 1 : 0;
}

static void tls_stream_free(void *self) {
    struct tls *t = self;
    if (t == NULL) return;
    SSL_free(t->ssl);
    tls_certs_drop(t->certs);
    free(t);
}

const struct stream_ops stream_tls = {
    .read = tls_stream_read,
    .write = tls_stream_write,
    .handshake = tls_stream_handshake,
    .shutdown = tls_stream_shutdown,
    .pending = tls_stream_pending,
    .free = tls_stream_free,
};

const char *tls_sni(const struct tls *t) {
    const char *s = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    return s == NULL ? "" : s;
}

const char *tls_version(const struct tls *t) {
    return SSL_get_version(t->ssl);
}

const char *tls_why(const struct tls *t) {
    return t->why;
}
