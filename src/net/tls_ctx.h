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
struct tls_certs {
    _Atomic unsigned refs; /* the generation's, and one for each connection: names are looked up during handshakes */
    struct tls_cert *cert;
    uint32_t n;
    struct tls_name *name;
    uint32_t nnames;
};
void tls_certs_drop(struct tls_certs *c);
/* The certificate for a name a client asked for; own = the listener's, taken where it covers the name or nobody does. */
const struct tls_cert *tls_certs_pick(const struct tls_certs *c, const char *asked, const struct tls_cert *own);
int tls_on_name(SSL *ssl, int *alert, void *certs); /* tls.c: servername callback; certs is struct tls_certs * */

int tls_on_hello(SSL *ssl, int *alert, void *arg); /* tls.c: client hello callback */

/* tls_ticket.c: keys for session tickets, one set per certificate of a generation. They go by the listener's certificate, not by the one
 * picked by name, since OpenSSL opens a TLS 1.2 ticket before it hears the name. When listeners get client-certificate rules, a set
 * per rule is needed: a ticket must never be good under another rule. */
struct tls_tickets;
struct tls_tickets *tls_tickets_create(void);
void tls_tickets_free(struct tls_tickets *t);
void tls_tickets_use(SSL_CTX *ctx);
struct tls_tickets *tls_tickets_of(SSL *ssl); /* tls.c: of the listener's certificate; NULL in the self-handshake */

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
