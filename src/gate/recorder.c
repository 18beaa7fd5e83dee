/* The flight recorder's memory, and the writing of records. */
#include "base/clock.h"
#include "gate/recorder_i.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 4

static struct recorder *map_fd(int fd, bool read_only) {
    void *p = mmap(NULL, RECORDER_BYTES, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return NULL;
    (void)madvise(p, RECORDER_BYTES, MADV_DONTDUMP);
    return p;
}

int recorder_create(struct recorder **out, struct err *e) {
    int fd = memfd_create("portreeve-decisions", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct recorder *r = NULL;
    if (fd < 0 || ftruncate(fd, (off_t)RECORDER_BYTES) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
        !(r = map_fd(fd, false))) {
        err_set(e, "cannot make the flight recorder's memory of %zu bytes: %s", RECORDER_BYTES, strerror(errno));
        if (fd >= 0) close(fd);
        return -1;
    }
    r->run = (uint64_t)clock_real_ms();
    r->bytes = RECORDER_BYTES;
    r->magic = RECORDER_MAGIC;
    *out = r;
    return fd;
}

struct recorder *recorder_map(int fd, bool read_only, struct err *e) {
    struct stat st;
    struct recorder *r = NULL;
    if (fstat(fd, &st) == 0 && st.st_size == (off_t)RECORDER_BYTES) {
        r = map_fd(fd, read_only);
        if (!r) return (void)err_set(e, "cannot map the flight recorder's memory: %s", strerror(errno)), NULL;
    }
    if (r && r->magic == RECORDER_MAGIC && r->bytes == RECORDER_BYTES) return r;
    recorder_unmap(r);
    return (void)err_set(e, "the flight recorder's memory is of another version; the programs differ: stop and start"), NULL;
}

void recorder_unmap(struct recorder *r) {
    if (r) munmap(r, RECORDER_BYTES);
}

uint64_t recorder_run(const struct recorder *r) {
    return r->run;
}

void recorder_stats(const struct recorder *r, struct recorder_stats *out) {
    *out = (struct recorder_stats){.room = recorder_shown(r)};
    for (unsigned i = 0; i < RECORDER_SEGMENTS; i++) out->lost += atomic_load_explicit(&r->segment[i].lost, memory_order_relaxed);
}

/* ---- names ---- */

static uint32_t hash_of(const char *s, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u ^ n, w;
    for (; n >= 8; n -= 8, s += 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, s, n);
    h = (h ^ w) * 0xff51afd7ed558ccdu;
    return (uint32_t)(h >> 32);
}

/* The number of a text that comes again and again; 0 = "", or the table has no room for it: then the text is not remembered. */
static uint16_t name_of(struct recorder *r, const char *s) {
    size_t n = strlen(s);
    if (n == 0) return 0;
    if (n >= sizeof r->name[0].text) n = sizeof r->name[0].text - 1;
    uint32_t hash = hash_of(s, n), ready = hash | 3;
    for (uint32_t i = 0; i < RECORDER_PROBES; i++) {
        uint32_t at = (hash + i) % RECORDER_NAMES;
        struct record_name *x = &r->name[at];
        uint32_t state = atomic_load_explicit(&x->state, memory_order_acquire);
        if (at == 0) continue;
        if (state == ready && memcmp(x->text, s, n) == 0 && x->text[n] == 0) return (uint16_t)at;
        if (state != 0 || !atomic_compare_exchange_strong(&x->state, &state, 1)) continue;
        memcpy(x->text, s, n);
        x->text[n] = 0;
        atomic_store_explicit(&x->state, ready, memory_order_release);
        return (uint16_t)at;
    }
    return 0;
}

/* ---- records ---- */

/* Of each text as much as still has room; never half a character. */
static uint8_t put_text(struct record *rec, size_t *at, const char *s, size_t most) {
    size_t n = strnlen(s, most + 1), room = sizeof rec->text - *at;
    if (most > room) most = room;
    if (n > most) {
        n = most;
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) n--;
    }
    memcpy(rec->text + *at, s, n);
    *at += n;
    return (uint8_t)n;
}

static void put_ends(struct record *rec, const struct decision *d) {
    memcpy(rec->remote, d->remote.ip, 16);
    memcpy(rec->local, d->local.ip, 16);
    rec->remote_family = d->remote.family;
    rec->local_family = d->local.family;
    rec->remote_port = d->remote.port;
    rec->local_port = d->local.port;
    rec->scope = d->remote.scope;
}

/* Returns how many words of it carry something. */
static unsigned encode(struct recorder *r, const struct decision *d, struct record *rec) {
    size_t at = 0;
    rec->us = d->ms * 1000 + d->us;
    rec->id = d->id;
    rec->generation = d->generation;
    put_ends(rec, d);
    rec->policy_line = d->policy_line;
    rec->list_line = d->list_line;
    rec->active = d->active;
    rec->from_address = d->from_address;
    rec->maximum = d->maximum;
    rec->per_address = d->per_address;
    rec->reserve = d->reserve;
    rec->rate_left = d->rate_left;
    rec->status = d->status;
    rec->delay_ms = d->delay_ms;
    rec->listener = name_of(r, d->listener);
    rec->reason = name_of(r, d->reason);
    rec->policy = name_of(r, d->policy_file);
    rec->list = name_of(r, d->list_file);
    rec->entry = name_of(r, d->entry_file);
    rec->entry_line = d->entry_line;
    rec->stage = (uint8_t)d->stage;
    rec->verdict = (uint8_t)d->verdict;
    rec->again = 0;
    rec->sni_n = put_text(rec, &at, d->sni, 48);
    rec->tags_n = put_text(rec, &at, d->tags, 32);
    rec->because_n = put_text(rec, &at, d->because, sizeof rec->text);
    return (unsigned)((offsetof(struct record, text) + at + 7) / 8);
}

/* Take the next place of a segment. One that is half written is passed over: its writer may only sleep, and would write into another's
 * record. Where it died the place stays lost until the next change of size: one of all for each crash in the midst of those nanoseconds.
 * NULL = none is to be had. */
static struct record_slot *take_slot(struct recorder *r, struct record_segment *s, struct recorder_layout l, uint32_t which,
                                     uint64_t *number) {
    for (int i = 0; i < TRIES; i++) {
        uint64_t n = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
        struct record_slot *slot = &r->slot[which * l.each + n % l.each];
        uint64_t old = atomic_load_explicit(&slot->number, memory_order_relaxed);
        if (old & 1) continue;
        *number = 2 * n + 1;
        if (atomic_compare_exchange_strong_explicit(&slot->number, &old, *number, memory_order_acq_rel, memory_order_relaxed)) return slot;
    }
    atomic_fetch_add_explicit(&s->lost, 1, memory_order_relaxed);
    return NULL;
}

static bool put_words(struct recorder *r, unsigned worker, struct record *rec, unsigned words, bool keep_id) {
    struct recorder_layout l = recorder_layout(r);
    if (!l.segments || !l.each) return false;
    uint32_t which = worker % l.segments;
    struct record_segment *s = &r->segment[which];
    uint64_t number, word[RECORD_WORDS];
    struct record_slot *slot = take_slot(r, s, l, which, &number);
    if (!slot) return false;
    if (!keep_id) rec->id = (uint64_t)which << 48 | (number >> 1 & 0xffffffffffff);
    memcpy(word, rec, words * 8);
    for (unsigned i = 0; i < words; i++) atomic_store_explicit(&slot->word[i], word[i], memory_order_release);
    if (atomic_compare_exchange_strong_explicit(&slot->number, &number, number + 1, memory_order_release, memory_order_relaxed))
        return true;
    atomic_fetch_add_explicit(&s->lost, 1, memory_order_relaxed); /* overtaken, or the size changes */
    return false;
}

bool recorder_put(struct recorder *r, unsigned worker, const struct record *rec, bool keep_id) {
    struct record copy = *rec;
    return put_words(r, worker, &copy, RECORD_WORDS, keep_id);
}

bool recorder_add(struct recorder *r, unsigned worker, const struct decision *d) {
    struct record rec; /* the tail of its text is not written out */
    if (!atomic_load_explicit(&r->layout, memory_order_relaxed)) return false;
    if (d->verdict == VERDICT_ALLOW && !atomic_load_explicit(&r->shown, memory_order_relaxed)) return false;
    unsigned words = encode(r, d, &rec);
    return put_words(r, worker, &rec, words, false);
}
