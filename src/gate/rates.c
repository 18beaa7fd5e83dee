#include "gate/rates.h"
#include "gate/hash.h"

#define NS_PER_MS 1000000

uint64_t rates_key(const uint64_t key[2], enum rate_kind kind, uint64_t listener, const struct addr *a, unsigned bits) {
    uint64_t w[4] = {(uint64_t)kind << 16 | (uint64_t)a->family << 8 | bits, listener, 0, 0};
    hash_prefix(a, bits, &w[2]);
    return hash_words(key, w, 4);
}

void rates_claim(struct rate_claim *c, uint64_t key, uint32_t n, uint32_t ms) {
    c->key = key;
    c->step_ns = ((int64_t)ms * NS_PER_MS + n - 1) / n;
    c->burst_ns = c->step_ns * n;
}

static struct rates_bucket *bucket_of(struct rates *r, uint64_t key) {
    return &r->bucket[key >> 32 & (RATES_BUCKETS - 1)];
}

static int find(const struct rates_bucket *b, uint64_t key) {
    for (unsigned i = 0; i < RATES_WAYS; i++)
        if (b->cell[i].key == key) return (int)i;
    return -1;
}

/* The cell for a key that has none: the one that is paid first, which mostly is long ago. */
static int make_room(struct rates *r, struct rates_bucket *b, uint64_t key, int64_t now_ns, int spare) {
    int at = spare == 0;
    for (int i = at + 1; i < (int)RATES_WAYS; i++)
        if (i != spare && b->cell[i].paid_ns < b->cell[at].paid_ns) at = i;
    if (b->cell[at].paid_ns > now_ns) atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
    b->cell[at].paid_ns = 0; /* first: whoever is killed between the two leaves a cell that owes nothing */
    b->cell[at].key = key;
    return at;
}

/* More than the whole burst can only be owed under an older, narrower limit: that much is forgiven, so that a widened limit counts at once. */
static int64_t owed_from(struct rates_bucket *b, const struct rate_claim *c, int64_t now_ns) {
    int at = find(b, c->key);
    if (at < 0 || b->cell[at].paid_ns <= now_ns) return now_ns;
    if (b->cell[at].paid_ns > now_ns + c->burst_ns) b->cell[at].paid_ns = now_ns + c->burst_ns;
    return b->cell[at].paid_ns;
}

static bool conforms(struct rates_bucket *b, const struct rate_claim *c, int64_t now_ns, int64_t *wait_ms) {
    int64_t over = owed_from(b, c, now_ns) + c->step_ns - now_ns - c->burst_ns;
    if (over <= 0) return true;
    *wait_ms = (over + NS_PER_MS - 1) / NS_PER_MS;
    return false;
}

/* Both buckets in the order of their places, so that two who want the same two never wait for each other. */
static void lock_all(struct rates_bucket **b, unsigned n, struct holder_id id) {
    unsigned first = n == 2 && b[1] < b[0];
    hold_take(&b[first]->lock, id);
    if (n == 2 && b[0] != b[1]) hold_take(&b[!first]->lock, id);
}

static void unlock_all(struct rates_bucket **b, unsigned n) {
    hold_give(&b[0]->lock);
    if (n == 2 && b[0] != b[1]) hold_give(&b[1]->lock);
}

int rates_take(struct rates *r, struct holder_id id, const struct rate_claim *c, unsigned n, int64_t now_ns, int64_t *wait_ms) {
    struct rates_bucket *b[RATES_AT_ONCE] = {0};
    int refused = -1, kept = -1;
    if (n == 0 || n > RATES_AT_ONCE) return -1;
    for (unsigned i = 0; i < n; i++) b[i] = bucket_of(r, c[i].key);
    lock_all(b, n, id);
    for (unsigned i = 0; refused < 0 && i < n; i++)
        if (!conforms(b[i], &c[i], now_ns, wait_ms)) refused = (int)i;
    for (unsigned i = 0; refused < 0 && i < n; i++) {
        int64_t from = owed_from(b[i], &c[i], now_ns);
        int at = find(b[i], c[i].key);
        if (at < 0) at = make_room(r, b[i], c[i].key, now_ns, i && b[0] == b[1] ? kept : -1);
        b[i]->cell[at].paid_ns = from + c[i].step_ns;
        kept = at;
    }
    unlock_all(b, n);
    return refused;
}

uint32_t rates_left(struct rates *r, struct holder_id id, const struct rate_claim *c, int64_t now_ns) {
    struct rates_bucket *b = bucket_of(r, c->key);
    hold_take(&b->lock, id);
    int64_t free_ns = now_ns + c->burst_ns - owed_from(b, c, now_ns);
    hold_give(&b->lock);
    return free_ns <= 0 ? 0 : (uint32_t)(free_ns / c->step_ns);
}
