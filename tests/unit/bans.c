/* Bans: what overlaps, what ends when, exactly one taken back, a bounded table, and all that with threads looking on. */
#include "base/clock.h"
#include "gate/counters.h"
#include "unit/tap.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct counters *c;
static struct holder_id me;

static enum bans_done ban(const char *text, int64_t expires_ms, const char *reason, int64_t now_ms) {
    struct ban b = {.expires_ms = expires_ms, .who = "ada"};
    struct err e;
    snprintf(b.reason, sizeof b.reason, "%s", reason);
    if (!bans_parse(text, strlen(text), &b.lo, &b.hi, &e)) abort();
    return bans_add(&c->bans, me, &b, now_ms);
}

static bool unban(const char *text, int64_t now_ms, struct ban *was) {
    struct addr lo, hi;
    struct err e;
    if (!bans_parse(text, strlen(text), &lo, &hi, &e)) abort();
    return bans_remove(&c->bans, me, &lo, &hi, now_ms, was);
}

static const char *asked(const struct ban_set *s, const char *who, int64_t now_ms) {
    struct addr a;
    struct err e;
    if (!addr_parse_ip(who, strlen(who), &a, &e)) abort();
    const struct ban *b = ban_set_find(s, &a, now_ms);
    if (b) ban_set_hit(s, b);
    return b ? b->reason : "in";
}

static bool is(const struct ban_set *s, const char *who, int64_t now_ms, const char *want) {
    return strcmp(asked(s, who, now_ms), want) == 0;
}

static void overlaps(void) {
    ok(ban("203.0.113.0/24", 10000, "net", 0) == BANS_ADDED && ban("203.0.113.9", 5000, "one", 0) == BANS_ADDED,
       "two bans, one inside the other");
    ok(ban("203.0.113.16-203.0.113.20", BANS_FOREVER, "range", 0) == BANS_ADDED && ban("2001:db8::/32", 3000, "six", 0) == BANS_ADDED,
       "and two more");
    struct ban_set *s = ban_set_create(&c->bans, me, 0);
    ok(is(s, "203.0.113.9", 0, "net") && is(s, "203.0.113.16", 0, "range"), "the one that ends last decides");
    ok(is(s, "203.0.113.9", 9999, "net") && is(s, "203.0.113.9", 10000, "in"), "to the millisecond, without a new set");
    ok(is(s, "203.0.113.20", 1ll << 50, "range") && is(s, "203.0.113.21", 10000, "in"), "for ever is for ever, and ends at its border");
    ok(is(s, "2001:db8:ffff::1", 2999, "six") && is(s, "2001:db8::", 3000, "in") && is(s, "2001:db9::", 0, "in"), "IPv6");
    ok(!ban_set_stale(s), "the set is up to date");
    struct ban was;
    ok(unban("203.0.113.0/24", 0, &was) && strcmp(was.reason, "net") == 0 && ban_set_stale(s), "one is taken back");
    struct ban_set *t = ban_set_create(&c->bans, me, 0);
    ok(is(t, "203.0.113.9", 0, "one") && is(t, "203.0.113.10", 0, "in") && is(t, "203.0.113.17", 0, "range"),
       "exactly that one, and nothing below it");
    ok(!unban("203.0.113.0/24", 0, &was) && !unban("203.0.113.0/25", 0, &was), "it cannot be taken back twice, nor a part of one");
    ok(ban("203.0.113.9", 7000, "longer", 0) == BANS_CHANGED, "the same addresses again change the ban");
    ban_set_unref(s);
    s = ban_set_create(&c->bans, me, 0);
    const struct ban *b = NULL;
    for (uint32_t i = 0; i < ban_set_count(s); i++)
        if (strcmp(ban_set_at(s, i)->reason, "longer") == 0) b = ban_set_at(s, i);
    ok(b && ban_set_hits(s, b) == 1, "and keep its hits");
    ok(ban_set_count(s) == 3, "three are left");
    ban_set_unref(s);
    ban_set_unref(t);
}

static void words(void) {
    struct addr lo, hi;
    struct err e;
    char text[BANS_RANGE], because[300];
    static const char *const same[] = {"192.0.2.1", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "2001:db8::/33", "::1", "0.0.0.0-255.255.255.255"};
    static const char *const bad[] = {"",
                                      "10.0.0.0/33",
                                      "!10.0.0.1",
                                      "#denied",
                                      "10.0.0.1\n10.0.0.2",
                                      "10.0.0.9-10.0.0.1",
                                      "example.org",
                                      "10.0.0.1 ; x",
                                      "10.0.0.1/8 10.0.0.2"};
    bool good = true;
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        good = good && bans_parse(same[i], strlen(same[i]), &lo, &hi, &e);
        bans_range_text(&lo, &hi, text);
        if (!good || strcmp(text, same[i]) != 0) printf("# %s became %s\n", same[i], text);
        good = good && strcmp(text, same[i]) == 0;
    }
    ok(good, "addresses, prefixes and ranges come back as they were written");
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        if (bans_parse(bad[i], strlen(bad[i]), &lo, &hi, &e)) printf("# %s was taken\n", bad[i]), good = false;
    ok(good, "what is not one range is refused");
    struct ban b = {.until_ms = 1700000000000, .reason = "scraping", .who = "ada"};
    (void)bans_parse("192.0.2.0/24", 12, &b.lo, &b.hi, &e);
    bans_because(&b, because, sizeof because);
    ok(strcmp(because, "ban 192.0.2.0/24 until 2023-11-14 22:13:20Z by ada: scraping") == 0, "%s", because);
}

static _Atomic bool over;
static _Atomic int wrong, looked;
static pthread_mutex_t swap = PTHREAD_MUTEX_INITIALIZER;
static struct ban_set *shared;

static struct ban_set *current(void) {
    pthread_mutex_lock(&swap);
    struct ban_set *s = ban_set_ref(shared);
    pthread_mutex_unlock(&swap);
    return s;
}

static void publish(void) {
    struct ban_set *s = ban_set_create(&c->bans, me, 0);
    pthread_mutex_lock(&swap);
    struct ban_set *old = shared;
    shared = s;
    pthread_mutex_unlock(&swap);
    ban_set_unref(old);
}

static void *look(void *arg) {
    (void)arg;
    struct ban_set *s = current();
    while (!atomic_load(&over)) {
        if (ban_set_stale(s)) {
            ban_set_unref(s);
            s = current();
        }
        if (!is(s, "198.51.100.1", 0, "stays") || !is(s, "198.51.100.200", 0, "in")) atomic_fetch_add(&wrong, 1);
        const char *r = asked(s, "198.51.100.77", 0);
        if (strcmp(r, "in") != 0 && strcmp(r, "comes and goes") != 0) atomic_fetch_add(&wrong, 1);
        atomic_fetch_add(&looked, 1);
    }
    ban_set_unref(s);
    return NULL;
}

static void together(void) {
    pthread_t t[7];
    (void)ban("198.51.100.1", BANS_FOREVER, "stays", 0);
    publish();
    for (unsigned i = 0; i < 7; i++) pthread_create(&t[i], NULL, look, NULL);
    for (int i = 0; i < 2000 || (atomic_load(&looked) < 1000 && i < 2000000); i++) {
        struct ban was;
        (void)ban("198.51.100.64/27", BANS_FOREVER, "comes and goes", 0);
        publish();
        (void)unban("198.51.100.64/27", 0, &was);
        publish();
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i < 7; i++) pthread_join(t[i], NULL);
    ban_set_unref(shared);
    ok(wrong == 0, "seven threads look while bans come and go (%d looks, %d wrong)", looked, wrong);
}

static void full(void) {
    unsigned added = 0, refused = 0;
    for (unsigned i = 0; i < BANS_MAX + 10; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        enum bans_done d = ban(text, 1000000, "many", 0);
        added += d == BANS_ADDED;
        refused += d == BANS_FULL;
    }
    struct ban_set *s = ban_set_create(&c->bans, me, 0);
    ok(refused > 0 && ban_set_count(s) == BANS_MAX && is(s, "10.0.0.5", 0, "many"), "a full table refuses one more (%u added, %u refused)",
       added, refused);
    ban_set_unref(s);
    ok(ban("192.0.2.200", 2000000, "room again", 1000001) == BANS_ADDED, "and has room when time has passed");
}

/* As a command has it of a server that runs: the copy goes, the set is asked. */
static void copied(int fd) {
    struct bans *copy = calloc(1, sizeof *copy);
    struct err e;
    ban("192.0.2.201", BANS_FOREVER, "copied", 0);
    if (!ok(copy && counters_bans(fd, copy, &e), "a copy of the table")) return;
    struct ban_set *s = ban_set_create(copy, me, 0);
    ban_set_alone(s);
    memset(copy, 0xff, sizeof *copy);
    free(copy);
    ok(is(s, "192.0.2.201", 1, "copied") && ban_set_hits(s, ban_set_at(s, 0)) == 0 && !ban_set_stale(s),
       "a set made of it says the same when it has gone");
    ban_set_unref(s);
}

int main(void) {
    struct err e;
    int fd = counters_create(&c, &e);
    if (fd < 0) return 1;
    counters_reset_live(c, 0);
    me = counters_holder(c, 0);
    overlaps();
    words();
    together();
    copied(fd);
    full();
    return tap_end();
}
