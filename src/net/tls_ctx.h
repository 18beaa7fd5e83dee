/* The inside of tls.h, for the tls*.c files only. */
#ifndef PORTREEVE_NET_TLS_CTX_H
#define PORTREEVE_NET_TLS_CTX_H
#include "net/tls.h"
#include <openssl/ssl.h>
#include <stdatomic.h>

struct tls_cert {
    char name[PLAN_NAME];
    SSL_CTX *ctx;
    struct tls_tickets *tickets;
    struct tls_cert_info info;
};
struct tls_name { /* sorted by name, then by place in the plan; "*.example.org" stands under "example.org" with wild set */
    char *name;
    bool wild;
    uint32_t cert;
};
struct tls_cas { /* tls_client.c: whose certificates callers may show; those of one file */
    char file[PLAN_PATH];
    X509_STORE *store;
    STACK_OF(X509_NAME) *names;
    uint8_t digest[32]; /* of the CAs in their order */
};
struct tls_rule {
    char certificate[PLAN_NAME]; /* of ours */
    enum plan_client word;
    uint32_t cas;
    uint8_t context[32]; /* of sessions: those of another word or of other CAs are no good */
    struct tls_tickets *tickets;
};
struct tls_certs {
    _Atomic unsigned refs; /* the generation's, and one for each connection: names are looked up during handshakes */
    struct tls_cert *cert;
    uint32_t n;
    struct tls_name *name;
    uint32_t nnames;
    struct tls_cas *cas;
    uint32_t ncas;
    struct tls_rule *rule;
    uint32_t nrules;
};
void tls_certs_drop(struct tls_certs *c);
/* The certificate for a name a client asked for; own = the listener's, taken where it covers the name or nobody does. */
const struct tls_cert *tls_certs_pick(const struct tls_certs *c, const char *asked, const struct tls_cert *own);
int tls_on_name(SSL *ssl, int *alert, void *certs); /* tls.c: servername callback; certs is struct tls_certs * */

int tls_on_hello(SSL *ssl, int *alert, void *arg); /* tls.c: client hello callback */

/* tls_client.c. Rules of all sockets of the plan; what is there of them when this fails is for tls_rules_finish. */
bool tls_rules_load(struct tls_certs *c, const struct plan *p, const struct bundle *b, void (*warn)(void *ctx, const char *text), void *ctx,
                    struct err *e);
void tls_rules_finish(struct tls_certs *c);
const struct tls_rule *tls_rule_find(const struct tls_certs *c, const struct plan_socket *s); /* NULL = nobody is asked there */
bool tls_rule_use(SSL *ssl, const struct tls_certs *c, const struct tls_rule *r);             /* false: out of memory */
bool tls_rule_trust(SSL *ssl, const struct tls_certs *c, const struct tls_rule *r);           /* the same; after SSL_set_SSL_CTX */
int tls_on_chain(X509_STORE_CTX *chain, void *arg);                                           /* certificate verify callback */
SSL_TICKET_RETURN tls_on_session(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_n, SSL_TICKET_STATUS status,
                                 void *arg);

void tls_note_unfit(SSL *ssl, const char *text);                  /* tls.c: why the certificate that is demanded is not taken */
void tls_identity_of(const SSL *ssl, struct tls_identity *out);   /* tls_peer.c */
void tls_name_text(const X509_NAME *name, char *out, size_t cap); /* tls_peer.c: RFC 2253; what does not fit is cut off */
const char *tls_last_reason(void);                                /* tls_certs.c: of OpenSSL's last error */
bool tls_pem_cut(const char *p, size_t n); /* tls_load.c: an armour line that begins and never ends, or stops in the middle */

/* tls_ticket.c: keys for session tickets, one set per certificate of a generation, and per rule about certificates of callers: a ticket must
 * never be good under another rule. They go by the listener's certificate, not by the one picked by name, since OpenSSL opens a TLS 1.2 ticket
 * before it hears the name. */
struct tls_tickets;
struct tls_tickets *tls_tickets_create(void);
void tls_tickets_free(struct tls_tickets *t);
void tls_tickets_use(SSL_CTX *ctx);
struct tls_tickets *tls_tickets_of(SSL *ssl); /* tls.c: of the listener's certificate or rule; NULL in the self-handshake */

/* tls_load.c: key, certificate and chain of one plan entry, told apart why not. Everything out is the caller's to free. */
struct tls_material {
    X509 *cert;
    EVP_PKEY *key;
    STACK_OF(X509) *chain; /* issuer by issuer, without the certificate itself; may be NULL */
};
bool tls_material_load(const struct plan_cert *pc, const struct bundle *b, struct tls_material *out, struct err *e);
void tls_material_finish(struct tls_material *m);

/* "file (certificates.ini:12, NAME.Certificate): reason" */
bool tls_refuse(const struct plan_cert *pc, const char *file, struct err *e, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
#endif
