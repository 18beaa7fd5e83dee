/* Tokens: what was signed is what comes back, anything else is BAD; kinds are apart; keys rotate and run out. */
#include "svc/token.h"
#include "base/clock.h"
#include "unit/tap.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char path[300];
static const char target[] = "https://example.org/shop?item=7";
#define NOW 3000000u

static void write_ring(const char *text, mode_t mode) {
    unlink(path);
    FILE *f = fopen(path, "w");
    if (f == NULL) return;
    fputs(text, f);
    fclose(f);
    chmod(path, mode);
}

static struct token sample(uint8_t kind) {
    return (struct token){
        .kind = kind, .level = LEVEL_PERSONAL, .flags = 5, .campaign = 4242, .recipient = 123456789, .link = 17, .minute = NOW};
}

static ssize_t seal(struct token_ctx *c, const struct token *t, char out[TOKEN_MAX]) {
    struct err e;
    bool click = t->kind == TOKEN_CLICK;
    return token_seal(c, t, click ? target : NULL, click ? sizeof target - 1 : 0, out, &e);
}

static enum token_verdict reopen(struct token_ctx *c, int kind, const char *text, size_t n, struct token *out) {
    bool click = kind == TOKEN_CLICK;
    return token_open(c, (enum token_kind)kind, text, n, click ? target : NULL, click ? sizeof target - 1 : 0, NOW, out);
}

static void test_round_trip(struct token_ctx *c) {
    char text[TOKEN_MAX];
    for (uint8_t kind = TOKEN_OPEN; kind <= TOKEN_TRAP; kind++) {
        struct token t = sample(kind), got;
        ssize_t n = seal(c, &t, text);
        memset(&got, 0xff, sizeof got);
        bool same = n > 0 && reopen(c, kind, text, (size_t)n, &got) == TOKEN_OK && got.kind == kind && got.level == t.level &&
                    got.flags == t.flags && got.campaign == t.campaign && got.recipient == t.recipient && got.link == t.link &&
                    got.minute == t.minute && got.key_id == 1;
        ok(same, "kind %u comes back whole from %zd characters", kind, n);
        ok(n > 0 && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == (size_t)n && n < 40,
           "base64url without padding, short");
        int others = 0;
        for (int other = TOKEN_OPEN; other <= TOKEN_TRAP; other++)
            if (other != kind) others += reopen(c, other, text, (size_t)n, &got) == TOKEN_BAD;
        ok(others == 4, "and is BAD as any other kind");
    }
    int fine = 0;
    static const uint64_t edges[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX >> 1};
    for (unsigned i = 0; i < 8; i++)
        for (uint8_t level = LEVEL_OFF; level <= LEVEL_NETWORK; level++) {
            struct token t = {.kind = TOKEN_OPEN,
                              .level = level,
                              .flags = 31,
                              .campaign = edges[i],
                              .recipient = edges[7 - i],
                              .link = edges[i / 2],
                              .minute = UINT32_MAX},
                         got;
            ssize_t n = seal(c, &t, text);
            fine += n > 0 && reopen(c, TOKEN_OPEN, text, (size_t)n, &got) == TOKEN_OK && got.campaign == t.campaign &&
                    got.recipient == t.recipient && got.link == t.link && got.level == level && got.flags == 31 && got.minute == UINT32_MAX;
        }
    ok(fine == 40, "the edges of every field come back");
}

static void test_tampering(struct token_ctx *c) {
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/. \n%\0";
    for (uint8_t kind = TOKEN_OPEN; kind <= TOKEN_UNSUB; kind++) {
        char text[TOKEN_MAX], bad[TOKEN_MAX + 2];
        struct token t = sample(kind), got;
        size_t n = (size_t)seal(c, &t, text);
        unsigned tried = 0, taken = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < sizeof all - 1; k++) {
                if (all[k] == text[i]) continue;
                memcpy(bad, text, n);
                bad[i] = all[k];
                tried++;
                taken += reopen(c, kind, bad, n, &got) != TOKEN_BAD;
            }
        ok(tried > 2000 && taken == 0, "kind %u: no other character at any place is taken (%u tried)", kind, tried);
        for (size_t i = 0; i < n; i++) taken += reopen(c, kind, text, i, &got) != TOKEN_BAD;
        memcpy(bad, text, n);
        for (size_t k = 0; k < sizeof all - 1; k++) {
            bad[n] = all[k];
            taken += reopen(c, kind, bad, n + 1, &got) != TOKEN_BAD;
        }
        ok(taken == 0, "nor cut short, nor with something behind");
    }
    char text[TOKEN_MAX], other[400];
    struct token t = sample(TOKEN_CLICK), got;
    size_t n = (size_t)seal(c, &t, text);
    unsigned taken = 0;
    for (size_t i = 0; i < sizeof target - 1; i++) {
        memcpy(other, target, sizeof target);
        other[i] ^= 1;
        taken += token_open(c, TOKEN_CLICK, text, n, other, sizeof target - 1, NOW, &got) != TOKEN_BAD;
        taken += token_open(c, TOKEN_CLICK, text, n, target, i, NOW, &got) != TOKEN_BAD;
    }
    taken += token_open(c, TOKEN_CLICK, text, n, NULL, 0, NOW, &got) != TOKEN_BAD;
    snprintf(other, sizeof other, "%s&x=1", target);
    taken += token_open(c, TOKEN_CLICK, text, n, other, strlen(other), NOW, &got) != TOKEN_BAD;
    ok(taken == 0, "a click's target cannot be changed, cut or lengthened");
    t.kind = TOKEN_OPEN;
    n = (size_t)seal(c, &t, text);
    ok(token_open(c, TOKEN_OPEN, text, n, target, sizeof target - 1, NOW, &got) == TOKEN_BAD, "an open with a target is BAD");
    uint64_t before = token_bad_count(c);
    reopen(c, TOKEN_OPEN, "AAAA", 4, &got);
    ok(token_bad_count(c) == before + 1, "BAD verdicts are counted");
}

static void test_refusals(struct token_ctx *c) {
    char text[TOKEN_MAX];
    struct err e = {""};
    struct token t = sample(TOKEN_OPEN);
    t.level = 5;
    ok(token_seal(c, &t, NULL, 0, text, &e) < 0, "no such level: %s", e.text);
    t = sample(9);
    ok(token_seal(c, &t, NULL, 0, text, &e) < 0, "no such kind: %s", e.text);
    t = sample(TOKEN_OPEN);
    t.link = UINT64_MAX;
    ok(token_seal(c, &t, NULL, 0, text, &e) < 0, "numbers of 2^63 and above: %s", e.text);
    t = sample(TOKEN_OPEN);
    t.flags = 32;
    ok(token_seal(c, &t, NULL, 0, text, &e) < 0, "flags that do not fit: %s", e.text);
    t = sample(TOKEN_CLICK);
    char longest[TOKEN_TARGET_MAX + 2];
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "https://", 8);
    ok(token_seal(c, &t, longest, TOKEN_TARGET_MAX, text, &e) > 0 && token_seal(c, &t, longest, TOKEN_TARGET_MAX + 1, text, &e) < 0,
       "targets up to 2048 bytes: %s", e.text);
    static const char *const bad[] = {"",
                                      "example.org",
                                      "//example.org/",
                                      "/x",
                                      "ftp://example.org/",
                                      "javascript:alert(1)",
                                      "http://",
                                      "https:///x",
                                      "http://?x",
                                      "http://#",
                                      "http://@x/",
                                      "http://:80/",
                                      "https://a b/",
                                      "https://a\nb/",
                                      "https://a/\x7f",
                                      "https://a/\x01",
                                      "http:\\\\x",
                                      "https://\\x",
                                      " https://a/"};
    unsigned refused = 0;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        refused += token_seal(c, &t, bad[i], strlen(bad[i]), text, &e) < 0 && !token_target_ok(bad[i], strlen(bad[i]));
    ok(refused == sizeof bad / sizeof *bad, "targets that are no absolute http or https address: %u of %zu refused", refused,
       sizeof bad / sizeof *bad);
    ok(!token_target_ok("https://a/\0b", 12), "nor one with a NUL");
    static const char *const good[] = {"HTTP://Example.org", "https://[2001:db8::1]:8443/\xc3\xa9?a=%00#f", "http://x"};
    ok(token_target_ok(good[0], strlen(good[0])) && token_target_ok(good[1], strlen(good[1])) && token_target_ok(good[2], 8),
       "others are fine");
}

static int64_t fake_ms;
static int64_t fake_real(void) {
    return fake_ms;
}

static void test_ring(void) {
    struct err e = {""};
    struct stat st;
    unlink(path);
    ok(token_ring_load(path, false, &e) == NULL, "no ring: %s", e.text);
    struct token_ring *r = token_ring_load(path, true, &e);
    ok(r != NULL && stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "one is made, nobody else may read it");
    struct token_ctx *c = token_ctx_create(r);
    struct token t = sample(TOKEN_OPEN), got;
    char text[TOKEN_MAX], text2[TOKEN_MAX];
    size_t n = (size_t)seal(c, &t, text);
    token_ctx_free(c);
    token_ring_free(r);
    ok(token_ring_rotate(path, &e), "a new key %s", e.text);
    r = token_ring_load(path, false, &e);
    c = token_ctx_create(r);
    size_t n2 = (size_t)seal(c, &t, text2);
    ok(reopen(c, TOKEN_OPEN, text, n, &got) == TOKEN_OK && got.key_id == 1, "what the old key signed still verifies");
    ok(reopen(c, TOKEN_OPEN, text2, n2, &got) == TOKEN_OK && got.key_id == 2 && strcmp(text, text2) != 0,
       "new tokens are signed by the new one");
    uint32_t now = (uint32_t)((time(NULL) - 1577836800) / 60), day = 24 * 60;
    ok(token_open(c, TOKEN_OPEN, text, n, NULL, 0, now + 400 * day - 1, &got) == TOKEN_OK, "for 400 days");
    memset(&got, 0, sizeof got);
    ok(token_open(c, TOKEN_OPEN, text, n, NULL, 0, now + 400 * day + 2, &got) == TOKEN_EXPIRED && got.recipient == t.recipient,
       "then it is EXPIRED, and still says whom it is about");
    ok(token_open(c, TOKEN_OPEN, text2, n2, NULL, 0, now + 4000 * day, &got) == TOKEN_OK, "a key in use does not run out");
    token_ctx_free(c);
    token_ring_free(r);
    unlink(path);
    r = token_ring_load(path, true, &e);
    c = token_ctx_create(r);
    ok(reopen(c, TOKEN_OPEN, text, n, &got) == TOKEN_BAD, "another ring's key of the same id verifies nothing");
    token_ctx_free(c);
    token_ring_free(r);
    fake_ms = 1800000000000;
    clock_fake(NULL, fake_real);
    bool fine = true;
    for (int i = 0; i < 63; i++) fine = fine && token_ring_rotate(path, &e);
    ok(fine && !token_ring_rotate(path, &e), "64 keys at most: %s", e.text);
    clock_fake(NULL, NULL);
}

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
static void test_bad_rings(void) {
    static const struct {
        const char *what, *text;
    } bad[] = {{"nothing in it", "# only a comment\n"},
               {"a short key", "1 0011 1700000000 -\n"},
               {"capital digits", "1 00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff 1700000000 -\n"},
               {"an id above 255", "256 " HEX64 " 1700000000 -\n"},
               {"a negative id", "-1 " HEX64 " 1700000000 -\n"},
               {"an id twice", "1 " HEX64 " 1700000000 -\n1 " HEX64 " 1700000000 -\n"},
               {"three words", "1 " HEX64 " 1700000000\n"},
               {"five words", "1 " HEX64 " 1700000000 - x\n"},
               {"a bad date", "1 " HEX64 " yesterday -\n"},
               {"a bad retirement", "1 " HEX64 " 1700000000 soon\n"}};
    struct err e = {""};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_ring(bad[i].text, 0600);
        ok(token_ring_load(path, true, &e) == NULL && strstr(e.text, path) != NULL && strstr(e.text, "00112233") == NULL, "%s: %s",
           bad[i].what, e.text);
    }
    write_ring("1 " HEX64 " 1700000000 -\n", 0640);
    ok(token_ring_load(path, true, &e) == NULL, "readable by others: %s", e.text);
    write_ring("# c\r\n\r\n  7 " HEX64 "  1700000000   - \r\n9 " HEX64 " 1600000000 -", 0600);
    struct token_ring *r = token_ring_load(path, false, &e);
    struct token_ctx *c = r == NULL ? NULL : token_ctx_create(r);
    struct token t = sample(TOKEN_OPEN), got;
    char text[TOKEN_MAX];
    ssize_t n = c == NULL ? -1 : seal(c, &t, text);
    ok(n > 0 && reopen(c, TOKEN_OPEN, text, (size_t)n, &got) == TOKEN_OK && got.key_id == 7,
       "blanks, CR and comments are fine, the newest key signs %s", e.text);
    token_ctx_free(c);
    token_ring_free(r);
    write_ring("1 " HEX64 " 1700000000 1700000001\n", 0600);
    r = token_ring_load(path, false, &e);
    c = r == NULL ? NULL : token_ctx_create(r);
    ok(c != NULL && token_seal(c, &t, NULL, 0, text, &e) < 0, "all retired: nothing is signed: %s", e.text);
    token_ctx_free(c);
    token_ring_free(r);
    token_ctx_free(NULL);
    token_ring_free(NULL);
}

/* A token of a fixed key, made by another implementation (Python's hmac): the layout must never change under links that are out. */
static void test_fixed(void) {
    struct err e = {""};
    write_ring("1 " HEX64 " 1700000000 -\n", 0600);
    struct token_ring *r = token_ring_load(path, false, &e);
    struct token_ctx *c = token_ctx_create(r);
    struct token t = sample(TOKEN_CLICK), got;
    static const char want[] = "EgGSIZWa7zoRKwAtxsDU1KwJclAiZiWdDIU";
    char text[TOKEN_MAX];
    seal(c, &t, text);
    ok(strcmp(text, want) == 0 && reopen(c, TOKEN_CLICK, want, strlen(want), &got) == TOKEN_OK, "the known answer: %s", text);
    token_ctx_free(c);
    token_ring_free(r);
}

static void test_speed(struct token_ctx *c) {
    char text[TOKEN_MAX];
    struct token t = sample(TOKEN_OPEN), got;
    size_t n = (size_t)seal(c, &t, text);
    struct timespec a, b;
    int fine = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 200000; i++) fine += token_open(c, TOKEN_OPEN, text, n, NULL, 0, NOW, &got) == TOKEN_OK;
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("# %lld ns to verify a token\n", ((long long)(b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec) / 200000);
    ok(fine == 200000, "one context verifies again and again");
}

int main(void) {
    char dir[] = "/tmp/token-test-XXXXXX";
    if (mkdtemp(dir) == NULL) return 1;
    snprintf(path, sizeof path, "%s/tracker.keys", dir);
    struct err e = {""};
    struct token_ring *r = token_ring_load(path, true, &e);
    struct token_ctx *c = r == NULL ? NULL : token_ctx_create(r);
    if (!ok(c != NULL, "a key ring is made %s", e.text)) return tap_end();
    test_round_trip(c);
    test_tampering(c);
    test_refusals(c);
    test_speed(c);
    token_ctx_free(c);
    token_ring_free(r);
    test_ring();
    test_bad_rings();
    test_fixed();
    unlink(path);
    rmdir(dir);
    return tap_end();
}
