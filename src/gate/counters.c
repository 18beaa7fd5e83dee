/* The counters' memory: made by the supervisor, mapped by engines, summed by readers. */
#include "gate/counters.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SPINS      200 /* about the time a holder needs; after that the holder is probably not running, so give it the processor */
#define BANS_TRIES 100

const struct counter_def counter_defs[] = {
#define COUNTERS_DEF(field, metric, help) {#field, metric, help, offsetof(struct counters_block, field)},
    COUNTERS(COUNTERS_DEF)
#undef COUNTERS_DEF
        {NULL, NULL, NULL, 0}};

static struct counters *map_fd(int fd) {
    void *p = mmap(NULL, sizeof(struct counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return NULL;
    (void)madvise(p, sizeof(struct counters), MADV_DONTDUMP);
    return p;
}

int counters_create(struct counters **out, struct err *e) {
    int fd = memfd_create("portreeve-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        err_set(e, "cannot make the counters' memory: %s", strerror(errno));
        return -1;
    }
    struct counters *c = NULL;
    if (ftruncate(fd, sizeof *c) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 || !(c = map_fd(fd))) {
        err_set(e, "cannot make the counters' memory of %zu bytes: %s", sizeof *c, strerror(errno));
        close(fd);
        return -1;
    }
    if (getrandom(c->hash_key, sizeof c->hash_key, 0) != sizeof c->hash_key) {
        err_set(e, "no random bytes for the counters' key: %s", strerror(errno));
        munmap(c, sizeof *c);
        close(fd);
        return -1;
    }
    c->bytes = sizeof *c;
    c->magic = COUNTERS_MAGIC;
    *out = c;
    return fd;
}

struct counters *counters_map(int fd, struct err *e) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size != (off_t)sizeof(struct counters)) {
        err_set(e, "the counters' memory has not the size of this version; supervisor and engine differ: stop and start");
        return NULL;
    }
    struct counters *c = map_fd(fd);
    if (!c) {
        err_set(e, "cannot map the counters' memory: %s", strerror(errno));
        return NULL;
    }
    if (c->magic != COUNTERS_MAGIC || c->bytes != sizeof *c) {
        munmap(c, sizeof *c);
        err_set(e, "the counters' memory is of another version; supervisor and engine differ: stop and start");
        return NULL;
    }
    return c;
}

static bool ours(int fd, struct err *e) {
    uint64_t head[2];
    return (pread(fd, head, sizeof head, 0) == sizeof head && head[0] == COUNTERS_MAGIC && head[1] == sizeof(struct counters)) ||
           err_set(e, "the counters' memory is of another version; supervisor and command differ: stop and start");
}

static bool copy(int fd, void *out, size_t n, size_t offset, struct err *e) {
    return pread(fd, out, n, (off_t)offset) == (ssize_t)n || err_set(e, "cannot read the counters' memory: %s", strerror(errno));
}

bool counters_admins(int fd, struct admins *out, struct err *e) {
    return ours(fd, e) && copy(fd, out, sizeof *out, offsetof(struct counters, admins), e);
}

/* Whoever changes the table holds its lock and counts its version up: where nobody holds it before and after, and the version is the same, nobody has
 * written meanwhile. */
bool counters_bans(int fd, struct bans *out, struct err *e) {
    const size_t at = offsetof(struct counters, bans), head = offsetof(struct bans, slot);
    const struct timespec pause = {.tv_nsec = 1000000};
    struct bans *after = calloc(1, head);
    bool good = (after || err_set(e, "out of memory")) && ours(fd, e), whole = false;
    for (unsigned i = 0; good && !whole && i < BANS_TRIES; i++) {
        if (i) nanosleep(&pause, NULL);
        good = copy(fd, out, head, at, e);
        uint32_t top = atomic_load(&out->top);
        size_t n = (top < BANS_MAX ? top : BANS_MAX) * sizeof out->slot[0];
        good = good && copy(fd, out->slot, n, at + head, e) && copy(fd, after, head, at, e);
        whole = good && !atomic_load(&out->lock.by) && !atomic_load(&after->lock.by) &&
                atomic_load(&out->version) == atomic_load(&after->version);
    }
    free(after);
    return whole || (good ? err_set(e, "the bans are being changed all the time") : false);
}

void counters_reset_live(struct counters *c, unsigned instance) {
    memset(&c->live[instance & 1], 0, sizeof c->live[0]);
    atomic_store(&c->policy_suspended_ms, 0);
    hold_begins(&c->roll, instance);
}

void counters_engine_ended(struct counters *c, unsigned instance) {
    hold_ended(&c->roll, instance);
}

struct holder_id counters_holder(const struct counters *c, unsigned instance) {
    return (struct holder_id){.roll = &c->roll, .me = atomic_load(&c->roll.living[instance & 1])};
}

uint64_t counters_sum(const struct counters *c, size_t offset) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < COUNTERS_WORKERS; i++) {
        const char *field = (const char *)&c->worker[i] + offset;
        sum += atomic_load_explicit((const _Atomic uint64_t *)(const void *)field, memory_order_relaxed);
    }
    return sum;
}

static struct live_bucket *lock_bucket(struct counters_live *l, uint64_t key) {
    uint64_t h = key * 0x9e3779b97f4a7c15u; /* keys may share low bits */
    struct live_bucket *b = &l->bucket[(h >> 32) % LIVE_BUCKETS];
    for (unsigned spins = 0; atomic_flag_test_and_set_explicit(&b->lock, memory_order_acquire);) {
        if (++spins >= SPINS) {
            spins = 0;
            sched_yield();
        }
    }
    return b;
}

static void unlock_bucket(struct live_bucket *b) {
    atomic_flag_clear_explicit(&b->lock, memory_order_release);
}

static int find_way(const struct live_bucket *b, uint64_t key) {
    for (unsigned i = 0; i < LIVE_WAYS; i++) {
        if (b->way[i].n && b->way[i].key == key) return (int)i;
    }
    return -1;
}

/* The way of that key, or a free one; -1: the bucket is full. */
static int way_for(struct live_bucket *b, uint64_t key) {
    int w = find_way(b, key);
    for (unsigned i = 0; w < 0 && i < LIVE_WAYS; i++) {
        if (b->way[i].n) continue;
        w = (int)i;
        b->way[i].key = key;
    }
    return w;
}

uint32_t live_take(struct counters_live *l, uint64_t key) {
    struct live_bucket *b = lock_bucket(l, key);
    int w = way_for(b, key);
    uint32_t n = 0;
    if (w < 0) b->full++;
    else n = ++b->way[w].n;
    unlock_bucket(b);
    return n;
}

static bool take_listener(struct counters_live *l, uint16_t listener, uint32_t most, uint32_t *n) {
    uint32_t now = atomic_load_explicit(&l->listener[listener], memory_order_relaxed);
    do {
        *n = now + 1;
        if (now >= most) return false;
    } while (!atomic_compare_exchange_weak_explicit(&l->listener[listener], &now, now + 1, memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool live_take_within(struct counters_live *l, uint16_t listener, uint64_t key, uint32_t most, uint32_t most_from, uint32_t *n,
                      uint32_t *from) {
    struct live_bucket *b = lock_bucket(l, key);
    int w = way_for(b, key);
    *from = w < 0 ? UINT32_MAX : b->way[w].n + 1;
    *n = atomic_load_explicit(&l->listener[listener], memory_order_relaxed) + 1;
    bool taken = (*from <= most_from) && take_listener(l, listener, most, n);
    if (taken && w < 0) b->full++;
    else if (taken) b->way[w].n++;
    unlock_bucket(b);
    return taken;
}

void live_give(struct counters_live *l, uint64_t key) {
    struct live_bucket *b = lock_bucket(l, key);
    int w = find_way(b, key);
    if (w >= 0) b->way[w].n--;
    unlock_bucket(b);
}

uint32_t live_peek(struct counters_live *l, uint64_t key) {
    struct live_bucket *b = lock_bucket(l, key);
    int w = find_way(b, key);
    uint32_t n = w < 0 ? 0 : b->way[w].n;
    unlock_bucket(b);
    return n;
}
