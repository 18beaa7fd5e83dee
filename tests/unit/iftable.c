/* The table of addresses and interfaces against a plain list, under churn that makes runs wrap and move; and the words about changes. */
#include "net/iftable.h"
#include "unit/tap.h"
#include <arpa/inet.h>

#define MANY   400
#define ROUNDS 40000

static struct addr address(unsigned n) {
    struct addr a = {.family = n & 1 ? 6 : 4};
    a.ip[0] = 10;
    a.ip[1] = (uint8_t)(n >> 8);
    a.ip[2] = (uint8_t)n;
    return a;
}

static unsigned next(void) { /* the same sequence every time */
    static uint32_t x = 88172645;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

static void churn(void) {
    struct iftable t = {0};
    bool there[MANY] = {false};
    unsigned wrong = 0, count = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned n = next() % MANY;
        struct known_address k = {.at = address(n), .index = 1 + n % 3};
        struct known_address *found = iftable_address(&t, &k.at, k.index);
        wrong += (found != NULL) != there[n];
        if (found) iftable_remove(&t, found);
        else wrong += !iftable_add(&t, &k);
        there[n] = !there[n];
        if (round % 97) continue;
        for (unsigned i = 0; i < MANY; i++) {
            struct addr a = address(i);
            wrong += iftable_has(&t, &a) != there[i];
        }
    }
    for (unsigned i = 0; i < MANY; i++) count += there[i];
    ok(wrong == 0 && t.naddresses == count, "after %d additions and removals it holds what a plain list holds (%u)", ROUNDS, count);
    ok(t.cap <= 4 * MANY, "in a table of %u places", t.cap);
    iftable_finish(&t);
}

static void several(void) {
    struct iftable t = {0};
    struct addr ll = {.family = 6, .ip = {0xfe, 0x80, [15] = 1}}, on2 = ll;
    struct known_address k = {.at = ll, .index = 1, .tentative = true};
    ok(!iftable_has(&t, &ll) && !iftable_address(&t, &ll, 1), "an empty table has nothing");
    iftable_add(&t, &k);
    ok(!iftable_has(&t, &ll), "a tentative address is not usable");
    k.index = 2;
    k.tentative = false;
    iftable_add(&t, &k);
    on2.scope = 1;
    ok(iftable_has(&t, &ll) && !iftable_has(&t, &on2), "M20: one address on two interfaces: usable on the second only");
    on2.scope = 2;
    ok(iftable_has(&t, &on2), "and that by its scope");
    iftable_finish(&t);
}

static void bounds(void) {
    struct iftable t = {0};
    uint32_t n = 0;
    struct known_address k = {.at = {.family = 6}, .index = 1};
    do {
        memcpy(k.at.ip, &n, sizeof n);
    } while (iftable_add(&t, &k) && ++n);
    ok(n == IFWATCH_ADDRESSES, "%u addresses fit", n);
    n = 0;
    while (iftable_add_link(&t, n + 1)) n++;
    ok(n == IFWATCH_LINKS, "and %u interfaces", n);
    iftable_remove_link(&t, iftable_link(&t, 1));
    ok(!iftable_link(&t, 1) && iftable_link(&t, n) && iftable_add_link(&t, 1), "one that goes makes room");
    iftable_finish(&t);
}

static const char *words(enum ifchange_what what) {
    static char text[160];
    struct ifchange c = {.what = what, .at = {.family = 4, .ip = {192, 0, 2, 7}}, .name = "eth0", .was = "eth9"};
    ifchange_text(&c, text, sizeof text);
    return text;
}

static void texts(void) {
    ok(!strcmp(words(IF_ADDRESS_NEW), "192.0.2.7 appeared on eth0") && !strcmp(words(IF_ADDRESS_GONE), "192.0.2.7 has gone from eth0"),
       "an address");
    ok(!strcmp(words(IF_LINK_RENAMED), "interface eth9 is called eth0 now"), "an interface: %s", words(IF_LINK_RENAMED));
    for (int i = IF_ADDRESS_NEW; i <= IF_UNKNOWN; i++) ok(strstr(words((enum ifchange_what)i), "eth0"), "%s", words((enum ifchange_what)i));
}

static void here(void) {
    struct iflist l;
    struct err e = {""};
    bool good = iflist_read(&l, &e);
    ok(good && l.nlinks > 0, "the machine's own: %u interfaces, %u addresses %s", good ? l.nlinks : 0, good ? l.naddresses : 0, e.text);
    if (good) iflist_finish(&l);
}

int main(void) {
    churn();
    several();
    bounds();
    texts();
    here();
    return tap_end();
}
