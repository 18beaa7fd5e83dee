#include "plan/texts.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 4000u

struct text_chunk {
    struct text_chunk *next;
    size_t used, room;
    char bytes[];
};

static uint32_t hash_of(const char *s, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h;
}

/* Where the text is, or the free place where it belongs. */
static struct text_slot *find(const struct texts *t, const char *s, size_t n, uint32_t hash) {
    uint32_t i = hash & (t->cap - 1);
    for (; t->slot[i].s; i = (i + 1) & (t->cap - 1)) {
        const struct text_slot *at = &t->slot[i];
        if (at->hash == hash && at->n == n && memcmp(at->s, s, n) == 0) break;
    }
    return &t->slot[i];
}

static bool grow(struct texts *t) {
    struct texts more = {.cap = t->cap ? t->cap * 2 : 64};
    if (!(more.slot = calloc(more.cap, sizeof *more.slot))) return false;
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->slot[i].s) *find(&more, t->slot[i].s, t->slot[i].n, t->slot[i].hash) = t->slot[i];
    free(t->slot);
    t->slot = more.slot;
    t->cap = more.cap;
    return true;
}

static char *room_for(struct texts *t, size_t n) {
    struct text_chunk *c = t->chunk;
    if (!c || c->room - c->used < n) {
        size_t room = n > CHUNK ? n : CHUNK;
        if (!(c = malloc(sizeof *c + room))) return NULL;
        *c = (struct text_chunk){.next = t->chunk, .room = room};
        t->chunk = c;
    }
    c->used += n;
    return c->bytes + c->used - n;
}

const char *texts_add(struct texts *t, const char *s, size_t n) {
    if (n == 0) return "";
    if (t->n * 2 >= t->cap && !grow(t)) return NULL;
    uint32_t hash = hash_of(s, n);
    struct text_slot *at = find(t, s, n, hash);
    if (at->s) return at->s;
    char *copy = room_for(t, n + 1);
    if (!copy) return NULL;
    memcpy(copy, s, n);
    copy[n] = '\0';
    *at = (struct text_slot){.s = copy, .n = n, .hash = hash};
    t->n++;
    return copy;
}

void texts_finish(struct texts *t) {
    while (t->chunk) {
        struct text_chunk *next = t->chunk->next;
        free(t->chunk);
        t->chunk = next;
    }
    free(t->slot);
    *t = (struct texts){0};
}
