#include "gate/hash.h"
#include <string.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIPROUND                                                  \
    do {                                                          \
        v0 += v1, v1 = ROTL(v1, 13), v1 ^= v0, v0 = ROTL(v0, 32); \
        v2 += v3, v3 = ROTL(v3, 16), v3 ^= v2;                    \
        v0 += v3, v3 = ROTL(v3, 21), v3 ^= v0;                    \
        v2 += v1, v1 = ROTL(v1, 17), v1 ^= v2, v2 = ROTL(v2, 32); \
    } while (0)

uint64_t hash_words(const uint64_t key[2], const uint64_t *w, unsigned n) {
    uint64_t v0 = 0x736f6d6570736575ull ^ key[0], v1 = 0x646f72616e646f6dull ^ key[1];
    uint64_t v2 = 0x6c7967656e657261ull ^ key[0], v3 = 0x7465646279746573ull ^ key[1];
    for (unsigned i = 0; i < n; i++) {
        v3 ^= w[i];
        SIPROUND;
        v0 ^= w[i];
    }
    const uint64_t length = (uint64_t)n * 8 << 56;
    v3 ^= length;
    SIPROUND;
    v0 ^= length;
    v2 ^= 0xff;
    SIPROUND;
    SIPROUND;
    SIPROUND;
    uint64_t h = v0 ^ v1 ^ v2 ^ v3;
    return h ? h : 1;
}

uint64_t hash_text(const uint64_t key[2], const char *text) {
    uint64_t w[8] = {0}; /* 64 bytes: the longest name of a listener */
    size_t n = strlen(text);
    memcpy(w, text, n < sizeof w ? n : sizeof w);
    return hash_words(key, w, 8);
}

void hash_prefix(const struct addr *a, unsigned bits, uint64_t out[2]) {
    unsigned char ip[16] = {0};
    const unsigned most = a->family == 4 ? 32 : 128;
    if (bits == 0 || bits > most) bits = most;
    memcpy(ip, a->ip, bits / 8);
    if (bits % 8) ip[bits / 8] = (unsigned char)(a->ip[bits / 8] & (0xff00u >> (bits % 8)));
    memcpy(out, ip, sizeof ip);
}
