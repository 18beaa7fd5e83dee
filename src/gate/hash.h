/* Keyed hash of a few words: strangers choose the addresses that are hashed, so the tables' key is secret and random per run. */
#ifndef PORTREEVE_GATE_HASH_H
#define PORTREEVE_GATE_HASH_H
#include "base/addr.h"

/* SipHash-1-3 (Aumasson, Bernstein 2012) of n words, n < 32. Never 0, which tables use for "none". */
uint64_t hash_words(const uint64_t key[2], const uint64_t *w, unsigned n);
/* The same of a text, for names that must hash alike in every engine of a run. */
uint64_t hash_text(const uint64_t key[2], const char *text);
/* The first `bits` bits of an address (0 and too many: all of it) as two words in the order of their bytes, the rest zero. */
void hash_prefix(const struct addr *a, unsigned bits, uint64_t out[2]);
#endif
