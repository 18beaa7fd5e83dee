/* The TLS stream. OpenSSL's error queue is per thread and sticky: it is emptied before each call, or the next connection would read
 * this one's errors. SSL_ERROR_SYSCALL and SSL_ERROR_SSL are final: after them only SSL_free. */
#include "net/tls.h"
#include "net/tls_ctx.h"
#include "net/tls_hello.h"
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tls {
    SSL *ssl;
    struct tls_certs *certs;
    const struct tls_cert *own; /* the listener's certificate */
    const char *why;
    struct tls_hello *hello;        /* where the ClientHello's words go; NULL = nobody asks, or they have been told */
    bool heard;                     /* they stand there, and STREAM_HELLO has not been said */
    bool unheard;                   /* nothing stands there: it is none that could be judged */
    const struct tls_hello *judged; /* what has been told by STREAM_HELLO; NULL = nothing */
    const struct tls_rule *rule;    /* about certificates of callers; NULL = nobody is asked */
    char *unfit;      /* why a certificate that is demanded was not taken; NULL = it has not come to that, or none was shown */
    bool turned_away; /* the handshake ended over the caller's certificate */
    bool ready;       /* the handshake is done */
    bool dead;        /* a final error was seen */
};

struct tls_tickets *tls_tickets_of(SSL *ssl) {
    const struct tls *t = SSL_get_app_data(ssl);
    return t == NULL ? NULL : t->rule ? t->rule->tickets : t->own->tickets;
}

int tls_on_name(SSL *ssl, int *alert, void *certs) {
    (void)alert;
    const struct tls *t = SSL_get_app_data(ssl);
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (t == NULL || asked == NULL) return SSL_TLSEXT_ERR_NOACK;
    const struct tls_cert *pick = tls_certs_pick(certs, asked, t->own);
    if (pick != t->own && SSL_set_SSL_CTX(ssl, pick->ctx) == NULL) return SSL_TLSEXT_ERR_ALERT_FATAL;
    if (t->rule && pick != t->own && !tls_rule_trust(ssl, certs, t->rule)) return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK; /* an unknown name gets the listener's certificate: the client decides whether it will do */
}

/* The whole message, as it came; before tls_on_hello is asked. */
static void on_message(int write_p, int version, int type, const void *p, size_t n, SSL *ssl, void *arg) {
    (void)version, (void)arg;
    struct tls *t = SSL_get_app_data(ssl);
    if (write_p || type != SSL3_RT_HANDSHAKE || !t || !t->hello || t->heard) return;
    t->heard = true;
    t->unheard = !tls_hello_parse(p, n, t->hello);
}

int tls_on_hello(SSL *ssl, int *alert, void *arg) {
    (void)arg;
    const struct tls *t = SSL_get_app_data(ssl);
    if (t && t->unheard) { /* not one that a policy could judge: malformed, or beyond HELLO_MOST */
        *alert = SSL_AD_DECODE_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return t && t->heard ? SSL_CLIENT_HELLO_RETRY : SSL_CLIENT_HELLO_SUCCESS;
}

void tls_want_hello(struct tls *t, struct tls_hello *into) {
    t->hello = into;
    SSL_set_msg_callback(t->ssl, on_message);
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

bool tls_want_client(struct tls *t, const struct plan_socket *s) {
    t->rule = tls_rule_find(t->certs, s);
    return t->rule && tls_rule_use(t->ssl, t->certs, t->rule);
}

void tls_note_unfit(SSL *ssl, const char *text) {
    struct tls *t = SSL_get_app_data(ssl);
    if (t && !t->unfit) t->unfit = strdup(text);
}

const char *tls_turned_away(const struct tls *t) {
    return t->turned_away ? t->unfit ? t->unfit : t->why : NULL;
}

/* Did OpenSSL give up at the messages by which the caller shows his certificate? */
static bool at_certificate(const struct tls *t) {
    OSSL_HANDSHAKE_STATE s = t->rule ? SSL_get_state(t->ssl) : TLS_ST_BEFORE;
    return s == TLS_ST_SR_CERT || s == TLS_ST_SR_CERT_VRFY;
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
        t->turned_away = !t->ready && at_certificate(t);
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

/* OpenSSL takes the name of a second ClientHello (TLS 1.3, after HelloRetryRequest) or of a resumed session (TLS 1.2) for the one that was asked
 * for, and by that name backends are chosen: it must be the one that was judged (RFC 8446, 4.1.2; RFC 6066, 3). */
static bool same_name(const struct tls *t) {
    char name[TLS_NAME];
    if (!t->judged) return true;
    tls_name(t, name);
    return strcmp(t->judged->sni, name) == 0;
}

static int tls_stream_handshake(void *self, int fd) {
    (void)fd;
    struct tls *t = self;
    if (t->dead) return STREAM_ERROR;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_accept(t->ssl);
    if (rc != 1 && t->heard && SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_CLIENT_HELLO_CB) {
        t->heard = false;
        t->judged = t->hello;
        t->hello = NULL;
        SSL_set_msg_callback(t->ssl, NULL);
        return STREAM_HELLO;
    }
    if (rc == 1 && !same_name(t)) {
        t->dead = true;
        t->why = "the name asked for is not the one that its greeting began with";
        return STREAM_ERROR;
    }
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
    free(t->unfit);
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

void tls_name(const struct tls *t, char out[TLS_NAME]) {
    size_t n = (size_t)snprintf(out, TLS_NAME, "%s", tls_sni(t));
    if (n > 0 && n < TLS_NAME && out[n - 1] == '.') out[n - 1] = '\0';
    for (char *s = out; *s; s++)
        if (*s >= 'A' && *s <= 'Z') *s = (char)(*s | 32);
}

const char *tls_version(const struct tls *t) {
    return SSL_get_version(t->ssl);
}

const char *tls_why(const struct tls *t) {
    return t->why;
}

void tls_identify(const struct tls *t, struct tls_identity *out) {
    tls_identity_of(t->ssl, out);
}
