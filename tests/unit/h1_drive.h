/* One HTTP/1.1 connection without a socket, as the engine would drive the parser, written down step by step so that two ways of feeding
 * the same bytes can be compared. Every feed moves the bytes to a block of exactly their size, so that a sanitizer sees each byte read
 * outside and each slice kept too long. Used by tests/unit/h1.c and tests/fuzz/fuzz_h1.c. */
#ifndef PORTREEVE_TESTS_H1_DRIVE_H
#define PORTREEVE_TESTS_H1_DRIVE_H
#include "proto/h1.h"
#include <stdlib.h>

#define DRIVE_STEPS  8
#define DRIVE_FIELDS 128

enum drive_kind { DRIVE_ACCEPT, DRIVE_CLOSE, DRIVE_REFUSE, DRIVE_MORE };
struct drive_step {
    enum drive_kind kind;
    int status;      /* DRIVE_REFUSE */
    const char *why; /* DRIVE_REFUSE */
    uint64_t hash;   /* of everything the request said, its body with it */
};
struct drive {
    struct h1_limits limits;
    char *p;
    size_t n;
    size_t head, body_n; /* inside a request: bytes of the head, decoded bytes behind it */
    struct h1_scan scan;
    struct h1_body body;
    struct request req;
    struct field field[DRIVE_FIELDS];
    struct drive_step step[DRIVE_STEPS];
    int steps;
    bool in_body, over;
    bool stray; /* a slice outside of the head's bytes: a defect of the parser */
    void (*seen)(const struct request *req, int step, void *arg);
    void *arg;
};

static inline uint64_t drive_mix(uint64_t h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001b3u;
    return (h ^ n) * 0x100000001b3u;
}

static inline void drive_start(struct drive *d, const struct h1_limits *limits) {
    memset(d, 0, sizeof *d);
    d->limits = *limits;
}

static inline bool drive_inside(const struct drive *d, struct slice s) {
    return s.p >= d->p && s.p + s.n <= d->p + d->head;
}

static inline void drive_check(struct drive *d) {
    const struct request *r = &d->req;
    bool fine = drive_inside(d, r->method_text) && drive_inside(d, r->target) && r->path.n > 0 && r->nfields <= d->limits.max_fields;
    fine = fine && (drive_inside(d, r->path) || slice_is(r->path, "/") || slice_is(r->path, "*"));
    fine = fine && (!r->query.p || drive_inside(d, r->query)) && (r->host.n > 0 ? drive_inside(d, r->host) : r->minor == 0);
    for (unsigned i = 0; fine && i < r->nfields; i++) fine = drive_inside(d, r->field[i].name) && drive_inside(d, r->field[i].value);
    if (!fine) d->stray = true;
}

static inline uint64_t drive_hash(const struct request *r) {
    uint64_t h = 0xcbf29ce484222325u;
    int64_t flags[] = {(int64_t)r->method, r->minor, r->keep_alive, r->chunked, r->expect_continue, r->content_length, r->query.p != NULL};
    struct slice all[] = {r->method_text, r->target, r->path, r->query, r->host, r->body};
    h = drive_mix(h, flags, sizeof flags);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) h = drive_mix(h, all[i].p, all[i].n);
    for (unsigned i = 0; i < r->nfields; i++) {
        h = drive_mix(h, r->field[i].name.p, r->field[i].name.n);
        h = drive_mix(h, r->field[i].value.p, r->field[i].value.n);
    }
    return h;
}

static inline bool drive_note(struct drive *d, enum drive_kind kind, const struct h1_bad *bad) {
    struct drive_step *s = &d->step[d->steps++];
    *s = (struct drive_step){.kind = kind};
    if (kind == DRIVE_REFUSE) s->status = bad->status, s->why = bad->why;
    if (kind == DRIVE_ACCEPT || kind == DRIVE_CLOSE) s->hash = drive_hash(&d->req);
    if (kind != DRIVE_ACCEPT || d->steps == DRIVE_STEPS) d->over = true;
    return !d->over;
}

/* false: nothing more can be done with the bytes at hand. */
static inline bool drive_head(struct drive *d) {
    struct h1_bad bad = {0};
    size_t used = 0;
    enum h1_result r = h1_head(&d->scan, d->p, d->n, &d->limits, d->field, &d->req, &used, &bad);
    if (r == H1_BAD) return drive_note(d, DRIVE_REFUSE, &bad);
    if (r == H1_MORE) return false;
    d->head = used;
    d->body_n = 0;
    d->in_body = true;
    drive_check(d);
    h1_body_start(&d->body, &d->req);
    return true;
}

static inline bool drive_body(struct drive *d) {
    struct h1_bad bad = {0};
    size_t used = 0, out = 0, at = d->head + d->body_n;
    enum h1_result r = h1_body_none(&d->body) ? H1_DONE : h1_body_eat(&d->body, d->p + at, d->n - at, &d->limits, &used, &out, &bad);
    if (r == H1_BAD) return drive_note(d, DRIVE_REFUSE, &bad);
    d->body_n += out;
    memmove(d->p + at + out, d->p + at + used, d->n - at - used);
    d->n -= used - out;
    if (r == H1_MORE) return false;
    d->req.body = (struct slice){d->p + d->head, (uint32_t)d->body_n};
    if (d->seen) d->seen(&d->req, d->steps, d->arg);
    bool on = drive_note(d, d->req.keep_alive ? DRIVE_ACCEPT : DRIVE_CLOSE, NULL);
    d->n -= d->head + d->body_n;
    memmove(d->p, d->p + d->head + d->body_n, d->n);
    d->in_body = false;
    d->scan = (struct h1_scan){0};
    return on && d->n > 0;
}

/* The n bytes at `from`, into which the slices point, now stand at `to`. */
static inline void drive_rebase_slice(struct slice *s, uintptr_t from, size_t n, const char *to) {
    uintptr_t at = (uintptr_t)s->p;
    if (s->p && at >= from && at - from <= n) s->p = to + (at - from);
}

static inline void drive_rebase(struct request *r, const char *from, size_t n, const char *to) {
    uintptr_t old = (uintptr_t)from;
    struct slice *all[] = {&r->method_text, &r->target, &r->path, &r->query, &r->host, &r->body};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) drive_rebase_slice(all[i], old, n, to);
    for (unsigned i = 0; i < r->nfields; i++) {
        drive_rebase_slice(&r->field[i].name, old, n, to);
        drive_rebase_slice(&r->field[i].value, old, n, to);
    }
}

static inline void drive_feed(struct drive *d, const char *p, size_t n) {
    if (d->over) return;
    char *fresh = malloc(d->n + n + (d->n + n == 0));
    if (!fresh) abort();
    if (d->n) memcpy(fresh, d->p, d->n);
    if (n) memcpy(fresh + d->n, p, n);
    if (d->in_body) drive_rebase(&d->req, d->p, d->head, fresh);
    free(d->p);
    d->p = fresh;
    d->n += n;
    for (bool on = true; on && !d->over;) on = d->in_body ? drive_body(d) : drive_head(d);
}

/* The peer sends no more. Frees everything; step and stray stay. */
static inline void drive_end(struct drive *d) {
    if (!d->over && (d->n > 0 || d->in_body)) drive_note(d, DRIVE_MORE, NULL);
    free(d->p);
    d->p = NULL;
}

static inline bool drive_same(const struct drive *a, const struct drive *b) {
    if (a->steps != b->steps || a->stray || b->stray) return false;
    for (int i = 0; i < a->steps; i++) {
        const struct drive_step *x = &a->step[i], *y = &b->step[i];
        if (x->kind != y->kind || x->status != y->status || x->why != y->why || x->hash != y->hash) return false;
    }
    return true;
}
#endif
