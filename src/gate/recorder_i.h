/* Layout of the flight recorder's memory, for recorder*.c. */
#ifndef PORTREEVE_GATE_RECORDER_I_H
#define PORTREEVE_GATE_RECORDER_I_H
#include "gate/recorder.h"
#include <stdatomic.h>

#define RECORDER_MAGIC  0x7072726563726431ull
#define RECORDER_NAMES  2048u /* a power of two */
#define RECORDER_PROBES 16u
#define RECORDER_NAME   256u
#define RECORDER_LEAST  4096u /* records there is room for, however few are shown: the tail must not be overtaken at once */
#define RECORD_TEXT     126u
#define RECORD_WORDS    31u /* behind the number */

struct record { /* as it is written, but for the number in front: 31 words */
    int64_t us; /* unix, microseconds */
    uint64_t id;
    uint8_t remote[16], local[16];
    uint64_t generation;
    uint32_t scope, policy_line, list_line, entry_line;
    uint32_t active, from_address, maximum, per_address, reserve;
    int32_t rate_left;
    uint16_t remote_port, local_port, status, delay_ms;
    uint16_t listener, reason, policy, list, entry; /* names; 0 = "" */
    uint8_t stage, verdict, remote_family, local_family;
    uint8_t again;                    /* put back at a change of size: not new */
    uint8_t because_n, sni_n, tags_n; /* in text, in this order */
    char text[RECORD_TEXT];
};
_Static_assert(sizeof(struct record) == RECORD_WORDS * 8, "a record fills its words");

struct record_slot { /* even number: whole; odd: being written; 0: never was */
    _Alignas(64) _Atomic uint64_t number;
    _Atomic uint64_t word[RECORD_WORDS];
};
_Static_assert(sizeof(struct record_slot) == 256, "four cache lines");

struct record_name { /* state 0 free, 1 being written (for ever, where the writer died), else ready: the hash with its two lowest bits set
                      */
    _Atomic uint32_t state;
    char text[RECORDER_NAME - 4];
};
struct record_segment {
    _Alignas(64) _Atomic uint64_t next; /* number of the next record */
    _Atomic uint64_t lost;
    _Alignas(64) _Atomic uint64_t told; /* up to here the tail has seen them */
    _Atomic uint64_t start;             /* after a change of size the tail goes on here */
};
struct recorder {
    uint64_t magic, bytes;
    uint64_t run;
    _Atomic uint64_t layout; /* segments << 32 | records of each; 0 = not set yet */
    _Atomic uint32_t shown;  /* the newest of them that readers are told; 0: none, and only refusals pass through, for the log */
    struct record_segment segment[RECORDER_SEGMENTS];
    struct record_name name[RECORDER_NAMES];
    _Alignas(4096) struct record_slot slot[]; /* RECORDER_MOST of them; memory is there only where something was written */
};
#define RECORDER_BYTES (sizeof(struct recorder) + (size_t)RECORDER_MOST * sizeof(struct record_slot))

struct recorder_layout { /* checked: what an engine wrote is not trusted */
    uint32_t segments, each;
};
static inline struct recorder_layout recorder_layout(const struct recorder *r) {
    uint64_t w = atomic_load_explicit(&r->layout, memory_order_acquire);
    struct recorder_layout l = {.segments = (uint32_t)(w >> 32), .each = (uint32_t)w};
    if (l.segments > RECORDER_SEGMENTS || !l.each || (uint64_t)l.segments * l.each > RECORDER_MOST) l = (struct recorder_layout){0};
    return l;
}
static inline uint32_t recorder_shown(const struct recorder *r) {
    struct recorder_layout l = recorder_layout(r);
    uint32_t n = atomic_load_explicit(&r->shown, memory_order_relaxed);
    return n < l.segments * l.each ? n : l.segments * l.each;
}
/* Copy one whole record. false: none stands there, or it changed meanwhile. */
bool recorder_copy(const struct record_slot *s, struct record *out, uint64_t *number);
/* Write one record behind all others of its segment. */
bool recorder_put(struct recorder *r, unsigned worker, const struct record *rec, bool keep_id);

struct recorder_texts { /* what a decoded decision points to */
    char listener[RECORDER_NAME], reason[RECORDER_NAME], policy[RECORDER_NAME], list[RECORDER_NAME], entry[RECORDER_NAME];
    char text[RECORD_TEXT + 3];
};
void recorder_decode(const struct recorder *r, const struct record *rec, struct recorder_texts *t, struct decision *out);
#endif
