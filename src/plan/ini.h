/* The INI rules (I1–I8): java.util.Properties with a place on every entry. Pure: text in, entries out.
 * The oracle is JDK 17: the same file read by java.util.Properties gives the same keys and values (tests/plan). */
#ifndef PORTREEVE_PLAN_INI_H
#define PORTREEVE_PLAN_INI_H
#include "base/err.h"
#include <stdint.h>

#define INI_MAX_BYTES   (1u << 20)
#define INI_MAX_ENTRIES 65536u

struct ini_entry {
    /* UTF-8, NUL-terminated but counted, since \u0000 is legal. A lone surrogate from an escape is kept as three bytes (ED A0..BF xx),
     * the only way in which these are not valid UTF-8. */
    char *key, *value;
    uint32_t key_n, value_n;
    uint32_t line;   /* 1-based line on which the key begins */
    uint32_t last;   /* line on which the value ends: continuations count */
    uint32_t dup_of; /* line of the earlier entry with the same key that this one replaces; 0 = none (I6) */
    bool bad_escape; /* an unknown escape dropped its backslash (I4): warn where the entry is a path */
    bool special;    /* read by the `Secure-[addr]` exception (design.md traps) instead of plain Properties rules */
};

struct ini {
    struct ini_entry *entry; /* in file order, duplicates included; the last of equal keys is in force */
    uint32_t n;
    bool latin1; /* the file was not valid UTF-8 and was read as Latin-1 (I7) */
};

/* Parse. On false nothing is left to free and e says "display:line: …". `display` is only for messages. */
bool ini_parse(const char *text, size_t n, const char *display, struct ini *out, struct err *e);
void ini_finish(struct ini *i);                                         /* frees; zeroed struct is legal */
const struct ini_entry *ini_find(const struct ini *i, const char *key); /* the entry in force, or NULL */
#endif
