/* The certificates of a generation: contexts by Mozilla's "intermediate" (TLS 1.2 and 1.3), names for SNI, one handshake with itself. */
#include "base/clock.h"
#include "net/tls_ctx.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CIPHERS_12                                                                                                         \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:"       \
    "DHE-RSA-CHACHA20-POLY1305"
#define NAMES_MAX 4096u /* of all certificates together */

const char *tls_last_reason(void) {
    const char *s = ERR_reason_error_string(ERR_peek_last_error());
    return s == NULL ? "no reason given" : s;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned inlen, void *arg) {
    static const unsigned char ours[] = "\x08http/1.1"; /* "h2" comes in front when HTTP/2 does */
    (void)ssl, (void)arg;
    unsigned char *picked;
    if (SSL_select_next_proto(&picked, outlen, ours, sizeof ours - 1, in, inlen) != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
    *out = picked;
    return SSL_TLSEXT_ERR_OK;
}

static bool posture(SSL_CTX *x) {
    SSL_CTX_set_options(x, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_SINGLE_DH_USE | SSL_OP_SINGLE_ECDH_USE);
    SSL_CTX_set_mode(x, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(x, 1); /* header and payload of a record, and a pipelined request, in one read call */
    SSL_CTX_set_max_early_data(x, 0);
    SSL_CTX_set_num_tickets(x, 1);
    SSL_CTX_set_timeout(x, 7200);
    SSL_CTX_set_verify(x, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_alpn_select_cb(x, on_alpn, NULL);
    SSL_CTX_set_dh_auto(x, 1);
    return SSL_CTX_set_min_proto_version(x, TLS1_2_VERSION) == 1 && SSL_CTX_set_cipher_list(x, CIPHERS_12) == 1 &&
           SSL_CTX_set1_groups_list(x, "X25519:P-256:P-384") == 1;
}

/* One handshake over memory, the most that `version` allows. */
static bool shake(SSL_CTX *server_ctx, SSL_CTX *client_ctx, int version) {
    SSL *s = SSL_new(server_ctx), *c = SSL_new(client_ctx);
    BIO *sb = NULL, *cb = NULL;
    bool fine = s != NULL && c != NULL && BIO_new_bio_pair(&sb, 0, &cb, 0) == 1;
    if (fine) {
        SSL_set_bio(s, sb, sb);
        SSL_set_bio(c, cb, cb);
        SSL_set_num_tickets(s, 0);
        SSL_set_options(s, SSL_OP_NO_TICKET);
        fine = SSL_set_max_proto_version(c, version) == 1;
        int server = 0, client = 0;
        for (int turn = 0; fine && turn < 64 && (server != 1 || client != 1); turn++) {
            client = SSL_connect(c);
            server = SSL_accept(s);
            int a = SSL_get_error(c, client), b = SSL_get_error(s, server);
            fine = (client == 1 || a == SSL_ERROR_WANT_READ || a == SSL_ERROR_WANT_WRITE) &&
                   (server == 1 || b == SSL_ERROR_WANT_READ || b == SSL_ERROR_WANT_WRITE);
        }
        fine = fine && server == 1 && client == 1;
    }
    SSL_free(s);
    SSL_free(c);
    return fine;
}

static bool self_handshake(const struct plan_cert *pc, SSL_CTX *server, struct err *e) {
    ERR_clear_error();
    SSL_CTX *client = SSL_CTX_new(TLS_client_method());
    if (client == NULL) return tls_refuse(pc, pc->chain, e, "out of memory");
    SSL_CTX_set_verify(client, SSL_VERIFY_NONE, NULL);
    const char *bad = NULL, *why = "";
    if (!shake(server, client, TLS1_3_VERSION)) bad = "TLS 1.3";
    else if (!shake(server, client, TLS1_2_VERSION)) bad = "TLS 1.2";
    if (bad != NULL) why = tls_last_reason();
    SSL_CTX_free(client);
    if (bad == NULL) return true;
    return tls_refuse(pc, pc->chain, e, "a %s handshake with this certificate fails: %s", bad, why);
}

static SSL_CTX *make_ctx(const struct plan_cert *pc, const struct tls_material *m, struct tls_certs *all, struct err *e) {
    ERR_clear_error();
    SSL_CTX *x = SSL_CTX_new(TLS_server_method());
    if (x == NULL || !posture(x)) {
        tls_refuse(pc, pc->chain, e, "OpenSSL cannot make a context: %s", tls_last_reason());
    } else if (SSL_CTX_use_certificate(x, m->cert) != 1 || SSL_CTX_use_PrivateKey(x, m->key) != 1 || SSL_CTX_check_private_key(x) != 1) {
        tls_refuse(pc, pc->chain, e, "OpenSSL refuses the certificate or its key: %s", tls_last_reason());
    } else if (m->chain != NULL && SSL_CTX_set1_chain(x, m->chain) != 1) {
        tls_refuse(pc, pc->chain, e, "OpenSSL refuses the chain: %s", tls_last_reason());
    } else if (self_handshake(pc, x, e)) {
        SSL_CTX_set_tlsext_servername_callback(x, tls_on_name);
        SSL_CTX_set_tlsext_servername_arg(x, all);
        SSL_CTX_set_client_hello_cb(x, tls_on_hello, NULL);
        SSL_CTX_set_cert_verify_callback(x, tls_on_chain, NULL);
        SSL_CTX_set_session_ticket_cb(x, NULL, tls_on_session, NULL);
        tls_tickets_use(x);
        return x;
    }
    SSL_CTX_free(x);
    return NULL;
}

static int64_t unix_seconds(const ASN1_TIME *t) {
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void add_name(struct tls_cert_info *info, const char *s, size_t n) {
    size_t at = strlen(info->names);
    if (n == 0 || memchr(s, '\0', n) != NULL || memchr(s, ',', n) != NULL || at + n + 2 > sizeof info->names) return;
    snprintf(info->names + at, sizeof info->names - at, "%s%.*s", at == 0 ? "" : ",", (int)n, s);
}

static void add_ip(struct tls_cert_info *info, const ASN1_OCTET_STRING *ip) {
    char text[INET6_ADDRSTRLEN];
    int n = ASN1_STRING_length(ip);
    if (inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip), text, sizeof text) != NULL && (n == 4 || n == 16))
        add_name(info, text, strlen(text));
}

static void describe(const struct plan_cert *pc, X509 *x, struct tls_cert_info *info) {
    memcpy(info->name, pc->name, sizeof info->name);
    info->not_before = unix_seconds(X509_get0_notBefore(x));
    info->not_after = unix_seconds(X509_get0_notAfter(x));
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL && X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        int n = BIO_read(bio, info->subject, (int)sizeof info->subject - 1);
        info->subject[n > 0 ? n : 0] = '\0';
    }
    BIO_free(bio);
    GENERAL_NAMES *san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; san != NULL && i < sk_GENERAL_NAME_num(san); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(san, i);
        if (g->type == GEN_DNS) add_name(info, (const char *)ASN1_STRING_get0_data(g->d.dNSName), (size_t)ASN1_STRING_length(g->d.dNSName));
        else if (g->type == GEN_IPADD) add_ip(info, g->d.iPAddress);
    }
    GENERAL_NAMES_free(san);
}

static void warn_of_time(const struct plan_cert *pc, const struct bundle *b, const struct tls_cert_info *info,
                         void (*warn)(void *ctx, const char *text), void *ctx) {
    char day[32];
    int64_t now = clock_real_ms() / 1000, left = (info->not_after - now) / 86400;
    if (warn == NULL || (now >= info->not_before && left >= 30)) return;
    bool early = now<info->not_before, late = now> info->not_after;
    time_t at = (time_t)(early ? info->not_before : info->not_after);
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(day, sizeof day, "%Y-%m-%d %H:%MZ", &tm);
    const struct bundle_file *f = bundle_find(b, pc->chain);
    struct err text;
    tls_refuse(pc, f != NULL ? f->display : pc->chain, &text, "%s %s%s",
               early      ? "is not yet valid, only from"
               : late     ? "has expired on"
               : left < 1 ? "expires within a day, at"
               : left < 7 ? "expires in less than a week, on"
                          : "expires in less than 30 days, on",
               day, early || late ? "; it is shown to callers all the same" : "");
    warn(ctx, text.text);
}

static bool load_one(struct tls_certs *all, uint32_t i, const struct plan_cert *pc, const struct bundle *b,
                     void (*warn)(void *ctx, const char *text), void *ctx, struct err *e) {
    struct tls_material m;
    struct tls_cert *c = &all->cert[i];
    if (!tls_material_load(pc, b, &m, e)) return false;
    memcpy(c->name, pc->name, sizeof c->name);
    c->tickets = tls_tickets_create();
    c->ctx = c->tickets == NULL ? NULL : make_ctx(pc, &m, all, e);
    if (c->tickets == NULL) err_set(e, "certificate %s: out of memory", pc->name);
    if (c->ctx != NULL) {
        describe(pc, m.cert, &c->info);
        warn_of_time(pc, b, &c->info, warn, ctx);
    }
    tls_material_finish(&m);
    return c->ctx != NULL;
}

static int by_name(const void *a, const void *b) {
    const struct tls_name *x = a, *y = b;
    int d = strcmp(x->name, y->name);
    if (d == 0) d = (int)x->wild - (int)y->wild;
    return d != 0 ? d : x->cert < y->cert ? -1 : x->cert > y->cert;
}

/* The names of certificate i into the table: the operator's, else the certificate's own. */
static bool index_names(struct tls_certs *all, uint32_t i, const char *list, struct err *e) {
    while (*list != '\0') {
        size_t n = strcspn(list, ", \t");
        const char *s = list;
        list += n;
        list += strspn(list, ", \t");
        if (n == 0) continue;
        if (all->nnames == NAMES_MAX) return err_set(e, "certificates: more than %u names; give fewer in NAME.Names", NAMES_MAX);
        struct tls_name *name = &all->name[all->nnames];
        name->wild = n > 2 && s[0] == '*' && s[1] == '.';
        name->cert = i;
        name->name = name->wild ? strndup(s + 2, n - 2) : strndup(s, n);
        if (name->name == NULL) return err_set(e, "certificates: out of memory");
        for (char *p = name->name; *p != '\0'; p++) *p = (char)tolower((unsigned char)*p);
        all->nnames++;
    }
    return true;
}

struct tls_certs *tls_certs_load(const struct plan *p, const struct bundle *b, void (*warn)(void *ctx, const char *text), void *ctx,
                                 struct err *e) {
    struct tls_certs *c = calloc(1, sizeof *c);
    if (c == NULL) return err_set(e, "certificates: out of memory"), NULL;
    atomic_init(&c->refs, 1);
    c->cert = calloc(p->ncerts + 1, sizeof *c->cert);
    c->name = calloc(NAMES_MAX, sizeof *c->name);
    bool fine = (c->cert != NULL && c->name != NULL) || err_set(e, "certificates: out of memory");
    for (; fine && c->n < p->ncerts; c->n++) {
        const struct plan_cert *pc = &p->cert[c->n];
        fine =
            load_one(c, c->n, pc, b, warn, ctx, e) && index_names(c, c->n, pc->names[0] != '\0' ? pc->names : c->cert[c->n].info.names, e);
        if (!fine) {
            tls_tickets_free(c->cert[c->n].tickets);
            SSL_CTX_free(c->cert[c->n].ctx);
            break;
        }
    }
    fine = fine && tls_rules_load(c, p, b, warn, ctx, e);
    if (!fine) {
        tls_certs_free(c);
        return NULL;
    }
    qsort(c->name, c->nnames, sizeof *c->name, by_name);
    return c;
}

void tls_certs_drop(struct tls_certs *c) {
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < c->n; i++) {
        SSL_CTX_free(c->cert[i].ctx);
        tls_tickets_free(c->cert[i].tickets);
    }
    for (uint32_t i = 0; i < c->nnames; i++) free(c->name[i].name);
    tls_rules_finish(c);
    free(c->name);
    free(c->cert);
    free(c);
}

void tls_certs_free(struct tls_certs *c) {
    if (c != NULL) tls_certs_drop(c);
}

bool tls_certs_info(const struct tls_certs *c, unsigned i, struct tls_cert_info *out) {
    if (c == NULL || i >= c->n) return false;
    *out = c->cert[i].info;
    return true;
}

/* First entry of (name, wild), or nnames. */
static uint32_t find_name(const struct tls_certs *c, const char *name, bool wild) {
    uint32_t lo = 0, hi = c->nnames;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int d = strcmp(c->name[mid].name, name);
        if (d < 0 || (d == 0 && !c->name[mid].wild && wild)) lo = mid + 1;
        else hi = mid;
    }
    return lo < c->nnames && c->name[lo].wild == wild && strcmp(c->name[lo].name, name) == 0 ? lo : c->nnames;
}

const struct tls_cert *tls_certs_pick(const struct tls_certs *c, const char *asked, const struct tls_cert *own) {
    char name[256];
    size_t n = 0;
    for (; asked[n] != '\0' && n < sizeof name - 1; n++) name[n] = (char)tolower((unsigned char)asked[n]);
    if (asked[n] != '\0' || n == 0) return own;
    if (name[n - 1] == '.') n--;
    name[n] = '\0';
    const char *dot = strchr(name, '.');
    for (int wild = 0; wild <= 1; wild++) {
        const char *key = wild ? (dot == NULL ? "" : dot + 1) : name;
        uint32_t first = find_name(c, key, wild);
        if (first == c->nnames) continue;
        for (uint32_t i = first; i < c->nnames && c->name[i].wild == (bool)wild && strcmp(c->name[i].name, key) == 0; i++)
            if (&c->cert[c->name[i].cert] == own) return own;
        return &c->cert[c->name[first].cert];
    }
    return own;
}
