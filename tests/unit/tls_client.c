/* Certificates of callers below the engine: what files of CAs are refused for, the rule of a connection whatever name it asks for, and
 * sessions. The whole list of bad certificates is tests/e2e/test_clientcert.py's. */
#include "base/clock.h"
#include "net/tls.h"
#include "tap.h"
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/pr-tls-client-XXXXXX";

static void shell(const char *script) {
    char line[6000];
    snprintf(line, sizeof line, "set -e; cd %s; exec >log 2>&1; %s", dir, script);
    int rc = system(line);
    if (rc != 0) printf("# shell: %d\n", WEXITSTATUS(rc));
}

#define MAKE(name, subject, more)                                                                                           \
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=" subject "' -keyout " name \
    ".key -out " name ".pem " more "; "
#define CA_MORE "-addext keyUsage=critical,keyCertSign"

static void make_files(void) {
    shell(MAKE("one", "one.example", "-addext subjectAltName=DNS:one.example")
              MAKE("two", "two.example", "-addext subjectAltName=DNS:two.example") MAKE("ca", "ca", CA_MORE) MAKE("other", "other", CA_MORE)
                  MAKE("leaf", "leaf",
                       "-addext basicConstraints=critical,CA:FALSE") "openssl req -new -key leaf.key -subj '/CN=caller' -out caller.csr; "
                                                                     "printf 'extendedKeyUsage=clientAuth\\n' >ext; "
                                                                     "openssl x509 -req -in caller.csr -CA ca.pem -CAkey ca.key "
                                                                     "-CAcreateserial -days 3000 -extfile ext -out caller.pem; "
                                                                     "cat ca.pem other.pem >both.pem; cat ca.pem leaf.pem >mixed.pem; cat "
                                                                     "ca.pem ca.key >withkey.pem; head -c 300 ca.pem >cut.pem; "
                                                                     "sed 5s/.../@@@/ ca.pem >torn.pem; cat ca.pem torn.pem >torn2.pem; cp "
                                                                     "ca.key nocert.pem; : >empty.pem; openssl x509 -in ca.pem -outform "
                                                                     "der -out der.pem; "
                                                                     "for i in $(seq 65); do cat ca.pem; done >many.pem");
}

static void no_hash(const void *p, size_t n, uint8_t out[32]) {
    (void)p, (void)n;
    memset(out, 0, 32);
}

static void add(struct bundle_writer *w, const char *name) {
    static char text[200000];
    char path[200], logical[100];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(logical, sizeof logical, "certs/%s", name);
    if (bundle_writer_find(w, logical, NULL)) return;
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    if (n >= 0 && !bundle_add(w, logical, name, text, (size_t)n, 0600, &e)) printf("# %s\n", e.text);
}

static char warned[2000];
static void on_warn(void *ctx, const char *text) {
    (void)ctx;
    size_t n = strlen(warned);
    snprintf(warned + n, sizeof warned - n, "%s\n", text);
}

static const struct plan_cert ours[] = {{.name = "one", .chain = "certs/one.pem", .key = "certs/one.key"},
                                        {.name = "two", .chain = "certs/two.pem", .key = "certs/two.key"}};

static struct plan_socket asks(const char *certificate, enum plan_client word, const char *ca) {
    struct plan_socket s = PLAN_SOCKET_BLANK;
    s.name = "web";
    s.scheme = SCHEME_HTTPS;
    s.certificate = certificate;
    s.client = word;
    s.client_ca = ca;
    s.limit_file = "conf/listeners.ini";
    s.limit_line[LIMIT_CLIENT_CA] = 12;
    return s;
}

static struct tls_certs *load(struct plan_socket *sockets, uint32_t n, struct err *e) {
    struct plan_cert certs[2] = {ours[0], ours[1]};
    for (int i = 0; i < 2; i++) certs[i].because = (struct plan_because)PLAN_BECAUSE_BLANK;
    struct plan p = {.cert = certs, .ncerts = 2, .socket = sockets, .nsockets = n};
    struct bundle_writer *w = bundle_writer_create(no_hash);
    struct err why = {""};
    for (int i = 0; i < 2; i++) add(w, ours[i].chain + 6), add(w, ours[i].key + 6);
    for (uint32_t i = 0; i < n; i++)
        if (sockets[i].client_ca[0]) add(w, sockets[i].client_ca + 6);
    int fd = memfd_create("bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct bundle *b = bundle_write(w, fd, &why) ? bundle_map(fd, &why) : NULL;
    bundle_writer_destroy(w);
    close(fd);
    warned[0] = e->text[0] = '\0';
    struct tls_certs *c = b ? tls_certs_load(&p, b, on_warn, NULL, e) : NULL;
    bundle_unmap(b);
    return c;
}

static int64_t fake_ms;
static int64_t fake_real(void) {
    return fake_ms;
}

static void test_files(void) {
    static const struct {
        const char *file, *says;
    } bad[] = {{"certs/missing.pem", "the file is not there"},
               {"certs/empty.pem", "no certificate in it"},
               {"certs/nocert.pem", "no certificate in it"},
               {"certs/der.pem", "PEM is wanted"},
               {"certs/cut.pem", "truncated"},
               {"certs/torn.pem", "certificate 1 in it is damaged"},
               {"certs/torn2.pem", "certificate 2 in it is damaged"},
               {"certs/leaf.pem", "certificate 1 (CN=leaf) is no CA"},
               {"certs/mixed.pem", "certificate 2 (CN=leaf) is no CA"},
               {"certs/many.pem", "more than 64 CAs"}};
    struct err e;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct plan_socket s = asks("one", CLIENT_REQUIRE, bad[i].file);
        struct tls_certs *c = load(&s, 1, &e);
        ok(!c && strstr(e.text, bad[i].says) && strstr(e.text, "conf/listeners.ini:12: ClientCA of listener web: "), "%s: %s", bad[i].file,
           c ? "loads" : e.text);
        tls_certs_free(c);
    }
    struct plan_socket s = asks("one", CLIENT_ASK, "certs/withkey.pem");
    struct tls_certs *c = load(&s, 1, &e);
    ok(c && strstr(warned, "private key"), "a key in the file is warned of: %s", warned);
    tls_certs_free(c);
    s = asks("one", CLIENT_ASK, "certs/both.pem");
    for (int late = 0; late < 2; late++) {
        fake_ms = late ? 4102444800000 : 946684800000; /* 2100, 2000 */
        clock_fake(NULL, fake_real);
        c = load(&s, 1, &e);
        ok(c && strstr(warned, late ? "the CA CN=other has expired" : "the CA CN=ca is not valid yet"),
           "a CA out of its time is warned of, and loads");
        clock_fake(NULL, NULL);
        tls_certs_free(c);
    }
}

/* ---- connections ---- */

struct link {
    int fd[2]; /* server, client */
    struct tls *t;
    SSL *c;
    struct tls_identity who;
    bool resumed;
};
static SSL_CTX *client_ctx;
static SSL_SESSION *got;

static int on_session(SSL *ssl, SSL_SESSION *s) {
    (void)ssl;
    SSL_SESSION_free(got);
    got = s;
    return 1;
}

/* 1 = the handshake is done and a byte has gone each way, so that TLS 1.3 has said all; else 0. */
static int talk(struct link *l) {
    int s = STREAM_WANT_READ, c = 0;
    char byte;
    for (int i = 0; i < 30 && s != STREAM_ERROR && (s != 1 || c != 1); i++) {
        ERR_clear_error();
        if (c != 1) c = SSL_connect(l->c);
        if (s != 1) s = stream_tls.handshake(l->t, l->fd[0]);
    }
    if (s != 1 || c != 1) return 0;
    return stream_tls.write(l->t, l->fd[0], "x", 1, false) == 1 && SSL_read(l->c, &byte, 1) == 1;
}

static int call(struct link *l, struct tls_certs *certs, const struct plan_socket *s, const char *name, int version, SSL_SESSION *session) {
    *l = (struct link){.fd = {-1, -1}};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, l->fd) != 0) return -1;
    l->t = tls_accept(certs, s->certificate, l->fd[0]);
    if (s->client != CLIENT_OFF && !tls_want_client(l->t, s)) return -1;
    l->c = SSL_new(client_ctx);
    SSL_set_fd(l->c, l->fd[1]);
    SSL_set_tlsext_host_name(l->c, name);
    SSL_set_min_proto_version(l->c, version), SSL_set_max_proto_version(l->c, version);
    if (session) SSL_set_session(l->c, session);
    int good = talk(l);
    if (good) tls_identify(l->t, &l->who);
    l->resumed = good && SSL_session_reused(l->c);
    return good;
}

static void hang_up(struct link *l) {
    stream_tls.free(l->t);
    SSL_set_shutdown(l->c, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session would count as bad */
    SSL_free(l->c);
    close(l->fd[0]);
    close(l->fd[1]);
}

static void show(const char *certificate) {
    char crt[200], key[200];
    SSL_CTX_free(client_ctx);
    client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(client_ctx, on_session);
    if (!certificate) return;
    snprintf(crt, sizeof crt, "%s/%s.pem", dir, certificate);
    snprintf(key, sizeof key, "%s/leaf.key", dir);
    if (SSL_CTX_use_certificate_file(client_ctx, crt, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(client_ctx, key, SSL_FILETYPE_PEM) != 1)
        printf("# %s\n", crt);
}

static bool lists(SSL *c, const char *want) {
    const STACK_OF(X509_NAME) *names = SSL_get0_peer_CA_list(c);
    char text[300] = "", one[100];
    for (int i = 0; i < sk_X509_NAME_num(names); i++) {
        X509_NAME_get_text_by_NID(sk_X509_NAME_value(names, i), NID_commonName, one, sizeof one);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "," : "", one);
    }
    return strcmp(text, want) == 0;
}

/* The certificate that a name picks brings no trust of its own, and takes none away. */
static void test_names(struct tls_certs *certs, struct plan_socket *s) {
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const char *const names[] = {"one.example", "two.example", "else.example"};
    struct link l;
    for (unsigned v = 0; v < 2; v++)
        for (unsigned n = 0; n < 3; n++) {
            show("caller");
            int in = call(&l, certs, &s[0], names[n], versions[v], NULL);
            ok(in == 1 && l.who.verified && strcmp(l.who.subject, "CN=caller") == 0 && lists(l.c, "ca"), "%s of its CA, %s", names[n],
               in ? l.who.version : tls_why(l.t));
            hang_up(&l);
            in = call(&l, certs, &s[2], names[n], versions[v], NULL);
            ok(in == 1 && l.who.shown && !l.who.verified && l.who.reason[0] && lists(l.c, "other"), "asked for one of another CA: %s",
               in ? l.who.reason : tls_why(l.t));
            hang_up(&l);
            in = call(&l, certs, &s[3], names[n], versions[v], NULL);
            ok(in == 0 && tls_turned_away(l.t) && strstr(tls_turned_away(l.t), "CN=caller"), "another CA demanded: %s",
               in == 0 ? tls_turned_away(l.t) : "in");
            hang_up(&l);
            show(NULL);
            in = call(&l, certs, &s[0], names[n], versions[v], NULL);
            ok(in == 0 && tls_turned_away(l.t), "none shown: %s", in == 0 ? tls_turned_away(l.t) : "in");
            hang_up(&l);
        }
}

/* A session is resumed under its own rule only, and not longer than the certificate in it lasts. */
static void test_sessions(struct tls_certs *certs, struct tls_certs *next, struct plan_socket *s) {
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct link l;
    for (unsigned v = 0; v < 2; v++) {
        show("caller");
        int in = call(&l, certs, &s[0], "one.example", versions[v], NULL);
        SSL_SESSION *first = got;
        got = NULL;
        ok(in == 1 && first, "a session (%s)", l.who.version);
        hang_up(&l);
        for (unsigned i = 0; i < 6 && first;
             i++) { /* 0 the rule it is of; 1 asks only; 2, 3 another CA; 4 asks nobody; 5 another certificate of ours */
            in = call(&l, certs, &s[i], "one.example", versions[v], first);
            ok(l.resumed == (i == 0) && in == (i != 3), "rule %u: %s", i,
               l.resumed ? "resumed"
               : in      ? "a full handshake"
                         : tls_turned_away(l.t));
            ok(!l.resumed || (l.who.verified && l.who.resumed && strcmp(l.who.subject, "CN=caller") == 0), "with who he is");
            hang_up(&l);
        }
        in = call(&l, next, &s[0], "one.example", versions[v], first);
        ok(in == 1 && !l.resumed, "the next generation shakes hands anew");
        hang_up(&l);
        fake_ms = 4102444800000;
        clock_fake(NULL, fake_real);
        in = call(&l, certs, &s[0], "one.example", versions[v], first);
        ok(in == 1 && !l.resumed, "and so does who comes after his certificate has run out");
        clock_fake(NULL, NULL);
        hang_up(&l);
        SSL_SESSION_free(first);
    }
}

static void test_same(struct tls_certs *a, struct tls_certs *b, struct plan_socket *s) {
    ok(tls_client_same(a, &s[0], b, &s[0]) && tls_client_same(a, &s[0], b, &s[5]) && tls_client_same(a, &s[4], b, &s[4]), "the same rule");
    ok(!tls_client_same(a, &s[0], b, &s[1]) && !tls_client_same(a, &s[0], b, &s[3]) && !tls_client_same(a, &s[4], b, &s[0]) &&
           !tls_client_same(a, &s[0], b, &s[4]),
       "another word, other CAs, none");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(dir)) return 1;
    make_files();
    test_files();
    struct plan_socket s[] = {asks("one", CLIENT_REQUIRE, "certs/ca.pem"),
                              asks("one", CLIENT_ASK, "certs/ca.pem"),
                              asks("one", CLIENT_ASK, "certs/other.pem"),
                              asks("one", CLIENT_REQUIRE, "certs/other.pem"),
                              asks("one", CLIENT_OFF, ""),
                              asks("two", CLIENT_REQUIRE, "certs/ca.pem")};
    struct err e;
    struct tls_certs *certs = load(s, 6, &e), *next = load(s, 6, &e);
    if (ok(certs && next, "six sockets, five rules%s", e.text)) {
        test_names(certs, s);
        test_sessions(certs, next, s);
        test_same(certs, next, s);
    }
    tls_certs_free(certs);
    tls_certs_free(next);
    SSL_SESSION_free(got);
    SSL_CTX_free(client_ctx);
    shell("rm -rf \"$PWD\"");
    return tap_end();
}
