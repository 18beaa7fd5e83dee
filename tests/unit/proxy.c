/* The PROXY protocol's parser and writer: the good and bad vectors of tests/e2e/data/proxy.txt, each cut at every byte and with something behind
 * it; headers that the writer makes; damaged headers. */
#include "net/proxy.h"
#include "net/proxy_i.h"
#include "unit/tap.h"
#include <stdlib.h>

#define BOTH (PROXY_V1 | PROXY_V2)

struct vector {
    bool good;
    char name[128], expect[512];
    char p[8192];
    size_t n;
};

static size_t unescape(const char *s, char *out) {
    size_t n = 0;
    while (*s) {
        unsigned c = (unsigned char)*s, times = 1;
        int used = 1;
        if (c == '\\') {
            used = 2;
            if (s[1] == 'x') sscanf(s + 2, "%2x", &c), used = 4;
            else if (s[1] == '{') sscanf(s + 2, "%2x*%u}%n", &c, &times, &used), used += 2;
            else c = s[1] == 'r' ? '\r' : s[1] == 'n' ? '\n' : '\\';
        }
        memset(out + n, (int)c, times);
        n += times;
        s += used;
    }
    return n;
}

static void put(char *out, size_t cap, const char *key, struct proxy_text t) {
    size_t n = strlen(out);
    if (t.n) snprintf(out + n, cap - n, " %s=%.*s", key, (int)t.n, t.p);
}

static void say(const struct proxy_header *h, char *out, size_t cap) {
    char a[ADDR_TEXT] = "-", b[ADDR_TEXT] = "-";
    if (h->from.family) addr_format(&h->from, a);
    if (h->to.family) addr_format(&h->to, b);
    snprintf(out, cap, "%s %s%s", a, b, h->local ? " local" : "");
    put(out, cap, "alpn", h->alpn);
    put(out, cap, "authority", h->authority);
    put(out, cap, "unique_id", h->unique_id);
    if (h->ssl) {
        char flags[64];
        snprintf(flags, sizeof flags, "%s%s%s%s", h->tls ? "tls," : "", h->cert ? "cert," : "", h->cert_session ? "session," : "",
                 h->verified ? "verified," : "");
        size_t n = strlen(flags);
        if (n) flags[n - 1] = '\0';
        snprintf(out + strlen(out), cap - strlen(out), " ssl=%s", flags);
    }
    put(out, cap, "version", h->tls_version);
    put(out, cap, "cn", h->cn);
    put(out, cap, "cipher", h->cipher);
}

/* Nothing before the end is anything but MORE; from the deciding byte on nothing changes any more. Returns the deciding length, 0 = wrong. */
static size_t decided_at(const struct vector *v, enum proxy_result want) {
    struct proxy_header h;
    const char *why, *first = NULL;
    size_t used, at = 0;
    for (size_t n = 0; n <= v->n; n++) {
        char *exact = malloc(n ? n : 1); /* so that the sanitizer sees a read too far */
        memcpy(exact, v->p, n);
        enum proxy_result r = proxy_parse(exact, n, BOTH, &h, &used, &why);
        free(exact);
        if (r == PROXY_MORE && at) return 0;
        if (r == PROXY_MORE && want == PROXY_DONE && n + proxy_wants(v->p, n) > v->n) return 0;
        if (r == PROXY_MORE) continue;
        if (r != want || (r == PROXY_DONE && used != n && !at)) return 0;
        if (r == PROXY_BAD && (used || !why || (first && strcmp(first, why) != 0))) return 0;
        if (!at) at = n, first = why;
    }
    return at;
}

static void check(struct vector *v) {
    struct proxy_header h;
    const char *why;
    size_t used;
    char got[512];
    if (!v->good) {
        enum proxy_result r = proxy_parse(v->p, v->n, BOTH, &h, &used, &why);
        ok(r == PROXY_BAD && why && strstr(why, v->expect), "bad: %s (%s)", v->name, why ? why : "taken, or waited for");
        size_t at = decided_at(v, PROXY_BAD);
        ok(at, "… bad from one byte on (%zu of %zu), and from there on always for the same reason", at, v->n);
        return;
    }
    size_t n = v->n, at = decided_at(v, PROXY_DONE);
    memcpy(v->p + n, "GET / HTTP/1.1\r\n\r\n", 18);
    enum proxy_result r = proxy_parse(v->p, n + 18, BOTH, &h, &used, &why);
    say(&h, got, sizeof got);
    ok(r == PROXY_DONE && used == n && strcmp(got, v->expect) == 0, "good: %s (%s)", v->name, why ? why : got);
    ok(at == n, "… whole with its last byte and not before (%zu of %zu)", at, n);
    ok(h.version == (v->p[0] == 'P' ? 1 : 2) && proxy_parse(v->p, n, h.version == 1 ? PROXY_V2 : PROXY_V1, &h, &used, &why) == PROXY_BAD,
       "… and refused where the other version alone is taken (%s)", why);
}

static bool read_vectors(void) {
    static char line[16384];
    static struct vector v;
    FILE *f = fopen("tests/e2e/data/proxy.txt", "r");
    int n = 0;
    while (f && fgets(line, sizeof line, f)) {
        char *word = strtok(line, "\t"), *name = strtok(NULL, "\t"), *data = strtok(NULL, "\t"), *expect = strtok(NULL, "\t\n");
        if (line[0] == '#' || !expect) continue;
        v.good = strcmp(word, "good") == 0;
        snprintf(v.name, sizeof v.name, "%s", name);
        snprintf(v.expect, sizeof v.expect, "%s", expect);
        v.n = unescape(data, v.p);
        check(&v);
        n++;
    }
    if (f) fclose(f);
    return n > 100;
}

#define TEXT(s) \
    { s, sizeof s - 1 }

static void check_writer(void) {
    struct proxy_header in = {.from = {.family = 4, .port = 1234, .ip = {192, 0, 2, 1}},
                              .to = {.family = 4, .port = 25, .ip = {198, 51, 100, 7}}},
                        out;
    struct addr six = {.family = 6, .port = 65535, .ip = {0x20, 1, 0xd, 0xb8, [15] = 1}},
                compat = {.family = 6, .ip = {[12] = 192, 0, 2, 1}}, none = {0};
    char b[PROXY_MAX];
    const char *why;
    size_t used, n = proxy_put_v1(b, &in.from, &in.to);
    ok(n == 43 && memcmp(b, "PROXY TCP4 192.0.2.1 198.51.100.7 1234 25\r\n", 43) == 0 &&
           proxy_parse(b, n, PROXY_V1, &out, &used, &why) == PROXY_DONE && used == n,
       "writer: a line of version 1, %.*s", (int)n - 2, b);
    n = proxy_put_v1(b, &six, &compat);
    ok(proxy_parse(b, n, PROXY_V1, &out, &used, &why) == PROXY_DONE && addr_same_ip(&out.from, &six) && addr_same_ip(&out.to, &compat) &&
           out.from.port == 65535,
       "writer: IPv6 without dots, %.*s", (int)n - 2, b);
    n = proxy_put_v1(b, &six, &in.to);
    ok(n == 15 && memcmp(b, "PROXY UNKNOWN\r\n", 15) == 0, "writer: two families are nobody's");
    in.ssl = in.tls = in.cert = in.verified = true;
    in.authority = (struct proxy_text)TEXT("www.example.org");
    in.alpn = (struct proxy_text)TEXT("h2");
    in.unique_id = (struct proxy_text)TEXT("id");
    in.tls_version = (struct proxy_text)TEXT("TLSv1.3");
    in.cn = (struct proxy_text)TEXT("Ada");
    in.cipher = (struct proxy_text)TEXT("TLS_AES_128_GCM_SHA256");
    n = proxy_put_v2(b, sizeof b, &in, true);
    char want[512], got[512];
    say(&in, want, sizeof want);
    enum proxy_result r = proxy_parse(b, n, PROXY_V2, &out, &used, &why);
    say(&out, got, sizeof got);
    ok(r == PROXY_DONE && used == n && strcmp(want, got) == 0, "writer: version 2 with everything comes back as it was (%s)",
       why ? why : got);
    unsigned taken = 0, same = 0;
    for (size_t i = 0; i < n * 8; i++) {
        if (i / 8 == n - 7) continue; /* the checksum's own type: without it there is none */
        b[i / 8] = (char)(b[i / 8] ^ 1 << i % 8);
        taken += proxy_parse(b, n, BOTH, &out, &used, &why) == PROXY_DONE && used == n && !out.local;
        b[i / 8] = (char)(b[i / 8] ^ 1 << i % 8);
    }
    ok(taken == 0, "with a checksum none of %zu damaged bits gives a header (%u do)", n * 8, taken);
    for (size_t cap = 0; cap < n; cap++) same += proxy_put_v2(b, cap, &in, true) != 0;
    ok(same == 0, "writer: what does not fit is not written");
    in.local = true;
    n = proxy_put_v2(b, sizeof b, &in, false);
    ok(proxy_parse(b, n, PROXY_V2, &out, &used, &why) == PROXY_DONE && out.local && !out.from.family, "writer: LOCAL names nobody");
    in.local = false;
    in.from = none;
    n = proxy_put_v2(b, sizeof b, &in, false);
    ok(proxy_parse(b, n, PROXY_V2, &out, &used, &why) == PROXY_DONE && !out.local && !out.from.family, "writer: no address is UNSPEC");
}

int main(void) {
    ok(proxy_crc32c(0, "123456789", 9) == 0xe3069283, "CRC32c of the check string");
    ok(read_vectors(), "tests/e2e/data/proxy.txt has its vectors");
    check_writer();
    return tap_end();
}
