/* TLS by OpenSSL: certificates of a generation, and the TLS stream. One `struct tls_certs` per generation, immutable, shared by workers. */
#ifndef PORTREEVE_NET_TLS_H
#define PORTREEVE_NET_TLS_H
#include "base/addr.h"
#include "net/stream.h"
#include "plan/bundle.h"
#include "plan/plan.h"

struct tls_certs;
/* Load every certificate of the plan: PEM or PKCS#12, key/certificate match, wrong password, wrong key type and truncation told apart,
 * one self-handshake each; expired or soon to expire is a warning through `warn`. NULL with e naming file, entry and reason. */
struct tls_certs *tls_certs_load(const struct plan *p, const struct bundle *b, void (*warn)(void *ctx, const char *text), void *ctx,
                                 struct err *e);
void tls_certs_free(struct tls_certs *c); /* refuses nothing: live connections hold their own SSL_CTX reference */
/* For the console and hub: i-th certificate's name, subject, SAN list, not_before/not_after (unix seconds). false past the end. */
struct tls_cert_info {
    char name[PLAN_NAME], subject[256], names[1024];
    int64_t not_before, not_after;
};
bool tls_certs_info(const struct tls_certs *c, unsigned i, struct tls_cert_info *out);

/* What a ClientHello says, before anything is answered. Also made from the TLVs of a PROXY header. */
struct tls_hello {
    char sni[256];  /* lower case, "" = none */
    char alpn[128]; /* "h2,http/1.1", "" = none; what does not fit is left out */
    char ja4[40];   /* "t13d1516h2_8daaf6152771_b186095e22b6" (FoxIO, JA4: TLS client fingerprint), "" = unknown */
};
/* Who is at the other end, once the handshake is done. */
struct tls_identity {
    char version[16], cipher[64]; /* "TLSv1.3", "TLS_AES_128_GCM_SHA256" */
    bool shown;                   /* the peer has shown a certificate; verified: and its chain is good */
    bool verified;
    bool resumed;         /* on an earlier connection of this TLS session, not on this one */
    const char *reason;   /* why it is not, as OpenSSL words it; "" = it is, or nobody has said */
    int64_t not_after_ms; /* unix; 0 = unknown, where a device in front has told of it */
    char subject[256], issuer[256], cn[128], names[256], serial[48], sha256[65];
};
struct tls; /* one connection's SSL */
/* Server side on an accepted fd: certificate by SNI, else `fallback` (the listener's, chosen by local address). NULL on ENOMEM. */
struct tls *tls_accept(const struct tls_certs *c, const char *fallback, int fd);
/* Before the handshake: stop it once, with STREAM_HELLO, when the ClientHello has come and stands in *into, which outlives the tls. */
void tls_want_hello(struct tls *t, struct tls_hello *into);
/* Before the handshake: ask the caller for a certificate, as this socket's rule says (client, client_ca; not CLIENT_OFF). false: out of memory. */
bool tls_want_client(struct tls *t, const struct plan_socket *s);
/* After a handshake that failed: why, where it was over the certificate that he should have shown, NULL otherwise. UTF-8, as long as the tls. */
const char *tls_turned_away(const struct tls *t);
/* Do both sockets, each of its generation, ask for the same: is who came in by one welcome to stay on the other? */
bool tls_client_same(const struct tls_certs *a, const struct plan_socket *as, const struct tls_certs *b, const struct plan_socket *bs);
/* After the handshake. */
void tls_identify(const struct tls *t, struct tls_identity *out);
extern const struct stream_ops stream_tls; /* self is struct tls * */
/* After the handshake: name asked for ("" = none), protocol "TLSv1.3", cipher. Strings live as long as the tls. */
const char *tls_sni(const struct tls *t);
#define TLS_NAME 256
void tls_name(const struct tls *t, char out[TLS_NAME]); /* tls_sni to look it up by: lower case, without a dot at its end */
const char *tls_version(const struct tls *t);
const char *tls_why(const struct tls *t); /* reason of the last STREAM_ERROR, for the log */
/* The other side, for the self-probe (tls_ask.c): a client that asks for `name` ("" = none) and looks at the certificate it is shown. */
struct tls_print {
    unsigned char sha256[32];
};
const char *tls_certs_names(const struct tls_certs *c, const char *certificate); /* those in it, with commas; "" = none */
bool tls_certs_print(const struct tls_certs *c, const char *certificate,
                     struct tls_print *out); /* of a certificate by its name in the plan */
struct tls_asker;                            /* what all questions share; one thread */
struct tls_ask;                              /* one handshake; the fd stays the caller's */
struct tls_asker *tls_asker_create(void);    /* NULL on ENOMEM */
void tls_asker_destroy(struct tls_asker *a);
struct tls_ask *tls_ask_open(struct tls_asker *a, int fd, const char *name);
void tls_ask_close(struct tls_ask *t);
int tls_ask_step(struct tls_ask *t);                                  /* 1 = the handshake is done, else STREAM_* */
bool tls_ask_saw(struct tls_ask *t, const struct tls_print *planned); /* after it: was it this one? */
const char *tls_ask_why(const struct tls_ask *t);                     /* what went wrong with either */
const char *tls_ask_version(const struct tls_ask *t);
/* Make a self-signed development certificate (P-256, SAN localhost, 127.0.0.1, ::1 and the host name) as one PEM with key, mode 0600,
 * written whole or not at all. Existing file is left alone. */
bool tls_make_development(const char *path, struct err *e);
#endif
