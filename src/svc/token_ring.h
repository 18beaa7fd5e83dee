/* The key ring's inside, for token.c and token_ring.c only. */
#ifndef PORTREEVE_SVC_TOKEN_RING_H
#define PORTREEVE_SVC_TOKEN_RING_H
#include "svc/token.h"

#define TOKEN_KINDS     5
#define TOKEN_KEYS_MAX  64
#define TOKEN_KEY_BYTES 32

struct token_key {
    uint8_t id;
    int64_t created, retired; /* unix seconds; retired 0 = in use */
    uint8_t derived[TOKEN_KINDS][TOKEN_KEY_BYTES];
};
struct token_ring { /* whole pages, MADV_DONTDUMP */
    unsigned n;
    int newest;        /* slot that signs; -1 = all are retired */
    int16_t slot[256]; /* by key id; -1 = unknown */
    struct token_key key[TOKEN_KEYS_MAX];
};

bool token_ring_expired(const struct token_ring *r, unsigned slot, uint32_t now_minute);
#endif
