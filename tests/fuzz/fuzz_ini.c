/* Fuzz target: the INI reader. What it reads must be what it claims (counted, in order, duplicates named), and writing every entry out
 * again by the rules and reading that must give the same entries. */
#include "base/buf.h"
#include "plan/ini.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fine) {
    if (!fine) abort();
}

static void check_entry(const struct ini *i, uint32_t n) {
    const struct ini_entry *x = &i->entry[n];
    uint32_t dup = 0;
    must(x->key[x->key_n] == 0 && x->value[x->value_n] == 0);
    must(x->line >= 1 && (n == 0 || x->line > i->entry[n - 1].line));
    for (uint32_t k = n < 200 ? 0 : n - 200; k < n; k++)
        if (i->entry[k].key_n == x->key_n && memcmp(i->entry[k].key, x->key, x->key_n) == 0) dup = i->entry[k].line;
    must(n >= 200 ? dup == 0 || x->dup_of == dup : x->dup_of == dup);
    must(!x->special || strncmp(x->key, "Secure-[", 8) == 0);
}

/* A lone surrogate's three bytes are not valid UTF-8 and have to be written as an escape. */
static bool put_escaped(struct buf *out, const char *s, uint32_t n) {
    bool fine = true;
    for (uint32_t i = 0; fine && i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == 0xed && i + 2 < n && (unsigned char)s[i + 1] >= 0xa0) {
            fine = buf_fmt(out, "\\u%04x", 0xd000u | ((unsigned)s[i + 1] & 0x3f) << 6 | ((unsigned)s[i + 2] & 0x3f));
            i += 2;
        } else if (c < 0x20 || c == 0x7f) {
            fine = buf_fmt(out, "\\u%04X", c);
        } else if (strchr("\\ =:#!\"'", c)) {
            fine = buf_add(out, "\\", 1) && buf_add(out, s + i, 1);
        } else {
            fine = buf_add(out, s + i, 1);
        }
    }
    return fine;
}

static void check_again(const struct ini *i) {
    struct buf text = {0};
    struct ini again = {0};
    bool fine = buf_str(&text, "#\n"); /* keeps a first key that begins with U+FEFF from being taken for a BOM */
    for (uint32_t n = 0; fine && n < i->n; n++) {
        fine = put_escaped(&text, i->entry[n].key, i->entry[n].key_n) && buf_str(&text, n % 3 == 0   ? "="
                                                                                        : n % 3 == 1 ? " : "
                                                                                                     : "=\\\r\n\t");
        fine = fine && put_escaped(&text, i->entry[n].value, i->entry[n].value_n) && buf_str(&text, n % 2 ? "\n" : "\r");
    }
    if (!fine || text.n > INI_MAX_BYTES) {
        buf_free(&text);
        return;
    }
    must(ini_parse(text.p, text.n, "again", &again, NULL) && again.n == i->n && !again.latin1);
    for (uint32_t n = 0; n < i->n; n++) {
        const struct ini_entry *a = &i->entry[n], *b = &again.entry[n];
        must(a->key_n == b->key_n && memcmp(a->key, b->key, a->key_n) == 0 && a->value_n == b->value_n &&
             memcmp(a->value, b->value, a->value_n) == 0);
        must((a->dup_of != 0) == (b->dup_of != 0));
    }
    ini_finish(&again);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ini i = {0};
    struct err e = {""};
    if (!ini_parse((const char *)data, size, "fuzz.ini", &i, &e)) {
        must(strncmp(e.text, "fuzz.ini:", 9) == 0 && !i.entry);
        return 0;
    }
    for (uint32_t n = 0; n < i.n; n++) check_entry(&i, n);
    check_again(&i);
    ini_finish(&i);
    return 0;
}
