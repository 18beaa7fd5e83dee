/* The counters' memory: layout, mapping by another process, and live counts that are exact whatever the threads do. */
#include "gate/counters.h"
#include "gate/record.h"
#include "unit/tap.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define TURNS   40000
#define KEYS    37

static struct counters *c;
static _Atomic int64_t model[KEYS];
static _Atomic int wrong;

static uint64_t key_of(unsigned i) {
    return (uint64_t)i << 40 | (i % 3 ? i : 0); /* low bits alike, key 0 among them */
}

static void *hammer(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg * 2654435761u + 1, mine[KEYS] = {0};
    struct counters_live *l = &c->live[0];
    for (int i = 0; i < TURNS; i++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned k = (seed >> 8) % KEYS;
        if ((seed >> 4 & 1) && mine[k]) {
            live_give(l, key_of(k));
            mine[k]--;
            atomic_fetch_sub(&model[k], 1);
        } else {
            uint32_t n = live_take(l, key_of(k));
            mine[k]++;
            atomic_fetch_add(&model[k], 1);
            if (n < mine[k]) atomic_fetch_add(&wrong, 1); /* never less than what we ourselves hold */
        }
        COUNT(&c->worker[(uintptr_t)arg], requests);
        atomic_fetch_add_explicit(&c->worker[0].events, 1, memory_order_relaxed);
    }
    return (void *)(uintptr_t)0;
}

static void contention(void) {
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, hammer, (void *)i);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    int64_t bad = 0, total = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        bad += live_peek(&c->live[0], key_of(k)) != (uint32_t)model[k];
        total += model[k];
    }
    ok(bad == 0 && wrong == 0, "%d threads: every count is exact (%d live)", THREADS, (int)total);
    for (unsigned k = 0; k < KEYS; k++) {
        while (model[k]-- > 0) live_give(&c->live[0], key_of(k));
    }
    int left = 0;
    for (unsigned b = 0; b < LIVE_BUCKETS; b++) {
        for (unsigned w = 0; w < LIVE_WAYS; w++) left += c->live[0].bucket[b].way[w].n != 0;
    }
    ok(left == 0, "all given back: the table is empty");
    ok(counters_sum(c, offsetof(struct counters_block, requests)) == (uint64_t)THREADS * TURNS, "the sum over workers is exact");
    ok(counters_sum(c, offsetof(struct counters_block, events)) == (uint64_t)THREADS * TURNS, "also where all count in one place");
}

static void limits(void) {
    struct counters_live *l = &c->live[1];
    unsigned refused = 0, taken = 0;
    for (uint64_t k = 1; k <= LIVE_BUCKETS * LIVE_WAYS * 2ull; k++) {
        if (live_take(l, k) == 0) refused++;
        else taken++;
    }
    uint64_t counted = 0;
    for (unsigned b = 0; b < LIVE_BUCKETS; b++) counted += l->bucket[b].full;
    ok(refused > 0 && taken <= LIVE_BUCKETS * LIVE_WAYS && counted == refused, "a full table refuses and counts (%u taken, %u refused)",
       taken, refused);
    ok(taken > LIVE_BUCKETS * LIVE_WAYS * 3 / 4, "it fills evenly before that");
    live_give(l, 0xdeadbeef00000000u);
    ok(live_peek(l, 0xdeadbeef00000000u) == 0, "giving what was never taken changes nothing");
    c->live[1].bucket[7].lock = (atomic_flag)ATOMIC_FLAG_INIT;
    atomic_flag_test_and_set(&c->live[1].bucket[7].lock); /* an engine died inside */
    counters_reset_live(c, 1);
    int left = 0;
    for (uint64_t k = 1; k <= 1000; k++) left += live_peek(l, k) != 0;
    ok(left == 0 && live_take(l, 5) == 1, "a new engine's slot is empty and no lock is left behind");
}

static void mapping(int fd) {
    struct err e = {0};
    pid_t pid = fork();
    if (pid == 0) {
        struct counters *theirs = counters_map(fd, &e);
        if (theirs) COUNT(&theirs->worker[3], closed);
        _exit(theirs && theirs->hash_key[0] == c->hash_key[0] ? 0 : 1);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    ok(status == 0 && counters_sum(c, offsetof(struct counters_block, closed)) == 1, "another process maps it and its counts are seen");
    ok(ftruncate(fd, 4096) != 0, "nobody can make it shorter under us");
    int other = memfd_create("other", 0);
    ok(ftruncate(other, 4096) == 0 && !counters_map(other, &e), "a memory of another size is refused: %s", e.text);
    ok(ftruncate(other, sizeof(struct counters)) == 0 && !counters_map(other, &e), "one without our mark too: %s", e.text);
    close(other);
}

/* Each reason to refuse has one counter, and it is one of refusals. */
static void refusals(void) {
    for (unsigned r = REFUSE_NONE + 1; r < REFUSALS; r++) {
        const char *name = "none";
        unsigned risen = 0;
        memset(&c->worker[0], 0, sizeof c->worker[0]);
        record_count(&c->worker[0], (enum refusal)r);
        for (const struct counter_def *d = counter_defs; d->field; d++)
            if (counters_sum(c, d->offset) == 1) name = d->field, risen++;
        ok(risen == 1 && strncmp(name, "refused_", 8) == 0, "a refusal for %s is counted as %s", refusal_name((enum refusal)r), name);
    }
}

int main(void) {
    struct err e = {0};
    int fd = counters_create(&c, &e);
    ok(fd >= 0 && c->magic == COUNTERS_MAGIC && c->bytes == sizeof *c && (fcntl(fd, F_GETFD) & FD_CLOEXEC), "made: %s", e.text);
    ok(c->hash_key[0] != 0 || c->hash_key[1] != 0, "with a random key");
    size_t fields = 0, aligned = 1;
    for (const struct counter_def *d = counter_defs; d->field; d++, fields++)
        aligned &= d->offset % sizeof(uint64_t) == 0 && d->metric && d->help;
    ok((fields * sizeof(uint64_t) + 63) / 64 * 64 == sizeof(struct counters_block), "%zu counters are described", fields);
    ok(aligned && (uintptr_t)&c->worker[1] % 64 == 0 && sizeof(struct counters_block) % 64 == 0, "workers share no cache line");
    contention();
    limits();
    refusals();
    mapping(fd);
    munmap(c, sizeof *c);
    close(fd);
    return tap_end();
}
