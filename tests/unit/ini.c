/* What the oracle (tests/plan/test_ini_oracle.py) cannot say: places, flags, refusals, bounds. */
#include "plan/ini.h"
#include "base/buf.h"
#include "unit/tap.h"
#include <stdlib.h>

static struct ini parsed(const char *text) {
    struct ini i = {0};
    struct err e = {""};
    if (!ini_parse(text, strlen(text), "conf/x.ini", &i, &e)) ok(0, "is read: %.300s", e.text);
    return i;
}

static bool is(const struct ini *i, const char *key, const char *value) {
    const struct ini_entry *x = ini_find(i, key);
    return x && x->value_n == strlen(value) && strcmp(x->value, value) == 0;
}

static void check_lines(void) {
    static const struct {
        const char *text;
        uint32_t line[4]; /* of each entry; 0 = no more */
        const char *what;
    } c[] = {
        {"a=1\nb=2\n\nc=3", {1, 2, 4}, "LF"},
        {"a=1\rb=2\r\rc=3", {1, 2, 4}, "CR"},
        {"a=1\r\nb=2\r\n\r\nc=3", {1, 2, 4}, "CRLF"},
        {"a=1\n\rb=2\r\nc=3", {1, 3, 4}, "LF CR is two ends"},
        {"# x\n! y\n  a=1\n#z\r\nb=2", {3, 5}, "comments count"},
        {"a=1,\\\n2,\\\n3\nb=2", {1, 4}, "continued lines count"},
        {"a=1,\\\r\n2,\\\r3\nb=2", {1, 4}, "continued CRLF and CR count"},
        {"\\\n\\\n  a=1\nb=2", {3, 4}, "an entry begins where its key does"},
        {"\\\n# c\nb=1", {3}, "comment behind a lone backslash"},
        {"Po\\\n rt\\\n = 1\nb=2", {1, 4}, "a key over lines begins on its first"},
        {"\xef\xbb\xbf\na=1", {2}, "BOM"},
        {"\xe4=1\n\xe4\xe4=2\n", {1, 2}, "Latin-1"},
        {"a=\\u000a\nb=1", {1, 2}, "an escaped line end is none"},
    };
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        struct ini i = parsed(c[k].text);
        bool same = i.n < 4 && c[k].line[i.n] == 0;
        for (uint32_t n = 0; same && n < i.n; n++) same = i.entry[n].line == c[k].line[n];
        ok(same, "I1 I2 I5: lines with %s", c[k].what);
        ini_finish(&i);
    }
}

static void check_flags(void) {
    struct ini i = parsed("Port=1\nx=1\nPort=2\nport=3\nPort=4\n\\u0050ort=5\n");
    ok(i.n == 6 && i.entry[0].dup_of == 0 && i.entry[2].dup_of == 1 && i.entry[3].dup_of == 0 && i.entry[4].dup_of == 3 &&
           i.entry[5].dup_of == 5,
       "I6: each replaces the one before it, keys are case-sensitive");
    ok(is(&i, "Port", "5") && ini_find(&i, "Port")->line == 6 && is(&i, "port", "3") && !ini_find(&i, "PORT"), "I6: the last is in force");
    ini_finish(&i);
    i = parsed("a=C:\\\\x\\ty\\ \\=\\:\\\"\\'\\u0041\nb=C:\\x\n\\q=1\nc=\\#\n");
    ok(!i.entry[0].bad_escape && i.entry[1].bad_escape && i.entry[2].bad_escape && i.entry[3].bad_escape,
       "I4: an escape outside the table is marked");
    ok(is(&i, "a", "C:\\x\ty =:\"'A") && is(&i, "b", "C:x") && is(&i, "q", "1"), "I4: and loses its backslash");
    ini_finish(&i);
    i = parsed("a=\xe4");
    ok(i.latin1 && is(&i, "a", "ä"), "I7: Latin-1");
    ini_finish(&i);
    i = parsed("a=ä");
    ok(!i.latin1 && is(&i, "a", "ä"), "I7: UTF-8");
    ini_finish(&i);
    i = parsed("Port=8080 \t\n");
    ok(is(&i, "Port", "8080 \t"), "I8: trailing blanks are kept here");
    ini_finish(&i);
    i = parsed("");
    ok(i.n == 0 && !ini_find(&i, ""), "nothing in an empty file");
    ini_finish(&i);
    ini_finish(&i);
    ok(1, "finishing twice is legal");
}

static void check_counted(void) {
    struct ini i = parsed("a\\u0000b=x\\u0000y\na\\u0000c=2\na=3\n");
    ok(i.n == 3 && i.entry[0].key_n == 3 && memcmp(i.entry[0].key, "a\0b", 4) == 0 && i.entry[0].value_n == 3 &&
           memcmp(i.entry[0].value, "x\0y", 4) == 0,
       "I4: NUL counts");
    ok(i.entry[1].dup_of == 0 && i.entry[2].dup_of == 0 && is(&i, "a", "3"), "I6: keys with NUL are not cut short");
    ini_finish(&i);
    i = parsed("a=\\ud83d\\ude00\nb=\\ud83d\nc=\\ude00\\ud83d\n");
    ok(is(&i, "a", "\xf0\x9f\x98\x80") && is(&i, "b", "\xed\xa0\xbd") && is(&i, "c", "\xed\xb8\x80\xed\xa0\xbd"),
       "I4: surrogates join, lone ones stay");
    ini_finish(&i);
}

static void check_special(void) {
    static const struct {
        const char *line, *key, *value;
        bool special;
    } c[] = {
        {"Secure-[fe80::1]=x", "Secure-[fe80::1]", "x", true},
        {" Secure-[fe80::1%eth0]: x", "Secure-[fe80::1%eth0]", "x", true},
        {"Secure-[::1] x", "Secure-[::1]", "x", true},
        {"Secure-[::1]", "Secure-[::1]", "", true},
        {"Secure-[fe80\\::1]=x", "Secure-[fe80::1]", "x", true},
        {"Secure-[fe80\\:\\:1]=x", "Secure-[fe80::1]", "x", false},
        {"Secure-fe80\\:\\:1=x", "Secure-fe80::1", "x", false},
        {"Secure-[::1]:443=x", "Secure-[::1]", "443=x", true},
        {"Secure-fe80::1=x", "Secure-fe80", ":1=x", false},
        {"Secure-[fe80::1=x", "Secure-[fe80", ":1=x", false},
        {"Secure-[fe80::1 ]=x", "Secure-[fe80", ":1 ]=x", false},
        {"Secure-[fe80=::1]", "Secure-[fe80", "::1]", false},
        {"secure-[::1]=x", "secure-[", ":1]=x", false},
        {"Secure-[192.0.2.1]=x", "Secure-[192.0.2.1]", "x", false},
        {"Secure-[a\\]:b]=x", "Secure-[a]:b]", "x", true},
        {"Secure-[", "Secure-[", "", false},
        {"Secure-[:\\", "Secure-[", "", false},
    };
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        struct ini i = parsed(c[k].line);
        ok(i.n == 1 && is(&i, c[k].key, c[k].value) && i.entry[0].special == c[k].special, "M7 I3: %s is %s and %s", c[k].line, c[k].key,
           c[k].value);
        ini_finish(&i);
    }
}

static void refused(const char *text, size_t n, const char *where) {
    struct ini i = {0};
    struct err e = {""};
    bool fine = ini_parse(text, n, "conf/x.ini", &i, &e);
    ok(!fine && !i.entry && strncmp(e.text, where, strlen(where)) == 0, "refused with %.300s", e.text);
    ini_finish(&i);
}

static void check_refusals(void) {
    refused("a=1\nb=\\u00g1\n", 13, "conf/x.ini:2: \"\\u00g1\""); /* I4 */
    refused("a=1\n\n\\u12=1", 11, "conf/x.ini:3: \"\\u12\"");     /* I4 */
    refused("a=\\u", 4, "conf/x.ini:1: \"\\u\"");                 /* I4 */
    refused("a=1,\\\n\\u1", 10, "conf/x.ini:1: \"\\u1\"");        /* I4 I5: the line on which the entry begins */
    struct buf b = {0};
    for (unsigned n = 0; n <= INI_MAX_ENTRIES; n++) buf_str(&b, "a\n");
    refused(b.p, b.n, "conf/x.ini:65537: more than 65536 entries");
    struct ini i = {0};
    ok(ini_parse(b.p, b.n - 2, "x", &i, NULL) && i.n == INI_MAX_ENTRIES && i.entry[i.n - 1].dup_of == INI_MAX_ENTRIES - 1,
       "65,536 entries are read");
    ini_finish(&i);
    while (b.n <= INI_MAX_BYTES) buf_str(&b, "# padding padding padding padding padding padding padding padding\n");
    refused(b.p, b.n, "conf/x.ini: ");
    buf_free(&b);
}

int main(void) {
    check_lines();
    check_flags();
    check_counted();
    check_special();
    check_refusals();
    return tap_end();
}
