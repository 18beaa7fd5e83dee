/* TLS: certificates told apart why they do not load; who gets which certificate; what the stream says at every end; what an idle one
 * costs. */
#include "net/tls.h"
#include "base/clock.h"
#include "net/tls_ctx.h"
#include "unit/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char dir[] = "/tmp/tls-test-XXXXXX";

static void sha256(const void *p, size_t n, uint8_t out[32]) {
    EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL);
}

static void shell(const char *script) {
    char cmd[8000];
    snprintf(cmd, sizeof cmd, "cd %s && exec 2>>log && %s", dir, script);
    if (system(cmd) != 0) printf("# failed: %s\n", script);
}

static void make_files(void) {
    shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -days 90 -subj /CN=rsa.example -addext "
          "subjectAltName=DNS:rsa.example,DNS:*.wild.example,IP:192.0.2.1");
    shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec.key -out ec.pem -days 90 -subj /CN=ec.example "
          "-addext subjectAltName=DNS:ec.example,DNS:one.wild.example");
    shell(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec2.key -out ec2.pem -days 90 -subj /CN=ec2.example");
    shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout week.key -out week.pem -days 3 -subj "
          "/CN=week.example");
    shell("openssl genpkey -algorithm ED448 -out ed.key && openssl req -x509 -key ed.key -out ed.pem -days 90 -subj /CN=ed.example");
    shell("openssl req -x509 -newkey rsa:1024 -nodes -keyout weak.key -out weak.pem -days 90 -subj /CN=weak.example");
    /* a chain: root, intermediate, leaf */
    shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days 90 -subj /CN=Root");
    shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mid.key -out mid.csr -subj /CN=Middle && printf "
          "'basicConstraints=critical,CA:TRUE' > ca.ext &&"
          " openssl x509 -req -in mid.csr -CA root.pem -CAkey root.key -CAcreateserial -days 60 -extfile ca.ext -out mid.pem");
    shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf.example && openssl "
          "x509 -req -in leaf.csr -CA mid.pem -CAkey mid.key"
          " -CAcreateserial -days 60 -out leaf.pem");
    shell("cat ec.pem ec.key > both.pem; cat leaf.pem mid.pem > chain.pem; cat mid.pem leaf.pem > swapped.pem; head -c 400 ec.pem > "
          "cut.pem; head -c 120 ec.key > cut.key");
    shell("openssl pkcs12 -export -in leaf.pem -inkey leaf.key -certfile mid.pem -passout pass:geheim -out leaf.p12; openssl pkcs12 "
          "-export -in ec.pem -inkey ec.key -passout pass: -out open.p12");
    shell("head -c 500 leaf.p12 > cut.p12; openssl pkcs12 -export -nokeys -in ec.pem -passout pass:geheim -out nokey.p12; openssl pkey -in "
          "ec.key -aes256 -passout pass:geheim -out locked.key");
    shell("openssl ec -in ec.key -aes256 -passout pass:geheim -out locked1.key; openssl x509 -in ec.pem -outform der -out ec.der; printf "
          "'\\376\\355\\376\\355\\000\\000\\000\\002xxxx' > old.jks");
    shell("printf 'hello' > junk; : > empty; sed 's/^\\(MI.\\).../\\1!!!!/' ec.pem > torn.pem");
}

/* --- a plan and a bundle with these certificates --- */

struct given {
    const char *name, *chain, *key, *password, *names;
};
static struct bundle *bundle;

static bool load_file(struct bundle_writer *w, const char *name) {
    char p[300], logical[300], text[20000];
    struct err e;
    if (bundle_writer_find(w, (snprintf(logical, sizeof logical, "certs/%s", name), logical), NULL) != NULL) return true;
    snprintf(p, sizeof p, "%s/%s", dir, name);
    int fd = open(p, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    return n >= 0 && bundle_add(w, logical, p, text, (size_t)n, 0600, &e);
}

static void fill_plan(struct plan *p, const struct given *g, uint32_t n) {
    memset(p, 0, sizeof *p);
    p->cert = calloc(n, sizeof *p->cert);
    p->ncerts = n;
    struct bundle_writer *w = bundle_writer_create(sha256);
    struct err e = {""};
    for (uint32_t i = 0; i < n; i++) {
        struct plan_cert *c = &p->cert[i];
        snprintf(c->name, sizeof c->name, "%s", g[i].name);
        snprintf(c->chain, sizeof c->chain, "certs/%s", g[i].chain);
        if (g[i].key != NULL) snprintf(c->key, sizeof c->key, "certs/%s", g[i].key);
        if (g[i].password != NULL) snprintf(c->password, sizeof c->password, "%s", g[i].password);
        if (g[i].names != NULL) snprintf(c->names, sizeof c->names, "%s", g[i].names);
        char entry[PLAN_NAME];
        int len = snprintf(entry, sizeof entry, "%.50s.Certificate", g[i].name);
        c->because = (struct plan_because){.file = "conf/certificates.ini", .line = 3 + i, .row = "", .policy = ""};
        c->because.entry = texts_add(&p->texts, entry, (size_t)len);
        load_file(w, g[i].chain);
        if (g[i].key != NULL) load_file(w, g[i].key);
    }
    int fd = memfd_create("bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (!bundle_write(w, fd, &e)) printf("# bundle: %s\n", e.text);
    bundle_writer_destroy(w);
    bundle = bundle_map(fd, &e);
    close(fd);
}

static char warned[1000];
static void on_warn(void *ctx, const char *text) {
    (void)ctx;
    snprintf(warned, sizeof warned, "%s", text);
}

static struct tls_certs *load(const struct given *g, uint32_t n, struct err *e) {
    struct plan p;
    fill_plan(&p, g, n);
    warned[0] = e->text[0] = '\0';
    struct tls_certs *c = tls_certs_load(&p, bundle, on_warn, NULL, e);
    bundle_unmap(bundle);
    free(p.cert);
    texts_finish(&p.texts);
    return c;
}

static void test_loading(void) {
    static const struct given good[] = {{"a", "ec.pem", "ec.key", NULL, NULL},         {"b", "rsa.pem", "rsa.key", NULL, NULL},
                                        {"c", "both.pem", NULL, NULL, NULL},           {"d", "chain.pem", "leaf.key", NULL, NULL},
                                        {"e", "leaf.p12", NULL, "geheim", NULL},       {"f", "open.p12", NULL, NULL, NULL},
                                        {"g", "ec.pem", "locked.key", "geheim", NULL}, {"h", "ec.pem", "locked1.key", "geheim", NULL}};
    struct err e;
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        struct tls_certs *c = load(&good[i], 1, &e);
        struct tls_cert_info info = {.subject = ""};
        ok(c != NULL && tls_certs_info(c, 0, &info) && !tls_certs_info(c, 1, &info) && strcmp(info.name, good[i].name) == 0 &&
               info.not_after > info.not_before,
           "%s loads: %s%s", good[i].chain, info.subject, e.text);
        tls_certs_free(c);
    }
    static const struct {
        struct given g;
        const char *says;
    } bad[] = {{{"x", "no-such.pem", NULL, NULL, NULL}, "not there"},
               {{"x", "ec.pem", NULL, NULL, NULL}, "x.Key"},
               {{"x", "ec.pem", "no-such.key", NULL, NULL}, "not there"},
               {{"x", "ec.pem", "ec2.key", NULL, NULL}, "do not belong together"},
               {{"x", "ec.pem", "rsa.key", NULL, NULL}, "type EC, the key is of type RSA"},
               {{"x", "rsa.pem", "ec.key", NULL, NULL}, "type RSA, the key is of type EC"},
               {{"x", "swapped.pem", "leaf.key", NULL, NULL}, "must stand first"},
               {{"x", "cut.pem", "ec.key", NULL, NULL}, "truncated"},
               {{"x", "ec.pem", "cut.key", NULL, NULL}, "truncated"},
               {{"x", "torn.pem", "ec.key", NULL, NULL}, "damaged"},
               {{"x", "cut.p12", NULL, "geheim", NULL}, "truncated: 500 of"},
               {{"x", "leaf.p12", NULL, "falsch", NULL}, "wrong password"},
               {{"x", "leaf.p12", NULL, NULL, NULL}, "needs a password"},
               {{"x", "nokey.p12", NULL, "geheim", NULL}, "no private key"},
               {{"x", "ec.pem", "locked.key", "falsch", NULL}, "wrong password"},
               {{"x", "ec.pem", "locked.key", NULL, NULL}, "no password is given"},
               {{"x", "ec.pem", "locked1.key", "falsch", NULL}, "wrong password"},
               {{"x", "ec.pem", "rsa.pem", NULL, NULL}, "no private key"},
               {{"x", "ec.key", NULL, NULL, NULL}, "no certificate"},
               {{"x", "ec.der", NULL, NULL, NULL}, "DER"},
               {{"x", "old.jks", NULL, "x", NULL}, "keytool"},
               {{"x", "junk", NULL, NULL, NULL}, "unknown format"},
               {{"x", "empty", NULL, NULL, NULL}, "empty"},
               {{"x", "weak.pem", "weak.key", NULL, NULL}, "too small"},
               {{"x", "ed.pem", "ed.key", NULL, NULL}, NULL}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tls_certs *c = load(&bad[i].g, 1, &e);
        bool right = bad[i].says == NULL ? true
                                         : c == NULL && strstr(e.text, bad[i].says) != NULL &&
                                               strstr(e.text, "conf/certificates.ini:3: x.Certificate") != NULL;
        ok(right && strstr(e.text, "geheim") == NULL && strstr(e.text, "falsch") == NULL, "%s + %s: %s", bad[i].g.chain,
           bad[i].g.key == NULL ? "-" : bad[i].g.key, c != NULL ? "loads" : e.text);
        tls_certs_free(c);
    }
    struct given week = {"week", "week.pem", "week.key", NULL, NULL};
    struct tls_certs *c = load(&week, 1, &e);
    ok(c != NULL && strstr(warned, "less than a week") != NULL, "one that runs out soon loads with a warning: %s", warned);
    tls_certs_free(c);
}

static int64_t fake_now;
static int64_t fake_real(void) {
    return fake_now;
}

static void test_expiry(void) {
    static const struct given ec = {"ec", "ec.pem", "ec.key", NULL, NULL};
    static const struct {
        int64_t days;
        const char *says;
    } at[] = {
        {0, ""}, {70, "less than 30 days"}, {86, "less than a week"}, {89, "within a day"}, {95, "has expired"}, {-2, "not yet valid"}};
    int64_t now = clock_real_ms();
    struct err e;
    for (unsigned i = 0; i < sizeof at / sizeof *at; i++) {
        fake_now = now + at[i].days * 86400000 + 3600000;
        clock_fake(NULL, fake_real);
        struct tls_certs *c = load(&ec, 1, &e);
        bool silent = at[i].says[0] == '\0';
        ok(c != NULL && (silent ? warned[0] == '\0' : strstr(warned, at[i].says) != NULL), "day %lld: loads, warning \"%s\"",
           (long long)at[i].days, warned);
        ok(silent || (strstr(warned, "conf/certificates.ini:3: ec.Certificate: /tmp/") != NULL && strstr(warned, "certs/") == NULL),
           "and names the file that the operator knows");
        tls_certs_free(c);
    }
    clock_fake(NULL, NULL);
}

/* --- connections over a socket pair --- */

struct link {
    int fd[2]; /* server, client */
    struct tls *t;
    SSL *c;
};
static SSL_CTX *client_ctx;

static void link_open(struct link *l, struct tls_certs *certs, const char *fallback, const char *sni, int version, SSL_SESSION *session) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, l->fd) != 0) return;
    l->t = tls_accept(certs, fallback, l->fd[0]);
    l->c = SSL_new(client_ctx);
    SSL_set_fd(l->c, l->fd[1]);
    if (sni != NULL) SSL_set_tlsext_host_name(l->c, sni);
    if (version != 0) SSL_set_min_proto_version(l->c, version), SSL_set_max_proto_version(l->c, version);
    if (session != NULL) SSL_set_session(l->c, session);
}

/* 1 = both are through; else what the server said last. */
static int link_shake(struct link *l) {
    int s = STREAM_WANT_READ, c = 0;
    for (int i = 0; i < 20 && (s != 1 || c != 1); i++) {
        ERR_clear_error();
        if (c != 1) c = SSL_connect(l->c);
        if (s < 0 && s != STREAM_ERROR) s = stream_tls.handshake(l->t, l->fd[0]);
        if (s == STREAM_ERROR) return s;
    }
    return s == 1 && c == 1 ? 1 : s;
}

static void link_close(struct link *l) {
    stream_tls.free(l->t);
    SSL_free(l->c);
    close(l->fd[0]);
    if (l->fd[1] >= 0) close(l->fd[1]);
}

static const char *peer_name(SSL *c) {
    static char name[100];
    X509 *x = SSL_get1_peer_certificate(c);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    X509_free(x);
    return name;
}

static void test_names(struct tls_certs *certs) {
    static const struct {
        const char *fallback, *sni, *want;
    } rows[] = {{"ec", NULL, "ec.example"},
                {"rsa", NULL, "rsa.example"},
                {"ec", "rsa.example", "rsa.example"},
                {"rsa", "EC.Example", "ec.example"},
                {"ec", "unknown.example", "ec.example"},
                {"ec", "a.wild.example", "rsa.example"},
                {"rsa", "one.wild.example", "ec.example"},
                {"ec", "a.b.wild.example", "ec.example"},
                {"ec", "wild.example", "ec.example"},
                {"rsa", "given.example", "leaf.example"},
                {"rsa", "leaf.example", "rsa.example"},
                {"leaf", "192.0.2.1", "rsa.example"},
                {"leaf", "rsa.example.", "rsa.example"}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct link l;
        link_open(&l, certs, rows[i].fallback, rows[i].sni, 0, NULL);
        int rc = link_shake(&l);
        ok(rc == 1 && strcmp(peer_name(l.c), rows[i].want) == 0 && strcmp(tls_version(l.t), "TLSv1.3") == 0,
           "listener %s, asked for %s: %s", rows[i].fallback, rows[i].sni == NULL ? "nothing" : rows[i].sni,
           rc == 1 ? peer_name(l.c) : tls_why(l.t));
        ok(strcmp(tls_sni(l.t), rows[i].sni == NULL ? "" : rows[i].sni) == 0, "tls_sni says so");
        link_close(&l);
    }
    ok(tls_accept(certs, "none", 0) == NULL, "a listener's certificate that is not there");
}

/* The self-probe's client: is the certificate shown the very one planned? 1 = yes, 0 = another; else what the handshake ended with. */
static int asks(struct tls_asker *a, struct tls_certs *certs, const char *listener, const char *name, const struct tls_print *planned,
                char why[200]) {
    int fd[2], s = STREAM_WANT_READ, c = STREAM_WANT_READ;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) != 0) return -9;
    struct tls *t = tls_accept(certs, listener, fd[0]);
    struct tls_ask *ask = tls_ask_open(a, fd[1], name);
    for (int i = 0; i < 20 && (s != 1 || c != 1) && s != STREAM_ERROR && c != STREAM_ERROR; i++) {
        if (c != 1) c = tls_ask_step(ask);
        if (s != 1) s = stream_tls.handshake(t, fd[0]);
    }
    int result = s == 1 && c == 1 ? tls_ask_saw(ask, planned) : c;
    snprintf(why, 200, "%s", result == 1 ? tls_ask_version(ask) : tls_ask_why(ask));
    tls_ask_close(ask);
    stream_tls.free(t);
    close(fd[0]);
    close(fd[1]);
    return result;
}

static void test_asking(struct tls_certs *certs) {
    struct tls_print ec, rsa, none;
    char why[200];
    struct tls_asker *a = tls_asker_create();
    ok(a != NULL && tls_certs_print(certs, "ec", &ec) && tls_certs_print(certs, "rsa", &rsa) && !tls_certs_print(certs, "none", &none) &&
           memcmp(&ec, &rsa, sizeof ec) != 0,
       "certificates have prints of their own");
    ok(strcmp(tls_certs_names(certs, "ec"), "ec.example,one.wild.example") == 0 && tls_certs_names(certs, "none")[0] == '\0', "names: %s",
       tls_certs_names(certs, "ec"));
    ok(asks(a, certs, "ec", "", &ec, why) == 1 && strcmp(why, "TLSv1.3") == 0, "the certificate planned is known by its print (%s)", why);
    ok(asks(a, certs, "rsa", "", &ec, why) == 0 && strstr(why, "rsa.example") != NULL, "another one is not: %s", why);
    ok(asks(a, certs, "rsa", "ec.example", &ec, why) == 1, "a name asked for gets the certificate that has it");
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0) {
        struct tls_ask *ask = tls_ask_open(a, fd[1], "");
        int first = tls_ask_step(ask);
        bool said = write(fd[0], "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28;
        ok(first == STREAM_WANT_READ && said && tls_ask_step(ask) == STREAM_ERROR && tls_ask_why(ask)[0] &&
               tls_ask_step(ask) == STREAM_ERROR,
           "who speaks no TLS: %s", tls_ask_why(ask));
        tls_ask_close(ask);
        close(fd[0]);
        ask = tls_ask_open(a, fd[1], "");
        ok(tls_ask_step(ask) == STREAM_ERROR && tls_ask_why(ask)[0], "who has hung up: %s", tls_ask_why(ask));
        tls_ask_close(ask);
        close(fd[1]);
    }
    tls_asker_destroy(a);
}

static void test_versions(struct tls_certs *certs) {
    static const struct {
        int version;
        bool fine;
    } rows[] = {{TLS1_3_VERSION, true}, {TLS1_2_VERSION, true}, {TLS1_1_VERSION, false}, {TLS1_VERSION, false}};
    for (unsigned i = 0; i < 4; i++) {
        struct link l;
        link_open(&l, certs, "rsa", NULL, rows[i].version, NULL);
        SSL_set_security_level(l.c, 0);
        bool fine = link_shake(&l) == 1;
        ok(fine == rows[i].fine, "%s: %s", SSL_get_version(l.c), fine ? SSL_get_cipher_name(l.c) : tls_why(l.t));
        ok(!fine || SSL_get_current_compression(l.c) == NULL, "no compression");
        if (fine && rows[i].version == TLS1_2_VERSION) {
            char one;
            SSL_renegotiate(l.c);
            SSL_do_handshake(l.c);
            for (int k = 0; k < 5; k++) {
                stream_tls.read(l.t, l.fd[0], &one, 1);
                ERR_clear_error();
                SSL_do_handshake(l.c);
            }
            ok(SSL_num_renegotiations(l.c) == 0 || SSL_renegotiate_pending(l.c) || SSL_in_init(l.c),
               "a client's renegotiation is not done");
        }
        link_close(&l);
    }
    static const char *const weak[] = {"AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-SHA256", "AES128-GCM-SHA256",
                                       "DHE-RSA-AES128-SHA"};
    static const char *const strong[] = {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
                                         "DHE-RSA-AES128-GCM-SHA256"};
    unsigned right = 0;
    for (unsigned i = 0; i < 9; i++) {
        struct link l;
        link_open(&l, certs, "rsa", NULL, TLS1_2_VERSION, NULL);
        SSL_set_security_level(l.c, 0);
        SSL_set_cipher_list(l.c, i < 5 ? weak[i] : strong[i - 5]);
        right += (link_shake(&l) == 1) == (i >= 5);
        link_close(&l);
    }
    ok(right == 9, "ciphers of TLS 1.2: with forward secrecy and AEAD only");
    struct link l;
    link_open(&l, certs, "ec", NULL, 0, NULL);
    SSL_set_alpn_protos(l.c, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    const unsigned char *alpn;
    unsigned alpn_n = 0;
    bool fine = link_shake(&l) == 1;
    SSL_get0_alpn_selected(l.c, &alpn, &alpn_n);
    ok(fine && alpn_n == 8 && memcmp(alpn, "http/1.1", 8) == 0, "ALPN: http/1.1");
    link_close(&l);
}

static bool say(struct link *l, const char *text) { /* server to client: makes the client read tickets too */
    char got[100];
    ssize_t w = stream_tls.write(l->t, l->fd[0], text, strlen(text), false);
    ERR_clear_error();
    int r = SSL_read(l->c, got, sizeof got);
    return w == (ssize_t)strlen(text) && r == (int)strlen(text) && memcmp(got, text, (size_t)r) == 0;
}

static int64_t mono_add;
static int64_t fake_mono(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + mono_add;
}

static bool resumes(struct tls_certs *certs, const char *fallback, int version, SSL_SESSION *s) {
    struct link l;
    link_open(&l, certs, fallback, NULL, version, s);
    bool yes = link_shake(&l) == 1 && SSL_session_reused(l.c) == 1;
    SSL_set_shutdown(l.c, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else OpenSSL calls the session not resumable */
    link_close(&l);
    return yes;
}

static SSL_SESSION *get_session(struct tls_certs *certs, const char *fallback, int version) {
    struct link l;
    link_open(&l, certs, fallback, NULL, version, NULL);
    SSL_SESSION *s = link_shake(&l) == 1 && say(&l, "hello") ? SSL_get1_session(l.c) : NULL;
    SSL_shutdown(l.c);
    link_close(&l);
    return s;
}

static void test_tickets(struct tls_certs *certs, struct tls_certs *other) {
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    clock_fake(fake_mono, NULL);
    for (unsigned i = 0; i < 2; i++) {
        int64_t base = mono_add;
        SSL_SESSION *s = get_session(certs, "ec", versions[i]);
        ok(s != NULL && SSL_SESSION_get_max_early_data(s) == 0, "a ticket, without early data");
        ok(resumes(certs, "ec", versions[i], s), "it resumes");
        ok(!resumes(certs, "rsa", versions[i], s) && !resumes(other, "ec", versions[i], s),
           "not with another certificate, not with another generation");
        mono_add = base + 13ll * 3600 * 1000;
        SSL_SESSION *later = get_session(certs, "ec", versions[i]); /* makes the keys rotate */
        ok(resumes(certs, "ec", versions[i], s) && resumes(certs, "ec", versions[i], later),
           "after a change of keys the older ticket still does");
        mono_add = base + 25ll * 3600 * 1000;
        SSL_SESSION *last = get_session(certs, "ec", versions[i]);
        ok(!resumes(certs, "ec", versions[i], s) && resumes(certs, "ec", versions[i], last), "after 24 hours its key is gone");
        SSL_SESSION_free(s);
        SSL_SESSION_free(later);
        SSL_SESSION_free(last);
        tls_certs_free(NULL);
        mono_add += 100ll * 3600 * 1000; /* start the second version with fresh keys */
    }
    clock_fake(NULL, NULL);
}

static void test_stream(struct tls_certs *certs) {
    struct link l;
    char got[20000], big[40000];
    memset(big, 'x', sizeof big);
    link_open(&l, certs, "ec", NULL, 0, NULL);
    ok(stream_tls.handshake(l.t, l.fd[0]) == STREAM_WANT_READ, "a handshake wants to read first");
    ok(link_shake(&l) == 1 && say(&l, "hello"), "then both can talk");
    ok(stream_tls.read(l.t, l.fd[0], got, sizeof got) == STREAM_WANT_READ && stream_tls.pending(l.t) == 0, "nothing there: wants to read");
    for (int i = 0; i < 3; i++) SSL_write(l.c, "GET / HTTP/1.1\r\n\r\n", 18);
    int left = -1;
    ssize_t n = stream_tls.read(l.t, l.fd[0], got, sizeof got);
    ioctl(l.fd[0], FIONREAD, &left);
    ok(n == 18 && left == 0, "three records come in one read of the socket");
    ok(stream_tls.pending(l.t) > 0 && stream_tls.read(l.t, l.fd[0], got, 5) == 5 && stream_tls.pending(l.t) == 13,
       "pending says what waits inside");
    ok(stream_tls.read(l.t, l.fd[0], got, sizeof got) == 13 && stream_tls.read(l.t, l.fd[0], got, sizeof got) == 18 &&
           stream_tls.pending(l.t) == 0,
       "all of it is read");
    ssize_t w = 0, total = 0;
    while ((w = stream_tls.write(l.t, l.fd[0], big, sizeof big, false)) > 0) total += w;
    ok(w == STREAM_WANT_WRITE && total > 0, "a slow reader: wants to write after %zd bytes", total);
    for (int r; (r = SSL_read(l.c, got, sizeof got)) > 0;) total -= r;
    char moved[sizeof big];
    memcpy(moved, big, sizeof big);
    w = stream_tls.write(l.t, l.fd[0], moved, sizeof moved, false);
    ok(w > 0, "the repeated write may come from another place");
    total += w;
    for (int r; (r = SSL_read(l.c, got, sizeof got)) > 0;) total -= r;
    ok(total == 0, "no byte is lost");
    SSL_shutdown(l.c);
    ok(stream_tls.read(l.t, l.fd[0], got, sizeof got) == 0, "close_notify: 0");
    ok(stream_tls.shutdown(l.t, l.fd[0]) == 1 && SSL_read(l.c, got, 1) <= 0 && SSL_get_error(l.c, 0) == SSL_ERROR_ZERO_RETURN,
       "and ours goes out");
    link_close(&l);

    link_open(&l, certs, "ec", NULL, 0, NULL);
    link_shake(&l);
    say(&l, "hello");
    close(l.fd[1]);
    l.fd[1] = -1;
    ok(stream_tls.read(l.t, l.fd[0], got, sizeof got) == 0, "a bare FIN: 0 (%s)", tls_why(l.t));
    ok(stream_tls.write(l.t, l.fd[0], "x", 1, false) == STREAM_ERROR && stream_tls.shutdown(l.t, l.fd[0]) == 1,
       "after it nothing can be written, and shutdown is quiet");
    link_close(&l);

    link_open(&l, certs, "ec", NULL, 0, NULL);
    if (write(l.fd[1], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27) != 27) return;
    ok(stream_tls.handshake(l.t, l.fd[0]) == STREAM_ERROR && strstr(tls_why(l.t), "http request") != NULL, "plain HTTP on a TLS port: %s",
       tls_why(l.t));
    ok(stream_tls.handshake(l.t, l.fd[0]) == STREAM_ERROR && stream_tls.read(l.t, l.fd[0], got, 1) == STREAM_ERROR, "an error is final");
    link_close(&l);

    link_open(&l, certs, "ec", NULL, 0, NULL);
    SSL_connect(l.c);
    stream_tls.handshake(l.t, l.fd[0]);
    close(l.fd[1]);
    l.fd[1] = -1;
    ok(stream_tls.handshake(l.t, l.fd[0]) == STREAM_ERROR, "gone in the middle of the handshake: %s", tls_why(l.t));
    link_close(&l);

    link_open(&l, certs, "ec", NULL, 0, NULL);
    link_shake(&l);
    char junk[40] = "\x17\x03\x03\x00\x20";
    if (write(l.fd[1], junk, 37) != 37) return;
    ok(stream_tls.read(l.t, l.fd[0], got, sizeof got) == STREAM_ERROR && tls_why(l.t)[0] != '\0', "a forged record: %s", tls_why(l.t));
    struct link fresh;
    link_open(&fresh, certs, "ec", NULL, 0, NULL);
    ok(link_shake(&fresh) == 1 && say(&fresh, "hi"), "and the next connection knows nothing of it");
    link_close(&fresh);
    link_close(&l);
}

static void test_lifetime(const struct given *g, uint32_t n) {
    struct err e;
    struct tls_certs *c = load(g, n, &e);
    struct link a, b;
    link_open(&a, c, "ec", "rsa.example", 0, NULL);
    link_open(&b, c, "ec", NULL, 0, NULL);
    ok(link_shake(&b) == 1, "a connection of a generation");
    tls_certs_free(c);
    ok(link_shake(&a) == 1 && strcmp(peer_name(a.c), "rsa.example") == 0,
       "one that was accepted before the generation ended still gets its certificate by name");
    ok(say(&b, "still here"), "and one that was through goes on");
    link_close(&a);
    link_close(&b);
}

/* What an idle connection costs the server, measured with the clients in a process of their own. */
static void test_memory(struct tls_certs *certs) {
    enum { N = 400 };
    static struct tls *t[N];
    static int fds[N][2];
    for (int i = 0; i < N; i++)
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]) != 0) return;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < N; i++) {
            SSL *c = SSL_new(client_ctx);
            char got[10];
            SSL_set_fd(c, fds[i][1]);
            if (SSL_connect(c) != 1 || SSL_write(c, "ping", 4) != 4 || SSL_read(c, got, sizeof got) != 4) _exit(1);
        }
        pause();
        _exit(0);
    }
    malloc_trim(0);
    struct mallinfo2 before = mallinfo2();
    char got[2000];
    int fine = 0;
    for (int i = 0; i < N; i++) {
        t[i] = tls_accept(certs, "ec", fds[i][0]);
        while (stream_tls.handshake(t[i], fds[i][0]) < 0) continue;
        fine += stream_tls.read(t[i], fds[i][0], got, sizeof got) == 4 && stream_tls.write(t[i], fds[i][0], "pong", 4, false) == 4;
    }
    struct mallinfo2 after = mallinfo2();
    double kb = (double)(after.uordblks - before.uordblks + after.hblkhd - before.hblkhd) / N / 1024;
    ok(fine == N && (SANITIZED || (kb > 1 && kb < 15)), "an idle TLS connection holds %.1f KB of the server's heap", kb);
    for (int i = 0; i < N; i++) {
        stream_tls.free(t[i]);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void test_development(void) {
    char p[300];
    struct stat st;
    struct err e = {""};
    snprintf(p, sizeof p, "%s/development.pem", dir);
    ok(tls_make_development(p, &e) && stat(p, &st) == 0 && (st.st_mode & 07777) == 0600,
       "a development certificate, nobody else may read it %s", e.text);
    ino_t ino = st.st_ino;
    ok(tls_make_development(p, &e) && stat(p, &st) == 0 && st.st_ino == ino, "one that is there is left alone");
    static const struct given g = {"default", "development.pem", NULL, NULL, NULL};
    struct tls_certs *c = load(&g, 1, &e);
    struct tls_cert_info info = {.names = ""};
    ok(c != NULL && tls_certs_info(c, 0, &info) && strstr(info.names, "localhost") && strstr(info.names, "127.0.0.1") &&
           strstr(info.names, "::1"),
       "it loads, for %s%s", info.names, e.text);
    tls_certs_free(c);
    ok(!tls_make_development("/no/such/folder/x.pem", &e) && strstr(e.text, "/no/such/folder"), "where it cannot be written: %s", e.text);
    ok(stat("/no/such/folder/x.pem", &st) != 0, "nothing is left");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(dir) == NULL) return 1;
    make_files();
    client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(client_ctx, SSL_VERIFY_NONE, NULL);
    test_development();
    test_loading();
    test_expiry();
    static const struct given all[] = {{"ec", "ec.pem", "ec.key", NULL, NULL},
                                       {"rsa", "rsa.pem", "rsa.key", NULL, NULL},
                                       {"leaf", "leaf.p12", NULL, "geheim", "given.example, other.example"}};
    struct err e;
    struct tls_certs *certs = load(all, 3, &e), *other = load(all, 3, &e);
    if (!ok(certs != NULL && other != NULL, "three certificates, one of a keystore with names given %s", e.text)) return tap_end();
    test_names(certs);
    test_asking(certs);
    test_versions(certs);
    test_tickets(certs, other);
    test_stream(certs);
    test_memory(certs);
    tls_certs_free(certs);
    tls_certs_free(other);
    test_lifetime(all, 3);
    SSL_CTX_free(client_ctx);
    shell("rm -rf \"$PWD\"");
    return tap_end();
}
