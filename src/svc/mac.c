#include "svc/mac.h"
#include <openssl/crypto.h>
#include <string.h>

static void begin(SHA256_CTX *c, const uint8_t *key, size_t n, uint8_t pad) {
    uint8_t block[SHA256_CBLOCK];
    memset(block, pad, sizeof block);
    for (size_t i = 0; i < n && i < sizeof block; i++) block[i] ^= key[i];
    SHA256_Init(c);
    SHA256_Update(c, block, sizeof block);
    OPENSSL_cleanse(block, sizeof block);
}

void mac_prepare(struct mac_key *k, const uint8_t *key, size_t n) {
    begin(&k->inner, key, n, 0x36);
    begin(&k->outer, key, n, 0x5c);
}

void mac_sign(const struct mac_key *k, const void *a, size_t an, const void *b, size_t bn, uint8_t out[32]) {
    SHA256_CTX c = k->inner;
    SHA256_Update(&c, a, an);
    if (bn) SHA256_Update(&c, b, bn);
    SHA256_Final(out, &c);
    c = k->outer;
    SHA256_Update(&c, out, 32);
    SHA256_Final(out, &c);
}
