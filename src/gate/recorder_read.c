/* The flight recorder's readers: all that stands there in order of time, what is new, and the change of its size. */
#include "base/clock.h"
#include "gate/recorder_i.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HALF_WRITTEN_MS 1000 /* a record that is not whole after this long never will be */

bool recorder_copy(const struct record_slot *s, struct record *out, uint64_t *number) {
    uint64_t word[RECORD_WORDS], n = atomic_load_explicit(&s->number, memory_order_acquire);
    if (n == 0 || (n & 1)) return false;
    for (unsigned i = 0; i < RECORD_WORDS; i++) word[i] = atomic_load_explicit(&s->word[i], memory_order_acquire);
    if (atomic_load_explicit(&s->number, memory_order_relaxed) != n) return false;
    memcpy(out, word, sizeof *out);
    *number = n;
    return true;
}

static const char *name_at(const struct recorder *r, uint16_t at, char out[RECORDER_NAME]) {
    out[0] = 0;
    if (at == 0 || at >= RECORDER_NAMES) return out;
    const struct record_name *x = &r->name[at];
    if ((atomic_load_explicit(&x->state, memory_order_acquire) & 3) != 3) return out;
    memcpy(out, x->text, sizeof x->text);
    out[sizeof x->text - 1] = 0;
    return out;
}

/* The next n bytes of the record's text, ended by NUL in t. */
static const char *text_at(const struct record *rec, uint8_t n, size_t *from, char **to, const char *end) {
    size_t room = sizeof rec->text - *from, fits = (size_t)(end - *to) - 1;
    size_t k = n < room ? n : room;
    if (k > fits) k = fits;
    char *s = *to;
    memcpy(s, rec->text + *from, k);
    s[k] = 0;
    *from += k;
    *to += k + 1;
    return s;
}

static void decode_ends(const struct record *rec, struct decision *out) {
    out->remote.family = rec->remote_family == 4 || rec->remote_family == 6 ? rec->remote_family : 0;
    out->local.family = rec->local_family == 4 || rec->local_family == 6 ? rec->local_family : 0;
    out->remote.port = rec->remote_port;
    out->local.port = rec->local_port;
    out->remote.scope = rec->scope;
    memcpy(out->remote.ip, rec->remote, 16);
    memcpy(out->local.ip, rec->local, 16);
}

void recorder_decode(const struct recorder *r, const struct record *rec, struct recorder_texts *t, struct decision *out) {
    size_t from = 0;
    char *to = t->text;
    const char *end = t->text + sizeof t->text;
    *out = (struct decision){.ms = rec->us / 1000,
                             .us = (uint16_t)(rec->us < 0 ? 0 : rec->us % 1000),
                             .id = rec->id,
                             .generation = rec->generation,
                             .policy_line = rec->policy_line,
                             .list_line = rec->list_line,
                             .active = rec->active,
                             .from_address = rec->from_address,
                             .maximum = rec->maximum,
                             .per_address = rec->per_address,
                             .reserve = rec->reserve,
                             .rate_left = rec->rate_left,
                             .status = rec->status,
                             .delay_ms = rec->delay_ms};
    decode_ends(rec, out);
    out->stage = (enum stage)rec->stage;
    out->verdict = (enum verdict_kind)rec->verdict;
    out->listener = name_at(r, rec->listener, t->listener);
    out->reason = name_at(r, rec->reason, t->reason);
    out->policy_file = name_at(r, rec->policy, t->policy);
    out->list_file = name_at(r, rec->list, t->list);
    out->entry_file = name_at(r, rec->entry, t->entry);
    out->entry_line = rec->entry_line;
    out->sni = text_at(rec, rec->sni_n, &from, &to, end);
    out->tags = text_at(rec, rec->tags_n, &from, &to, end);
    out->because = text_at(rec, rec->because_n, &from, &to, end);
}

/* The numbers whose records may stand in a segment. Places never written to are not looked at: that alone would make memory of them. */
struct span {
    uint64_t from, to;
};
static struct span span_of(const struct recorder *r, uint32_t segment, struct recorder_layout l) {
    struct span s = {.from = atomic_load(&r->segment[segment].start), .to = atomic_load(&r->segment[segment].next)};
    if (s.to < s.from || s.to - s.from > l.each) s.from = s.to > l.each ? s.to - l.each : 0;
    return s;
}

/* ---- in order of time ---- */

struct place {
    int64_t us;
    uint64_t id, number;
    uint32_t slot;
};
struct recorder_view {
    const struct recorder *r;
    size_t n, at;
    struct recorder_texts texts;
    struct place place[];
};

static int newer(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->us != y->us) return x->us > y->us ? -1 : 1;
    return x->id == y->id ? 0 : x->id > y->id ? -1 : 1;
}

struct recorder_view *recorder_view_create(const struct recorder *r) {
    struct recorder_layout l = recorder_layout(r);
    uint32_t shown = recorder_shown(r), total = shown ? l.segments * l.each : 0;
    struct recorder_view *v = malloc(sizeof *v + total * sizeof *v->place);
    struct record rec;
    if (!v) return NULL;
    *v = (struct recorder_view){.r = r};
    for (uint32_t i = 0; i < l.segments; i++) {
        struct span s = span_of(r, i, l);
        for (; s.from < s.to && v->n < total; s.from++) {
            uint32_t at = i * l.each + (uint32_t)(s.from % l.each);
            uint64_t number;
            if (recorder_copy(&r->slot[at], &rec, &number))
                v->place[v->n++] = (struct place){.us = rec.us, .id = rec.id, .number = number, .slot = at};
        }
    }
    qsort(v->place, v->n, sizeof *v->place, newer);
    if (v->n > shown) v->n = shown;
    return v;
}

void recorder_view_destroy(struct recorder_view *v) {
    free(v);
}

bool recorder_next(struct recorder_view *v, struct decision *out) {
    struct record rec;
    uint64_t number;
    while (v->at < v->n) {
        const struct place *p = &v->place[v->at++];
        if (!recorder_copy(&v->r->slot[p->slot], &rec, &number) || number != p->number) continue;
        recorder_decode(v->r, &rec, &v->texts, out);
        return true;
    }
    return false;
}

/* ---- what is new ---- */

struct recorder_tail {
    struct recorder *r;
    uint64_t layout, at[RECORDER_SEGMENTS];
    uint32_t segment;
    int64_t stuck_since[RECORDER_SEGMENTS]; /* 0 = no record is waited for */
    struct recorder_texts texts;
};

static void tail_begin(struct recorder_tail *t, bool resized) {
    t->layout = atomic_load_explicit(&t->r->layout, memory_order_acquire);
    for (unsigned i = 0; i < RECORDER_SEGMENTS; i++) {
        struct record_segment *s = &t->r->segment[i];
        uint64_t told = atomic_load_explicit(&s->told, memory_order_relaxed), start = atomic_load_explicit(&s->start, memory_order_relaxed);
        t->at[i] = resized || start > told ? start : told;
        t->stuck_since[i] = 0;
    }
}

struct recorder_tail *recorder_tail_create(struct recorder *r) {
    struct recorder_tail *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->r = r;
    tail_begin(t, false);
    return t;
}

void recorder_tail_destroy(struct recorder_tail *t) {
    free(t);
}

static void tail_advance(struct recorder_tail *t, unsigned i, uint64_t by) {
    t->at[i] += by;
    t->stuck_since[i] = 0;
    atomic_store_explicit(&t->r->segment[i].told, t->at[i], memory_order_relaxed);
}

/* The number at this place is not the one expected yet: wait for its writer, but not for ever. */
static bool tail_waits(struct recorder_tail *t, unsigned i) {
    int64_t now = clock_mono_ms();
    if (!t->stuck_since[i]) t->stuck_since[i] = now;
    return now - t->stuck_since[i] < HALF_WRITTEN_MS;
}

/* One look at a segment: 1 = a decision, 0 = nothing there now, -1 = moved on, look again. */
static int tail_look(struct recorder_tail *t, unsigned i, struct recorder_layout l, struct decision *out, uint64_t *missed) {
    struct record_segment *s = &t->r->segment[i];
    uint64_t next = atomic_load_explicit(&s->next, memory_order_acquire), number;
    struct record rec;
    if (t->at[i] >= next) return 0;
    if (next - t->at[i] > l.each) {
        uint64_t gone = next - l.each - t->at[i];
        *missed += gone;
        tail_advance(t, i, gone);
    }
    bool whole = recorder_copy(&t->r->slot[i * l.each + t->at[i] % l.each], &rec, &number);
    if (!whole || number < 2 * t->at[i] + 2) {
        if (tail_waits(t, i)) return 0;
        tail_advance(t, i, 1); /* its writer died in the middle, or passed this place over */
        return -1;
    }
    bool mine = number == 2 * t->at[i] + 2; /* else it has been overwritten just now */
    *missed += !mine;
    tail_advance(t, i, 1);
    if (!mine || rec.again) return -1;
    recorder_decode(t->r, &rec, &t->texts, out);
    return 1;
}

bool recorder_tail_next(struct recorder_tail *t, struct decision *out, uint64_t *missed) {
    struct recorder_layout l = recorder_layout(t->r);
    if (atomic_load_explicit(&t->r->layout, memory_order_acquire) != t->layout) tail_begin(t, true);
    for (unsigned tried = 0; tried < l.segments; tried++) {
        int r = -1;
        unsigned i = t->segment % l.segments;
        while (r < 0) r = tail_look(t, i, l, out, missed);
        if (r > 0) return true;
        t->segment = (i + 1) % l.segments;
    }
    return false;
}

/* ---- the size ---- */

struct kept {
    struct record rec;
    uint64_t number;
};

static int newer_kept(const void *a, const void *b) {
    const struct kept *x = a, *y = b;
    if (x->rec.us != y->rec.us) return x->rec.us > y->rec.us ? -1 : 1;
    return x->rec.id == y->rec.id ? 0 : x->rec.id > y->rec.id ? -1 : 1;
}

/* All that stands there, newest first. NULL = out of memory. */
static struct kept *keep(const struct recorder *r, struct recorder_layout l, size_t *n) {
    uint32_t total = l.segments * l.each;
    struct kept *k = malloc((total + 1) * sizeof *k);
    *n = 0;
    for (uint32_t i = 0; k && i < l.segments; i++) {
        uint64_t told = atomic_load_explicit(&r->segment[i].told, memory_order_relaxed);
        for (struct span s = span_of(r, i, l); s.from < s.to && *n < total; s.from++) {
            struct kept *x = &k[*n];
            if (!recorder_copy(&r->slot[i * l.each + s.from % l.each], &x->rec, &x->number)) continue;
            x->rec.again = x->rec.again || x->number / 2 - 1 < told;
            ++*n;
        }
    }
    if (k) qsort(k, *n, sizeof *k, newer_kept);
    return k;
}

/* Every number becomes 0, and the memory goes back. */
static void forget(struct recorder *r) {
    if (madvise(r->slot, (size_t)RECORDER_MOST * sizeof *r->slot, MADV_REMOVE) == 0) return;
    for (uint32_t i = 0; i < RECORDER_MOST; i++)
        if (atomic_load_explicit(&r->slot[i].number, memory_order_relaxed)) atomic_store(&r->slot[i].number, 0);
}

bool recorder_resize(struct recorder *r, uint32_t records, unsigned workers) {
    struct recorder_layout old = recorder_layout(r), now = {.segments = workers < 1                   ? 1
                                                                        : workers > RECORDER_SEGMENTS ? RECORDER_SEGMENTS
                                                                                                      : workers};
    uint32_t was_shown = atomic_load(&r->shown), room = records < RECORDER_LEAST  ? RECORDER_LEAST
                                                        : records < RECORDER_MOST ? records
                                                                                  : RECORDER_MOST;
    now.each = room / now.segments;
    bool same = now.segments == old.segments && now.each == old.each;
    if (same && (records != 0) == (was_shown != 0)) {
        atomic_store(&r->shown, records);
        return true;
    }
    size_t n;
    struct kept *k = keep(r, old, &n);
    if (!k) return false;
    atomic_store(&r->shown, records);
    forget(r);
    for (unsigned i = 0; i < RECORDER_SEGMENTS; i++) atomic_store(&r->segment[i].start, atomic_load(&r->segment[i].next));
    atomic_store_explicit(&r->layout, (uint64_t)now.segments << 32 | now.each, memory_order_release);
    size_t fit = records && was_shown ? (size_t)now.segments * now.each : 0;
    for (size_t i = n < fit ? n : fit; i > 0; i--) recorder_put(r, (unsigned)i, &k[i - 1].rec, true);
    free(k);
    return true;
}
