/* The ClientHello reader on hellos that OpenSSL makes: whole, split at each byte, over several records; and on broken ones. */
#include "net/hello.h"
#include "unit/tap.h"
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

static size_t make_hello(const char *name, int least, int most, uint8_t *out, size_t room) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, least);
    SSL_CTX_set_max_proto_version(ctx, most);
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *wire = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, wire);
    if (name) SSL_set_tlsext_host_name(ssl, name);
    SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    SSL_connect(ssl);
    int n = BIO_read(wire, out, (int)room);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    if (n <= 0) abort();
    return (size_t)n;
}

static enum hello_result read_copy(const uint8_t *p, size_t n, struct hello *h, size_t *need, const char **why) {
    static uint8_t *copy;
    free(copy);
    copy = malloc(n ? n : 1);
    if (!copy) abort();
    memcpy(copy, p, n);
    *need = 0;
    return hello_read(copy, n, h, need, why);
}

/* The same message in records of `piece` bytes. */
static size_t in_pieces(const uint8_t *p, size_t n, size_t piece, uint8_t *out) {
    size_t o = 0;
    for (size_t at = 5; at < n; at += piece) {
        size_t k = n - at < piece ? n - at : piece;
        memcpy(out + o, (uint8_t[]){22, 3, 1, (uint8_t)(k >> 8), (uint8_t)k}, 5);
        memcpy(out + o + 5, p + at, k);
        o += 5 + k;
    }
    return o;
}

static void test_split(const uint8_t *p, size_t n, const char *name, const char *what) {
    struct hello h;
    const char *why = "";
    size_t need, wrong = 0, sure = 0, asked = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += read_copy(p, i, &h, &need, &why) != HELLO_MORE || need <= i;
        if (i >= sure) asked++, sure = need;
    }
    ok(wrong == 0, "%s: each of %zu beginnings asks for more", what, n);
    ok(sure <= n, "%s: never for more than there is to come", what);
    ok(read_copy(p, n, &h, &need, &why) == HELLO_DONE && strcmp(h.sni, name) == 0, "%s: whole, for %s: %s", what, h.sni, why);
    ok(asked <= 8 || strstr(what, "small"), "%s: %zu bytes that come one by one are looked at %zu times", what, n, asked + 1);
}

static void test_good(void) {
    uint8_t hello[4096], cut[16384];
    struct hello h;
    size_t need, n = make_hello("Mail.Example.ORG", TLS1_2_VERSION, TLS1_3_VERSION, hello, sizeof hello);
    const char *why;
    test_split(hello, n, "mail.example.org", "TLS 1.3");
    ok(read_copy(hello, n, &h, &need, &why) == HELLO_DONE && h.tls13 && h.version == 0x0303, "it offers TLS 1.3");
    ok(h.alpn.n == 12 && memcmp(h.alpn.p, "\x02h2\x08http/1.1", 12) == 0, "the protocols stand there as they were sent");
    ok(h.ciphers.n >= 2 && h.algorithms.n >= 2 && h.extensions.n > 20, "ciphers, algorithms and extensions too");
    for (size_t piece = 1; piece < 200; piece = piece * 3 + 1) {
        size_t k = in_pieces(hello, n, piece, cut);
        test_split(cut, k, "mail.example.org", "in small records");
    }
    n = make_hello(NULL, TLS1_2_VERSION, TLS1_2_VERSION, hello, sizeof hello);
    ok(read_copy(hello, n, &h, &need, &why) == HELLO_DONE && !h.sni[0] && !h.tls13, "TLS 1.2 without a name");
    memcpy(hello + n, "\x14\x03\x03\x00\x01\x01", 6);
    ok(read_copy(hello, n + 6, &h, &need, &why) == HELLO_DONE, "a record behind it is not looked at");
}

/* Change the byte at `at`. */
static void bad_byte(const uint8_t *p, size_t n, size_t at, uint8_t to, const char *what) {
    uint8_t copy[4096];
    struct hello h;
    size_t need;
    const char *why = "";
    memcpy(copy, p, n);
    copy[at] = to;
    ok(read_copy(copy, n, &h, &need, &why) == HELLO_BAD && why && *why, "%s: %s", what, why ? why : "");
}

static size_t find(const uint8_t *p, size_t n, const char *text) {
    const uint8_t *hit = memmem(p, n, text, strlen(text));
    if (!hit) abort();
    return (size_t)(hit - p);
}

static void test_bad(void) {
    uint8_t hello[4096];
    size_t n = make_hello("mail.example.org", TLS1_2_VERSION, TLS1_3_VERSION, hello, sizeof hello),
           name = find(hello, n, "mail.example.org");
    struct hello h;
    size_t need;
    const char *why;
    bad_byte(hello, n, 0, 'G', "clear text");
    bad_byte(hello, n, 0, 23, "data before any handshake");
    bad_byte(hello, n, 1, 2, "SSL 2");
    bad_byte(hello, n, 3, 0xff, "a record over its bound");
    bad_byte(hello, n, 5, 2, "a ServerHello");
    bad_byte(hello, n, 6, 1, "a message of 64 KiB");
    bad_byte(hello, n, 9, 2, "a version before SSL 3");
    bad_byte(hello, n, 43, 33, "a session of 33 bytes");
    bad_byte(hello, n, 43, 255, "a session over the end");
    bad_byte(hello, n, name, ' ', "a blank in the name");
    bad_byte(hello, n, name + 3, 0, "a NUL in the name");
    bad_byte(hello, n, name, '.', "a name that begins with a dot");
    bad_byte(hello, n, name + 5, '.', "an empty label in the name"); /* found by the fuzzer: "a.." */
    bad_byte(hello, n, name - 1, 15, "a name shorter than its extension");
    bad_byte(hello, n, name - 3, 1, "a name of another type");
    bad_byte(hello, n, name - 7, 0xff, "an extension over the end");
    ok(read_copy((const uint8_t *)"\x16\x03\x01\x00\x00", 5, &h, &need, &why) == HELLO_BAD, "an empty record");
    ok(read_copy((const uint8_t *)"GET / HTTP/1.1\r\n", 16, &h, &need, &why) == HELLO_BAD, "HTTP");
    ok(read_copy((const uint8_t *)"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc", 9, &h, &need, &why) == HELLO_BAD, "a hello over 16384 bytes");
    memcpy(hello + n, hello + n - 4, 4);
    hello[4] = (uint8_t)(hello[4] + 4);
    ok(read_copy(hello, n + 4, &h, &need, &why) == HELLO_BAD, "bytes behind it in its record: %s", why);
}

int main(void) {
    test_good();
    test_bad();
    return tap_end();
}
