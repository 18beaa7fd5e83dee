#include "plan/alist.h"
#include "base/buf.h"
#include "base/clock.h"
#include "unit/tap.h"
#include <stdlib.h>

struct list {
    const char *name, *text;
    size_t n; /* 0 = strlen */
};

static bool fetch(void *ctx, const char *name, struct alist_text *out) {
    static char shown[64][100]; /* the set names lists while it is built */
    const struct list *first = ctx;
    for (const struct list *l = first; l->name; l++) {
        if (strcmp(l->name, name) != 0) continue;
        size_t at = (size_t)(l - first) % 64;
        snprintf(shown[at], sizeof shown[at], "lists/%s.list", name);
        *out = (struct alist_text){.text = l->text, .n = l->n ? l->n : strlen(l->text), .display = shown[at]};
        return true;
    }
    return false;
}

/* "in clients.list:3", "out clients.list:4", "out" */
static const char *ask(const struct pset *s, const char *address) {
    static char text[200];
    struct addr a;
    if (!addr_parse_ip(address, strlen(address), &a, NULL)) return "bad question";
    struct pset_hit h = pset_find(s, &a);
    if (h.line) snprintf(text, sizeof text, "%s %s:%u", h.in ? "in" : "out", pset_source(s, h.source), h.line);
    else snprintf(text, sizeof text, "%s", h.in ? "in" : "out");
    return text;
}

static void expect(const struct list *lists, const char *const (*want)[2], const char *what) {
    struct err e = {""};
    struct pset *s = alist_load("a", fetch, (void *)(uintptr_t)lists, &e);
    if (!ok(s != NULL, "%s: loads %.300s", what, e.text)) return;
    for (; (*want)[0]; want++)
        ok(strcmp(ask(s, (*want)[0]), (*want)[1]) == 0, "%s: %s is %s, is %s", what, (*want)[0], (*want)[1], ask(s, (*want)[0]));
    pset_destroy(s);
}

static void check_forms(void) {
    static const struct list lists[] = {
        {"a",
         "; people\n\n192.0.2.1\n198.51.100.10-198.51.100.20 ; a range\n  203.0.113.0/24\t; a net\r\n10.0.0.0/8\r2001:db8::/32\n"
         "fe80::1 - fe80::ff\n::1/128\n128.0.0.0/1\n8000::/1\n203.0.113.9/32",
         0},
        {0}};
    static const char *const want[][2] = {{"192.0.2.1", "in lists/a.list:10"},
                                          {"128.0.0.0", "in lists/a.list:10"},
                                          {"127.255.255.255", "out"},
                                          {"198.51.100.9", "in lists/a.list:10"},
                                          {"198.51.100.10", "in lists/a.list:10"},
                                          {"10.0.0.0", "in lists/a.list:6"},
                                          {"10.255.255.255", "in lists/a.list:6"},
                                          {"11.0.0.0", "out"},
                                          {"9.255.255.255", "out"},
                                          {"2001:db8::", "in lists/a.list:7"},
                                          {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "in lists/a.list:7"},
                                          {"2001:db9::", "out"},
                                          {"fe80::1", "in lists/a.list:11"},
                                          {"::1", "in lists/a.list:9"},
                                          {"::2", "out"},
                                          {"7fff::", "out"},
                                          {"203.0.113.9", "in lists/a.list:12"},
                                          {"203.0.113.8", "in lists/a.list:10"},
                                          {NULL, NULL}};
    static const char *const exact[][2] = {{"192.0.2.1", "in lists/a.list:3"},
                                           {"198.51.100.9", "out"},
                                           {"198.51.100.10", "in lists/a.list:4"},
                                           {"198.51.100.20", "in lists/a.list:4"},
                                           {"198.51.100.21", "out"},
                                           {"203.0.113.0", "in lists/a.list:5"},
                                           {"203.0.113.255", "in lists/a.list:5"},
                                           {"203.0.114.0", "out"},
                                           {"fe80::", "out"},
                                           {"fe80::1", "in lists/a.list:6"},
                                           {"fe80::ff", "in lists/a.list:6"},
                                           {"fe80::100", "out"},
                                           {NULL, NULL}};
    static const struct list narrow[] = {
        {"a", "; people\n\n192.0.2.1\n198.51.100.10-198.51.100.20 ; a range\n  203.0.113.0/24\t; a net\r\nfe80::1 - fe80::ff", 0}, {0}};
    static const struct list bom[] = {{"a",
                                       "\xef\xbb\xbf"
                                       "192.0.2.1",
                                       0},
                                      {0}};
    static const char *const one[][2] = {{"192.0.2.1", "in lists/a.list:1"}, {NULL, NULL}};
    static const char *const none[][2] = {{"192.0.2.1", "out"}, {NULL, NULL}};
    static const struct list empty[] = {{"a", "", 0}, {0}}, blank[] = {{"a", "\n \t\n;192.0.2.1\n", 0}, {0}};
    expect(lists, want, "L1");
    expect(narrow, exact, "L1 L3");
    expect(bom, one, "BOM");
    expect(empty, none, "L3 empty list");
    expect(blank, none, "L3 comments and blanks only");
}

static void check_order(void) {
    static const struct list lists[] = {
        {"a", "10.0.0.0/8\n!10.1.0.0/16\n10.1.2.0/24\n! 10.1.2.3 ; one\n!192.0.2.1\n192.0.2.0/24\n!192.0.2.9-192.0.2.11", 0}, {0}};
    static const char *const want[][2] = {{"10.0.0.1", "in lists/a.list:1"},
                                          {"10.1.0.1", "out lists/a.list:2"},
                                          {"10.1.2.1", "in lists/a.list:3"},
                                          {"10.1.2.3", "out lists/a.list:4"},
                                          {"10.1.2.4", "in lists/a.list:3"},
                                          {"10.1.3.0", "out lists/a.list:2"},
                                          {"192.0.2.1", "in lists/a.list:6"},
                                          {"192.0.2.10", "out lists/a.list:7"},
                                          {"192.0.2.12", "in lists/a.list:6"},
                                          {"198.51.100.1", "out"},
                                          {NULL, NULL}};
    expect(lists, want, "L2");
}

static void check_mapped(void) {
    static const struct list lists[] = {
        {"a", "::ffff:192.0.2.0/120\n::ffff:198.51.100.1\n::ffff:10.0.0.1-::ffff:10.0.0.5\n!192.0.2.7\n", 0}, {0}};
    static const struct list all[] = {{"a", "::ffff:0:0/96\n", 0}, {0}},
                             six[] = {{"a", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0}, {0}};
    static const char *const want[][2] = {{"192.0.2.1", "in lists/a.list:1"},
                                          {"::ffff:192.0.2.255", "in lists/a.list:1"},
                                          {"192.0.3.0", "out"},
                                          {"198.51.100.1", "in lists/a.list:2"},
                                          {"::ffff:10.0.0.5", "in lists/a.list:3"},
                                          {"10.0.0.6", "out"},
                                          {"::ffff:192.0.2.7", "out lists/a.list:4"},
                                          {NULL, NULL}};
    static const char *const every4[][2] = {
        {"0.0.0.0", "in lists/a.list:1"}, {"255.255.255.255", "in lists/a.list:1"}, {"::1", "out"}, {NULL, NULL}};
    static const char *const every6[][2] = {{"::", "in lists/a.list:1"}, {"::1", "in lists/a.list:1"}, {"192.0.2.1", "out"}, {NULL, NULL}};
    expect(lists, want, "L5");
    expect(all, every4, "L5 the whole mapped block");
    expect(six, every6, "all of IPv6");
}

static void check_includes(void) {
    static const struct list lists[] = {{"a", "192.0.2.0/24\n#b ; others\n!10.0.0.9\n#c\n#c", 0},
                                        {"b", ";\n10.0.0.0/24\n!192.0.2.5\n# c\n", 0},
                                        {"c", "172.16.0.1\n", 0},
                                        {0}};
    static const char *const want[][2] = {{"192.0.2.1", "in lists/a.list:1"},  {"10.0.0.1", "in lists/b.list:2"},
                                          {"192.0.2.5", "out lists/b.list:3"}, {"10.0.0.9", "out lists/a.list:3"},
                                          {"172.16.0.1", "in lists/c.list:1"}, {NULL, NULL}};
    expect(lists, want, "L4");
}

static void refused(const char *text, size_t n, const char *line, const char *words) {
    struct list lists[] = {{"a", text, n}, {"b", "10.0.0.1\n\n#c", 0}, {"c", "#b", 0}, {"bad", "\n1.2.3", 0}, {"deep", "#deep2", 0}, {0}};
    struct err e = {""};
    struct pset *s = alist_load("a", fetch, lists, &e);
    ok(!s && strncmp(e.text, line, strlen(line)) == 0 && strstr(e.text, words), "refused with %.400s", e.text);
    pset_destroy(s);
}

static void check_refusals(void) {
    refused("10.0.0.1\n10.0.0\n", 0, "lists/a.list:2: ", "\"10.0.0\"");          /* L3 */
    refused("\r\n\r\nlocalhost", 0, "lists/a.list:3: ", "localhost");            /* L3 */
    refused("10.0.0.1/24", 0, "lists/a.list:1: ", "first 24");                   /* L1: low bits */
    refused("2001:db8::1/64", 0, "lists/a.list:1: ", "first 64");                /* L1 */
    refused("0.0.0.0/0", 0, "lists/a.list:1: ", "1 to 32");                      /* L1: 1–32 */
    refused("10.0.0.0/33", 0, "lists/a.list:1: ", "1 to 32");                    /* L1 */
    refused("::/0", 0, "lists/a.list:1: ", "1 to 128");                          /* L1 */
    refused("::/129", 0, "lists/a.list:1: ", "1 to 128");                        /* L1 */
    refused("10.0.0.0/08", 0, "lists/a.list:1: ", "1 to 32");                    /* L1 */
    refused("10.0.0.0/", 0, "lists/a.list:1: ", "1 to 32");                      /* L1 */
    refused("10.0.0.0/8x", 0, "lists/a.list:1: ", "1 to 32");                    /* L1 */
    refused("10.0.0.0/255.0.0.0", 0, "lists/a.list:1: ", "1 to 32");             /* L1 */
    refused("/8", 0, "lists/a.list:1: ", "missing");                             /* L1 */
    refused("::ffff:10.0.0.0/95", 0, "lists/a.list:1: ", "first 95");            /* L1 L5 */
    refused("10.0.0.9-10.0.0.1", 0, "lists/a.list:1: ", "lower address");        /* L1 */
    refused("10.0.0.1-::1", 0, "lists/a.list:1: ", "IPv4");                      /* L1 */
    refused("10.0.0.1-", 0, "lists/a.list:1: ", "both sides");                   /* L1 */
    refused("-10.0.0.1", 0, "lists/a.list:1: ", "both sides");                   /* L1 */
    refused("10.0.0.1-10.0.0.2-10.0.0.3", 0, "lists/a.list:1: ", "not an IPv4"); /* L1 */
    refused("10.0.0.0-10.0.0.0/8", 0, "lists/a.list:1: ", "either");             /* L1 */
    refused("10.0.0.1 10.0.0.2", 0, "lists/a.list:1: ", "10.0.0.1 10.0.0.2");    /* L1: one item a line */
    refused("10.0.0.1, 10.0.0.2", 0, "lists/a.list:1: ", "10.0.0.1, 10.0.0.2");  /* L1 */
    refused("10.0.0.1:80", 0, "lists/a.list:1: ", "IPv6");                       /* L1: no port */
    refused("[::1]", 0, "lists/a.list:1: ", "brackets");                         /* L1 */
    refused("fe80::1%lo", 0, "lists/a.list:1: ", "zone");                        /* L1 */
    refused("010.0.0.1", 0, "lists/a.list:1: ", "leading zeros");                /* L1 */
    refused("!", 0, "lists/a.list:1: ", "behind the !");                         /* L2 */
    refused("!!10.0.0.1", 0, "lists/a.list:1: ", "!10.0.0.1");                   /* L2 */
    refused("!#b", 0, "lists/a.list:1: ", "whole list");                         /* L2 L4 */
    refused("#", 0, "lists/a.list:1: ", "name");                                 /* L4 */
    refused("# a comment of the wrong kind", 0, "lists/a.list:1: ", ";");        /* L3 L4 */
    refused("#../../etc/passwd", 0, "lists/a.list:1: ", "name");                 /* L4 */
    refused("#.hidden", 0, "lists/a.list:1: ", "name");                          /* L4 */
    refused("\n#nosuch", 0, "lists/a.list:2: ", "no address list");              /* L4 */
    refused("#bad", 0, "lists/bad.list:2: ", "1.2.3");                           /* L3 L4: named in its own file */
    refused("\n#a", 0, "lists/a.list:2: ", "lists/a.list:2 includes lists/a.list");
    refused("#b", 0, "lists/c.list:1: ", "lists/b.list:3 includes lists/c.list:1 includes lists/b.list"); /* L4: the way round */
    refused("10.0.0.1\0", 9, "lists/a.list:1: ", "10.0.0.1");
    refused("\xff\xfe", 0, "lists/a.list:1: ", "not an IPv4");
    struct list nothing[] = {{0}};
    struct err e = {""};
    ok(!alist_load("denied", fetch, nothing, &e) && strstr(e.text, "denied"), "a missing list is named: %.400s", e.text);
    ok(!alist_load("denied", fetch, nothing, NULL), "without a place for the message");
}

static void check_bounds(void) {
    enum { N = 40 };
    struct list chain[N + 1] = {{0}};
    struct err e = {""};
    static char names[N][16], texts[N][64];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%s%d", i ? "n" : "a", i);
        if (i == 0) strcpy(names[i], "a");
        snprintf(texts[i], sizeof texts[i], "#n%d", i + 1);
        chain[i] = (struct list){names[i], texts[i], 0};
    }
    strcpy(texts[15], "10.0.0.1");
    struct pset *s = alist_load("a", fetch, chain, &e);
    ok(s && pset_spans(s) == 1, "L4: 15 lists inside a list");
    pset_destroy(s);
    strcpy(texts[15], "#n16");
    ok(!alist_load("a", fetch, chain, &e) && strncmp(e.text, "lists/n15.list:1: ", 18) == 0, "L4: not 16: %.400s", e.text);
    for (int i = 0; i < 14; i++) snprintf(texts[i], sizeof texts[i], "#n%d\n#n%d\n#n%d\n", i + 1, i + 1, i + 1);
    strcpy(texts[14], "10.0.0.1");
    ok(!alist_load("a", fetch, chain, &e) && strstr(e.text, "more than 4096 lists"),
       "L4: three times three times ... ends at a bound: %.400s", e.text);
}

static void check_million(void) {
    struct buf b = {.max = 64u << 20};
    for (unsigned i = 0; i < 1000000; i++) {
        unsigned v = i * 2654435761u;
        if (i % 4 == 0) buf_fmt(&b, "%x:%x::/%u\n", 0x2000 | v >> 20, v & 0xffff, 32u);
        else buf_fmt(&b, "%s%u.%u.%u.%u\n", i % 50 == 1 ? "!" : "", v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255);
    }
    struct list lists[] = {{"a", b.p, b.n}, {0}};
    struct err e = {""};
    int64_t start = clock_mono_ms();
    struct pset *s = alist_load("a", fetch, lists, &e);
    int64_t took = clock_mono_ms() - start;
    unsigned wrong = 0;
    for (unsigned i = 1; s && i < 1000000; i += i % 4 == 3 ? 2 : 1) {
        unsigned v = i * 2654435761u;
        struct addr a = {.family = 4, .ip = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}};
        struct pset_hit h = pset_find(s, &a);
        if (h.line != i + 1 || h.in != (i % 50 != 1)) wrong++;
    }
    printf("# loaded in %lld ms, %zu bytes for %zu spans\n", (long long)took, s ? pset_bytes(s) : 0, s ? pset_spans(s) : 0);
    ok(s && wrong == 0, "L6: 1,000,000 lines load, each decision names its line");
    pset_destroy(s);
    buf_free(&b);
}

int main(void) {
    check_forms();
    check_order();
    check_mapped();
    check_includes();
    check_refusals();
    check_bounds();
    check_million();
    return tap_end();
}
