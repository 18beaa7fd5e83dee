/* Texts kept once: equal ones are one pointer, whatever their number and length. */
#include "plan/texts.h"
#include "unit/tap.h"
#include <stdlib.h>
#include <string.h>

#define MANY 5000u

static void test_many(void) {
    static const char *kept[MANY];
    struct texts t = {0};
    char text[32];
    unsigned bad = 0;
    for (unsigned i = 0; i < MANY; i++) {
        int n = snprintf(text, sizeof text, "text %u", i);
        kept[i] = texts_add(&t, text, (size_t)n);
    }
    for (unsigned i = 0; i < MANY; i++) {
        int n = snprintf(text, sizeof text, "text %u", i);
        bad += !kept[i] || strcmp(kept[i], text) != 0 || texts_add(&t, text, (size_t)n) != kept[i];
    }
    ok(bad == 0 && t.n == MANY, "%u texts, each there once and unchanged", t.n);
    texts_finish(&t);
    ok(!t.chunk && !t.slot && t.n == 0, "and gone");
}

static void test_odd(void) {
    struct texts t = {0};
    char *large = malloc(100000);
    if (!large) abort();
    memset(large, 'x', 100000);
    ok(strcmp(texts_add(&t, "whatever", 0), "") == 0 && !t.slot, "an empty text costs nothing");
    const char *a = texts_add(&t, "abc", 2), *b = texts_add(&t, "ab", 2), *c = texts_add(&t, "abc", 3);
    ok(a == b && strcmp(a, "ab") == 0 && c != a && strcmp(c, "abc") == 0, "only the bytes asked for count");
    const char *l = texts_add(&t, large, 100000);
    ok(l && strlen(l) == 100000 && texts_add(&t, large, 100000) == l && texts_add(&t, large, 99999) != l, "long ones too");
    ok(texts_add(&t, "ab", 2) == a, "short ones are found after a long one");
    free(large);
    texts_finish(&t);
    texts_finish(&t);
}

int main(void) {
    test_many();
    test_odd();
    return tap_end();
}
