#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/utf8.h"
#include "unit/tap.h"
#include <stdlib.h>

static bool is(const struct buf *b, const char *want) {
    return b->n == strlen(want) && memcmp(b->p, want, b->n) == 0;
}

static void check_growth(void) {
    struct buf b = {0};
    bool fine = true;
    for (int i = 0; i < 20000; i++) fine = fine && buf_fmt(&b, "%d,", i % 10);
    ok(fine && b.n == 40000 && b.p[39999] == ',' && b.p[0] == '0', "grows");
    buf_drop(&b, 39996);
    ok(is(&b, "8,9,"), "drops from the front");
    buf_drop(&b, 99);
    ok(b.n == 0, "drops everything");
    buf_free(&b);
    ok(!b.p && b.cap == 0, "free leaves it empty");
    struct buf small = {.max = 10};
    ok(buf_str(&small, "123456789") && !buf_str(&small, "ab") && is(&small, "123456789"), "past max an append fails and changes nothing");
    ok(!buf_fmt(&small, "%d", 12345) && !buf_json(&small, "x", 1) && is(&small, "123456789"), "the same for fmt and json");
    ok(buf_add(&small, "0", 1) && small.n == 10 && small.cap <= 10, "max itself is reached");
    ok(!buf_reserve(&small, SIZE_MAX), "an absurd length is refused");
    buf_free(&small);
}

static void check_fmt(void) {
    struct buf b = {0};
    for (int n = 0; n < 300; n++) {
        char want[512];
        buf_clear(&b);
        buf_str(&b, "ab");
        buf_fmt(&b, "%*d", n, 7);
        snprintf(want, sizeof want, "ab%*d", n, 7);
        if (!is(&b, want)) {
            ok(0, "fmt of width %d", n);
            break;
        }
    }
    ok(b.n == 301, "fmt at every fill");
    buf_free(&b);
}

static void check_member(void) {
    struct buf b = {0};
    ok(buf_str(&b, "{") && buf_member(&b, "a", "x\"y") && buf_member(&b, "b", "") && is(&b, "{\"a\":\"x\\\"y\",\"b\":\"\""),
       "the second member stands behind a comma");
    ok(buf_str(&b, ",\"c\":[{") && buf_member(&b, "d", "{") && buf_str(&b, "},") && buf_member(&b, "e", "f") &&
           is(&b, "{\"a\":\"x\\\"y\",\"b\":\"\",\"c\":[{\"d\":\"{\"},\"e\":\"f\""),
       "where there is a comma or nothing in front, none is added");
    buf_free(&b);
    struct buf small = {.max = 8};
    ok(buf_str(&small, "{") && !buf_member(&small, "a", "long") && is(&small, "{"), "no room: nothing is added");
    buf_free(&small);
}

static void check_json(void) {
    static const struct {
        const char *in;
        size_t n;
        const char *out;
    } c[] = {
        {"", 0, "\"\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\b\f\n\r\t\x01\x1f\x7f", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"ä€😀", 9, "\"ä€😀\""},
        {"\xff", 1, "\"\xef\xbf\xbd\""},
        {"\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf4\x90\x80\x80", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xc2\x9b"
         "31m \xe2\x80\xae \xe2\x81\xa6 \xe2\x82\xac",
         17, "\"\\u009b31m \\u202e \\u2066 \xe2\x82\xac\""}, /* terminals obey these */
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct buf b = {0};
        ok(buf_json(&b, c[i].in, c[i].n) && is(&b, c[i].out), "json text %zu", i);
        buf_free(&b);
    }
}

static void check_utf8(void) {
    uint32_t bad = 0;
    char s[4];
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        size_t n = utf8_put(cp, s);
        bool surrogate = cp >= 0xd800 && cp <= 0xdfff;
        if (utf8_len(s, n) != (surrogate ? 0 : n) || (n > 1 && utf8_len(s, n - 1) != 0)) bad++;
    }
    ok(bad == 0, "every code point is written and known again, cut ones and surrogates are not");
    char hostile[] = "a\tb\n\x1b[31mred\x1b]0;x\x07\x7f \xc2\x9b"
                     "1m \x9b €\xe2\x82\r";
    utf8_tame(hostile, sizeof hostile - 1);
    ok(strcmp(hostile, "a\tb\n?[31mred?]0;x?? ??1m ? €???") == 0, "what would order a terminal about is tamed: %s", hostile);
    ok(utf8_shown("ab\ncd", 5, 80) == 2 && utf8_shown("a€€", 7, 6) == 4 && utf8_shown("a\xff", 2, 80) == 1,
       "shown: whole printable characters only");
}

static void check_err(void) {
    struct err e;
    char longer[3000];
    ok(!err_at(&e, "conf/tomcat.ini", 7, "Port %d", 3) && strcmp(e.text, "conf/tomcat.ini:7: Port 3") == 0, "file and line in front");
    ok(!err_at(&e, "x", 0, "%s", e.text) && strcmp(e.text, "x: conf/tomcat.ini:7: Port 3") == 0, "line 0 is left out; may wrap itself");
    ok(!err_set(NULL, "%d", 1) && !err_at(NULL, "a", 1, "b"), "NULL is legal");
    for (int shift = 0; shift < 3; shift++) {
        memset(longer, 'a', sizeof longer);
        longer[sizeof longer - 1] = 0;
        for (int i = 900; i < 1100; i += 3) memcpy(longer + i + shift, "€", 3);
        err_set(&e, "%s", longer);
        size_t n = strlen(e.text);
        ok(n < sizeof e.text && n > sizeof e.text - 8 && utf8_valid(e.text, n) && strcmp(e.text + n - 3, "…") == 0,
           "cut to whole characters, with an ellipsis");
    }
}

static int64_t fixed(void) {
    return 42;
}

static void check_clock(void) {
    int64_t a = clock_mono_ms(), r = clock_real_ms();
    ok(a > 0 && clock_mono_ms() >= a && r > 1500000000000, "clocks run");
    clock_fake(fixed, fixed);
    ok(clock_mono_ms() == 42 && clock_real_ms() == 42, "a test's clock");
    clock_fake(NULL, NULL);
    ok(clock_real_ms() >= r, "the real one again");
}

int main(void) {
    check_growth();
    check_fmt();
    check_json();
    check_member();
    check_utf8();
    check_err();
    check_clock();
    return tap_end();
}
