/* Certificates that callers show (NAME.ClientCertificate, NAME.ClientCA): the rules of a generation, and how one is applied to a
 * connection. One rule for each certificate of ours, word and file of CAs, with ticket keys and a session context of its own: a session
 * must never be good under another rule, since it carries who the caller is. */
#include "base/clock.h"
#include "net/tls_ctx.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MOST 1024u
#define CAS_MOST   64
#define CHAIN_MOST \
    12288 /* bytes of the caller's Certificate message (TLS 1.2: without those around it); its ticket comes back in a ClientHello (HELLO_MOST) */
#define DEPTH_MOST 8     /* between his certificate and a CA */
#define NAMES_MOST 32768 /* bytes of all names of CAs: they are sent to each caller */

struct reading {                 /* one file of CAs */
    const struct plan_socket *s; /* the first that names it */
    const char *file;
    void (*warn)(void *ctx, const char *text);
    void *ctx;
    struct err *e;
    EVP_MD_CTX *digest;
    size_t names;
};

static void where(const struct plan_socket *s, char *out, size_t cap) {
    char at[PLAN_PATH + 24];
    plan_limit_at(s, LIMIT_CLIENT_CA, at, sizeof at);
    snprintf(out, cap, "ClientCA of listener %s%s", s->name, at);
}

static bool refuse(const struct reading *r, const char *fmt, ...) {
    char place[PLAN_PATH + PLAN_NAME + 64], why[500];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    ERR_clear_error();
    where(r->s, place, sizeof place);
    uint32_t line = r->s->limit_line[LIMIT_CLIENT_CA];
    if (!line || line == PLAN_LINE_SET) return err_set(r->e, "%s: %s: %s", place, r->file, why);
    return err_at(r->e, r->s->limit_file, line, "ClientCA of listener %s: %s: %s", r->s->name, r->file, why);
}

static void warn(const struct reading *r, const char *fmt, ...) {
    char place[PLAN_PATH + PLAN_NAME + 64], why[500], text[1200];
    va_list ap;
    if (!r->warn) return;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    where(r->s, place, sizeof place);
    snprintf(text, sizeof text, "%s: %s: %s", place, r->file, why);
    r->warn(r->ctx, text);
}

static void subject_of(const X509 *x, char *out, size_t cap) {
    tls_name_text(X509_get_subject_name(x), out, cap);
}

static void warn_of_time(const struct reading *r, const X509 *x, const char *subject) {
    time_t now = (time_t)(clock_real_ms() / 1000);
    if (X509_cmp_time(X509_get0_notAfter(x), &now) < 0) warn(r, "the CA %s has expired: no certificate of it is good any more", subject);
    else if (X509_cmp_time(X509_get0_notBefore(x), &now) > 0)
        warn(r, "the CA %s is not valid yet: no certificate of it is good so far", subject);
}

static bool add_name(struct reading *r, const X509 *x, STACK_OF(X509_NAME) *names) {
    X509_NAME *mine = X509_get_subject_name(x);
    for (int i = 0; i < sk_X509_NAME_num(names); i++)
        if (X509_NAME_cmp(sk_X509_NAME_value(names, i), mine) == 0) return true;
    int n = i2d_X509_NAME(mine, NULL);
    r->names += n > 0 ? (size_t)n + 2 : 0;
    if (r->names > NAMES_MOST)
        return refuse(r, "the names of its CAs have more than %d bytes, and callers are told them all: leave some out", NAMES_MOST);
    X509_NAME *copy = X509_NAME_dup(mine);
    if (copy && sk_X509_NAME_push(names, copy) > 0) return true;
    X509_NAME_free(copy);
    return refuse(r, "out of memory");
}

static bool add_ca(struct reading *r, X509 *x, int n, struct tls_cas *out) {
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char subject[256];
    subject_of(x, subject, sizeof subject);
    if (X509_check_ca(x) == 0)
        return refuse(r, "certificate %d (%s) is no CA: put the certificate there that signs those of callers, not one of theirs", n,
                      subject);
    warn_of_time(r, x, subject);
    if (X509_digest(x, EVP_sha256(), md, &len) != 1 || EVP_DigestUpdate(r->digest, md, len) != 1 || X509_STORE_add_cert(out->store, x) != 1)
        return refuse(r, "OpenSSL does not take certificate %d (%s): %s", n, subject, tls_last_reason());
    return add_name(r, x, out->names);
}

static bool read_cas(struct reading *r, const char *p, size_t n, struct tls_cas *out) {
    if (!memmem(p, n, "-----BEGIN ", 11))
        return refuse(r, "no certificate in it: PEM is wanted, that begins with -----BEGIN CERTIFICATE-----");
    if (tls_pem_cut(p, n)) return refuse(r, "truncated: a PEM block has no end");
    if (memmem(p, n, "PRIVATE KEY-----", 16)) warn(r, "there is a private key in it, which nobody needs here: take it out");
    BIO *bio = BIO_new_mem_buf(p, (int)n);
    bool good = bio || refuse(r, "out of memory");
    X509 *x = NULL;
    int count = 0;
    ERR_clear_error();
    while (good && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        good = ++count <= CAS_MOST ? add_ca(r, x, count, out) : refuse(r, "more than %d CAs", CAS_MOST);
        X509_free(x);
    }
    BIO_free(bio);
    if (!good) return false;
    unsigned long code = ERR_peek_last_error();
    bool at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (!at_end) return refuse(r, "certificate %d in it is damaged", count + 1);
    ERR_clear_error();
    return count > 0 || refuse(r, "no certificate in it");
}

static void cas_finish(struct tls_cas *c) {
    X509_STORE_free(c->store);
    sk_X509_NAME_pop_free(c->names, X509_NAME_free);
}

/* What is trusted is what stands in the file, roots and intermediates alike. */
static bool cas_load(struct tls_cas *out, const struct bundle *b, struct reading *r) {
    unsigned len = 0;
    const struct bundle_file *f = bundle_find(b, r->s->client_ca);
    r->file = f ? f->display : r->s->client_ca;
    if (!f) return refuse(r, "the file is not there");
    snprintf(out->file, sizeof out->file, "%s", r->s->client_ca);
    out->store = X509_STORE_new();
    out->names = sk_X509_NAME_new_null();
    r->digest = EVP_MD_CTX_new();
    bool good = (out->store && out->names && r->digest && EVP_DigestInit_ex(r->digest, EVP_sha256(), NULL) == 1 &&
                 X509_STORE_set_flags(out->store, X509_V_FLAG_PARTIAL_CHAIN) == 1) ||
                refuse(r, "out of memory");
    good = good && read_cas(r, bundle_text(b, f), f->size, out) &&
           (EVP_DigestFinal_ex(r->digest, out->digest, &len) == 1 || refuse(r, "out of memory"));
    EVP_MD_CTX_free(r->digest);
    return good;
}

/* ---- the rules of a generation ---- */

static const struct tls_cas *cas_of(const struct tls_certs *c, const char *file) {
    for (uint32_t i = 0; i < c->ncas; i++)
        if (strcmp(c->cas[i].file, file) == 0) return &c->cas[i];
    return NULL;
}

const struct tls_rule *tls_rule_find(const struct tls_certs *c, const struct plan_socket *s) {
    for (uint32_t i = 0; i < c->nrules; i++) {
        const struct tls_rule *r = &c->rule[i];
        if (r->word == s->client && strcmp(r->certificate, s->certificate) == 0 && strcmp(c->cas[r->cas].file, s->client_ca) == 0) return r;
    }
    return NULL;
}

static bool add_rule(struct tls_certs *c, const struct plan_socket *s, const struct tls_cas *cas, struct reading *r) {
    if (c->nrules == RULES_MOST) return refuse(r, "more than %u rules about certificates of callers", RULES_MOST);
    struct tls_rule *more = reallocarray(c->rule, c->nrules + 1, sizeof *more);
    if (!more) return refuse(r, "out of memory");
    c->rule = more;
    struct tls_rule *to = &more[c->nrules];
    *to = (struct tls_rule){.word = s->client, .cas = (uint32_t)(cas - c->cas), .tickets = tls_tickets_create()};
    if (!to->tickets) return refuse(r, "out of memory");
    snprintf(to->certificate, sizeof to->certificate, "%s", s->certificate);
    memcpy(to->context, cas->digest, sizeof to->context);
    to->context[0] ^= (uint8_t)s->client;
    c->nrules++;
    return true;
}

static const struct tls_cas *add_cas(struct tls_certs *c, const struct bundle *b, struct reading *r) {
    struct tls_cas *more = reallocarray(c->cas, c->ncas + 1, sizeof *more);
    if (!more) return refuse(r, "out of memory"), NULL;
    c->cas = more;
    c->cas[c->ncas] = (struct tls_cas){.store = NULL};
    if (cas_load(&c->cas[c->ncas], b, r)) return &c->cas[c->ncas++];
    cas_finish(&c->cas[c->ncas]);
    return NULL;
}

bool tls_rules_load(struct tls_certs *c, const struct plan *p, const struct bundle *b, void (*warn_)(void *ctx, const char *text),
                    void *ctx, struct err *e) {
    for (uint32_t i = 0; i < p->nsockets; i++) {
        const struct plan_socket *s = &p->socket[i];
        if (s->client == CLIENT_OFF || tls_rule_find(c, s)) continue;
        struct reading r = {.s = s, .file = s->client_ca, .warn = warn_, .ctx = ctx, .e = e};
        const struct tls_cas *cas = cas_of(c, s->client_ca);
        if (!cas && !(cas = add_cas(c, b, &r))) return false;
        if (!add_rule(c, s, cas, &r)) return false;
    }
    return true;
}

void tls_rules_finish(struct tls_certs *c) {
    for (uint32_t i = 0; i < c->ncas; i++) cas_finish(&c->cas[i]);
    for (uint32_t i = 0; i < c->nrules; i++) tls_tickets_free(c->rule[i].tickets);
    free(c->cas);
    free(c->rule);
}

bool tls_client_same(const struct tls_certs *a, const struct plan_socket *as, const struct tls_certs *b, const struct plan_socket *bs) {
    if (as->client == CLIENT_OFF || bs->client == CLIENT_OFF) return as->client == bs->client;
    const struct tls_rule *x = tls_rule_find(a, as), *y = tls_rule_find(b, bs);
    return x && y && memcmp(x->context, y->context, sizeof x->context) == 0;
}

/* ---- on a connection ---- */

static void note(SSL *ssl, X509_STORE_CTX *chain) {
    char subject[256] = "", text[400];
    const X509 *x = X509_STORE_CTX_get0_cert(chain);
    if (x) subject_of(x, subject, sizeof subject);
    int depth = X509_STORE_CTX_get_error_depth(chain);
    snprintf(text, sizeof text, "%s%s: %s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(chain)),
             depth > 0 ? ", at a CA of it" : "", subject[0] ? subject : "a certificate without a subject");
    tls_note_unfit(ssl, text);
}

/* Whatever comes of it: who may come without a good one may come with a bad one too, and admission hears why it is bad. */
int tls_on_chain(X509_STORE_CTX *chain, void *arg) {
    (void)arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    ERR_set_mark(); /* what stays in the queue would be taken for a fault of the handshake */
    bool good = X509_verify_cert(chain) == 1;
    if (!good && X509_STORE_CTX_get_error(chain) == X509_V_OK) X509_STORE_CTX_set_error(chain, X509_V_ERR_UNSPECIFIED);
    ERR_pop_to_mark();
    if (good || !(SSL_get_verify_mode(ssl) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT)) return 1;
    note(ssl, chain);
    return 0;
}

/* The store goes with the certificate that was picked by name, so it is set again behind each pick. */
bool tls_rule_trust(SSL *ssl, const struct tls_certs *c, const struct tls_rule *r) {
    return SSL_set1_verify_cert_store(ssl, c->cas[r->cas].store) == 1;
}

bool tls_rule_use(SSL *ssl, const struct tls_certs *c, const struct tls_rule *r) {
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(c->cas[r->cas].names);
    if (!names || !tls_rule_trust(ssl, c, r) || SSL_set_session_id_context(ssl, r->context, sizeof r->context) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return false;
    }
    SSL_set_client_CA_list(ssl, names);
    SSL_set_verify(ssl, SSL_VERIFY_PEER | (r->word == CLIENT_REQUIRE ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    SSL_set_verify_depth(ssl, DEPTH_MOST);
    SSL_set_max_cert_list(ssl, CHAIN_MOST);
    return true;
}

/* A session outlives its handshake by two hours; the certificate that it carries may not. */
SSL_TICKET_RETURN tls_on_session(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_n, SSL_TICKET_STATUS status,
                                 void *arg) {
    (void)name, (void)name_n, (void)arg;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
    X509 *x = SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE ? NULL : SSL_SESSION_get0_peer(session);
    time_t now = (time_t)(clock_real_ms() / 1000);
    if (x && X509_cmp_time(X509_get0_notAfter(x), &now) < 0) return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}
