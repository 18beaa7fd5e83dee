/* Rates in shared memory: the exact number at the exact time, whatever the threads do, and after whoever held a lock was killed. */
#include "gate/counters.h"
#include "gate/hash.h"
#include "unit/tap.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define TRIES   20000
#define MS      1000000ll

static struct counters *c;
static struct holder_id me;

static struct addr address(const char *text) {
    struct addr a;
    struct err e;
    if (!addr_parse_ip(text, strlen(text), &a, &e)) abort();
    return a;
}

static struct rate_claim claim(const char *who, unsigned bits, uint32_t n, uint32_t ms) {
    struct addr a = address(who);
    struct rate_claim k;
    rates_claim(&k, rates_key(c->hash_key, RATE_CONNECTIONS, hash_text(c->hash_key, "http"), &a, bits), n, ms);
    return k;
}

static bool take(const struct rate_claim *k, int64_t now_ns) {
    int64_t wait = 0;
    return rates_take(&c->rates, me, k, 1, now_ns, &wait) < 0;
}

/* G24: N go in, N + 1 does not, and one more exactly when its time has come. */
static void one_by_one(void) {
    struct rate_claim k = claim("192.0.2.1", 32, 5, 10000);
    int64_t t = 1000000 * MS, wait = 0;
    unsigned in = 0;
    for (int i = 0; i < 20; i++) in += take(&k, t);
    ok(in == 5, "5 in 10 s: five at once, not six (%u)", in);
    ok(rates_take(&c->rates, me, &k, 1, t, &wait) == 0 && wait == 2000, "the sixth may come in 2 s (%lld ms)", (long long)wait);
    ok(!take(&k, t + 2000 * MS - 1), "a nanosecond earlier it is refused");
    ok(take(&k, t + 2000 * MS) && !take(&k, t + 2000 * MS), "then one comes in, and no second");
    ok(rates_left(&c->rates, me, &k, t + 10000 * MS) == 4 && rates_left(&c->rates, me, &k, t + 12000 * MS) == 5, "what is left grows back");
    struct rate_claim shut = claim("192.0.2.3", 32, 2, 3600000), wider = claim("192.0.2.3", 32, 2, 1000);
    (void)(take(&shut, t) + take(&shut, t));
    ok(!take(&wider, t) && !take(&wider, t + 499 * MS) && take(&wider, t + 500 * MS),
       "a limit that is widened counts at once, and forgives nothing else");
    struct rate_claim odd = claim("192.0.2.2", 32, 7, 1000);
    in = 0;
    for (int64_t at = 0; at < 70000; at++) in += take(&odd, t + at * MS);
    ok(in <= 7 * 70 + 7 && in >= 7 * 70, "7 a second for 70 s: 490, and 7 for the beginning at most (%u)", in);
}

static void prefixes(void) {
    int64_t t = 2000000 * MS;
    struct rate_claim a = claim("2001:db8::1", 64, 1, 1000), b = claim("2001:db8::ffff:1", 64, 1, 1000),
                      far = claim("2001:db8:0:1::1", 64, 1, 1000);
    ok(take(&a, t) && !take(&b, t) && take(&far, t), "a /64 is one caller, the next /64 another");
    struct rate_claim x = claim("10.1.2.3", 9, 1, 1000), y = claim("10.127.2.3", 9, 1, 1000), z = claim("10.128.0.0", 9, 1, 1000);
    ok(x.key == y.key && x.key != z.key, "prefixes end at any bit");
    struct rate_claim four = claim("192.0.2.1", 24, 1, 1000), other = claim("192.0.2.1", 25, 1, 1000);
    ok(four.key != other.key, "prefixes of different length never share a cell");
}

static void both_or_none(void) {
    int64_t t = 3000000 * MS, wait = 0;
    struct rate_claim two[2] = {claim("198.51.100.1", 32, 3, 1000), claim("198.51.100.1", 24, 4, 1000)};
    unsigned in = 0;
    for (int i = 0; i < 10; i++) in += rates_take(&c->rates, me, two, 2, t, &wait) < 0;
    ok(in == 3 && rates_left(&c->rates, me, &two[1], t) == 1, "refused by the address, the net is not charged");
    two[0] = claim("198.51.100.2", 32, 3, 1000);
    ok(rates_take(&c->rates, me, two, 2, t, &wait) < 0, "a neighbour takes what the net has left");
    ok(rates_take(&c->rates, me, two, 2, t, &wait) == 1 && rates_left(&c->rates, me, &two[0], t) == 2,
       "refused by the net, the address is not charged");
}

static _Atomic int got[4];
static void *hammer(void *arg) {
    struct rate_claim k[2] = {claim("203.0.113.7", 32, 1000, 3600000), claim("203.0.113.7", 24, 1500, 3600000)};
    struct rate_claim o[2] = {claim("203.0.113.8", 32, 1000, 3600000), k[1]};
    uintptr_t n = (uintptr_t)arg;
    for (int i = 0; i < TRIES; i++) {
        int64_t wait;
        bool first = ((uintptr_t)i + n) % 2;
        if (rates_take(&c->rates, me, first ? k : o, 2, 4000000 * MS, &wait) < 0) atomic_fetch_add(&got[first], 1);
        struct addr a = {.family = 4, .ip = {10, (uint8_t)n, (uint8_t)(i >> 8), (uint8_t)i}};
        struct rate_claim noise;
        rates_claim(&noise, rates_key(c->hash_key, RATE_REQUESTS, 1, &a, 32), 1, 1);
        (void)rates_take(&c->rates, me, &noise, 1, 4000000 * MS, &wait);
    }
    return NULL;
}

/* G24 with eight workers at once: never one too many or too few. */
static void contention(void) {
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, hammer, (void *)i);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    ok(got[0] + got[1] == 1500 && got[0] <= 1000 && got[1] <= 1000, "%d threads, 1000 of each address and 1500 of the net: %d + %d",
       THREADS, got[0], got[1]);
}

static void full(void) {
    memset(&c->rates, 0, sizeof c->rates);
    const int64_t t = 5000000 * MS;
    struct rate_claim k = {.step_ns = 1000 * MS, .burst_ns = 2000 * MS}, kept = k;
    kept.key = 7ull << 32 | 1;
    for (int i = 0; i < 2; i++) (void)take(&kept, t);
    unsigned in = 0;
    for (uint64_t i = 2; i < 2 + 4 * RATES_WAYS; i++) {
        k.key = 7ull << 32 | i;
        in += take(&k, t);
    }
    ok(in == 4 * RATES_WAYS, "a full bucket refuses nobody");
    ok(c->rates.lost == 4 * RATES_WAYS - (RATES_WAYS - 1), "what had to go is counted (%llu)", (unsigned long long)c->rates.lost);
    ok(!take(&kept, t), "who owes most is remembered longest");
    uint64_t lost = c->rates.lost;
    for (uint64_t i = 100; i < 100 + RATES_WAYS; i++) {
        k.key = 7ull << 32 | i;
        in += take(&k, t + 3600000 * MS);
    }
    ok(c->rates.lost == lost, "paid cells are used again without loss");
}

/* An engine dies inside a lock: nothing waits for it once the supervisor knows. */
static void killed(void) {
    struct rate_claim k = claim("192.0.2.77", 32, 2, 1000);
    struct rates_bucket *b = &c->rates.bucket[k.key >> 32 & (RATES_BUCKETS - 1)];
    int pipes[2];
    char byte;
    if (pipe(pipes) != 0) abort();
    uint32_t number = hold_begins(&c->roll, 1);
    pid_t pid = fork();
    if (pid == 0) {
        hold_take(&b->lock, (struct holder_id){.roll = &c->roll, .me = number});
        (void)!write(pipes[1], "x", 1);
        for (;;) pause();
    }
    ok(read(pipes[0], &byte, 1) == 1 && b->lock.by == number, "another engine holds the lock");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    counters_engine_ended(c, 1);
    ok(take(&k, 1) && b->lock.by == 0, "it is taken from the dead, and given back");
}

int main(void) {
    struct err e;
    if (counters_create(&c, &e) < 0) return 1;
    counters_reset_live(c, 0);
    me = counters_holder(c, 0);
    ok(me.me != 0, "an engine has a number");
    one_by_one();
    prefixes();
    both_or_none();
    contention();
    full();
    killed();
    return tap_end();
}
