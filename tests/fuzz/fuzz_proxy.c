/* Fuzz target: bytes of a stranger as a PROXY header. One byte of control (which versions are taken), then the bytes. Each prefix is parsed from memory
 * of exactly its size: it is MORE up to one byte, and from there on what it then became, with the same result. What was read lies within the
 * header, and what can be written again reads the same. */
#include "net/proxy.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct proxy_text t, const char *p, size_t used) {
    if (t.n && (t.p < p || t.p + t.n > p + used)) abort();
}

static bool same(struct proxy_text a, struct proxy_text b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void compare(const struct proxy_header *a, const struct proxy_header *b) {
    if (!addr_same_ip(&a->from, &b->from) || !addr_same_ip(&a->to, &b->to) || a->from.port != b->from.port || a->to.port != b->to.port)
        abort();
    if (a->local != b->local || !same(a->alpn, b->alpn) || !same(a->authority, b->authority) || !same(a->unique_id, b->unique_id)) abort();
    if (a->ssl != b->ssl || a->tls != b->tls || a->cert != b->cert || a->cert_session != b->cert_session || a->verified != b->verified)
        abort();
    if (!same(a->tls_version, b->tls_version) || !same(a->cn, b->cn) || !same(a->cipher, b->cipher)) abort();
}

static void again(const struct proxy_header *h) {
    static char b[2 * PROXY_MAX];
    struct proxy_header back;
    size_t used, n;
    const char *why;
    if (h->from.family && h->from.family == h->to.family) {
        n = proxy_put_v1(b, &h->from, &h->to);
        if (proxy_parse(b, n, PROXY_V1, &back, &used, &why) != PROXY_DONE || used != n) abort();
        if (!addr_same_ip(&back.from, &h->from) || !addr_same_ip(&back.to, &h->to) || back.from.port != h->from.port) abort();
    } else if (h->from.family) return; /* one of them was mapped: no header can say this */
    n = proxy_put_v2(b, sizeof b, h, true);
    if (n == 0) abort();
    if (n > PROXY_MAX) return; /* a checksum more than was read */
    if (proxy_parse(b, n, PROXY_V2, &back, &used, &why) != PROXY_DONE || used != n) abort();
    compare(h, &back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > PROXY_MAX + 64) return 0;
    unsigned take = data[0] % 3 + 1;
    const char *p = (const char *)data + 1, *why, *other;
    size_t n = size - 1, used, at;
    struct proxy_header whole, part;
    enum proxy_result r = proxy_parse(p, n, take, &whole, &used, &why), now = PROXY_MORE;
    if (r == PROXY_DONE) {
        const struct proxy_text texts[] = {whole.alpn, whole.authority, whole.unique_id, whole.tls_version, whole.cn, whole.cipher};
        if (used == 0 || used > n || used > PROXY_MAX || (whole.version == 1 && used > PROXY_V1_MAX)) abort();
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) inside(texts[i], p, used);
        if (!(take & whole.version) || (whole.local && (whole.from.family || whole.ssl))) abort();
        again(&whole);
    } else if (used || (r == PROXY_BAD) != (why != NULL)) abort();
    for (size_t i = 0; i <= n; i += n > 300 && i > 120 && i + 200 < n ? 97 : 1) {
        char *exact = malloc(i ? i : 1);
        memcpy(exact, p, i);
        enum proxy_result was = now;
        size_t wants = proxy_wants(exact, i);
        now = proxy_parse(exact, i, take, &part, &at, &other);
        if (was != PROXY_MORE && now != was) abort();
        if (now == PROXY_BAD && other != why) abort();
        if (now == PROXY_MORE && (wants == 0 || i + wants > PROXY_MAX || (r == PROXY_DONE && i + wants > used))) abort();
        if (now == PROXY_DONE && (at != used || i < used)) abort();
        free(exact);
    }
    if (now != r || (r == PROXY_MORE && n >= PROXY_MAX)) abort();
    return 0;
}
