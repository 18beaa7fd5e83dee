/* Texts, each kept once: the sockets of a plan say the same few over and over. Equal texts of one collection are one pointer. */
#ifndef PORTREEVE_PLAN_TEXTS_H
#define PORTREEVE_PLAN_TEXTS_H
#include <stddef.h>
#include <stdint.h>

struct text_slot {
    const char *s;
    size_t n;
    uint32_t hash;
};

struct texts { /* all zero = empty */
    struct text_chunk *chunk;
    struct text_slot *slot; /* open addressing; cap is 0 or a power of two */
    uint32_t n, cap;
};

/* s, n bytes without NUL, as a text that lives as long as t, or longer where n is 0. NULL: out of memory. */
const char *texts_add(struct texts *t, const char *s, size_t n);
void texts_finish(struct texts *t); /* empty again */
#endif
