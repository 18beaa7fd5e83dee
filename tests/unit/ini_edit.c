/* Edits of INI texts: what changes, and above all what does not. */
#include "plan/ini_edit.h"
#include "plan/ini.h"
#include "unit/tap.h"
#include <stdlib.h>

static const struct {
    const char *what, *before, *entry, *value, *after; /* after NULL = refused */
} cases[] = {
    {"a value", "a.Port=1\n", "a.Port", "2", "a.Port=2\n"},
    {"I3: indentation, separator and comments stay", "# x\n  a.Port : 1\n# y\n", "a.Port", "2", "# x\n  a.Port : 2\n# y\n"},
    {"I3: a blank as separator", "a.Port 1\n", "a.Port", "2", "a.Port 2\n"},
    {"I3: an entry without value", "a.Port\nb=1\n", "a.Port", "2", "a.Port=2\nb=1\n"},
    {"I1: CRLF stays", "a.Port=1\r\nb=2\r\n", "a.Port", "22", "a.Port=22\r\nb=2\r\n"},
    {"I1: CR stays", "a.Port=1\rb=2\r", "a.Port", "22", "a.Port=22\rb=2\r"},
    {"I1: no line end at the end of the file", "b=1\na.Port=1", "a.Port", "2", "b=1\na.Port=2"},
    {"I5: continuation lines go", "a.Port=1,\\\n  2,\\\n  3\nb=1\n", "a.Port", "2", "a.Port=2\nb=1\n"},
    {"I5: with the value on the next line", "a.Port = \\\n  1\nb=1\n", "a.Port", "2", "a.Port = 2\nb=1\n"},
    {"I5: a key over two lines", "a.Po\\\nrt=1\nb=1\n", "a.Port", "2", "a.Port=2\nb=1\n"},
    {"I6: the last of two is the one that counts", "a.Port=1\nb=1\na.Port=2\n", "a.Port", "3", "a.Port=1\nb=1\na.Port=3\n"},
    {"I4: an escaped key", "a\\.Port=1\n", "a.Port", "2", "a.Port=2\n"},
    {"I7: a BOM stays",
     "\xef\xbb\xbf"
     "a.Port=1\n",
     "a.Port", "2",
     "\xef\xbb\xbf"
     "a.Port=2\n"},
    {"I7: Latin-1 stays", "# \xe4\na.Port=1\nx=\xfc\n", "a.Port", "2", "# \xe4\na.Port=2\nx=\xfc\n"},
    {"I4: a backslash and a leading separator are escaped", "a.List=x\n", "a.List", "=a\\b", "a.List=\\=a\\\\b\n"},
    {"the same value changes nothing", "  a.Port   =   1\n", "a.Port", "1", "  a.Port   =   1\n"},
    {"a new entry goes behind its listener's", "a.Port=1\nb.Port=2\n", "a.List", "x", "a.Port=1\na.List=x\nb.Port=2\n"},
    {"… behind its continuation lines", "a.Port=1,\\\n 2\nb.Port=2\n", "a.List", "x", "a.Port=1,\\\n 2\na.List=x\nb.Port=2\n"},
    {"a new listener goes to the end, apart", "a.Port=1\n", "b.Port", "2", "a.Port=1\n\nb.Port=2\n"},
    {"… of a file without last line end", "a.Port=1", "b.Port", "2", "a.Port=1\n\nb.Port=2\n"},
    {"… of a CRLF file", "a.Port=1\r\n", "b.Port", "2", "a.Port=1\r\n\r\nb.Port=2\r\n"},
    {"… of a file with an empty last line", "a.Port=1\n\n", "b.Port", "2", "a.Port=1\n\nb.Port=2\n"},
    {"… of an empty file", "", "b.Port", "2", "b.Port=2\n"},
    {"a plain entry goes to the end without a gap", "RMIPort=1\n", "CommunicationsPort", "2", "RMIPort=1\nCommunicationsPort=2\n"},
    {"a row's entry goes behind its row", "a.Port=1\na.2.Port=2\na.3.Port=3\n", "a.2.List", "x",
     "a.Port=1\na.2.Port=2\na.2.List=x\na.3.Port=3\n"},
    {"a new row goes behind its listener", "a.Port=1\nb.Port=2\n", "a.2.Port", "3", "a.Port=1\na.2.Port=3\nb.Port=2\n"},
    {"an entry of the listener stands above its rows", "a.Port=1\na.2.Port=2\n", "a.List", "x", "a.Port=1\na.List=x\na.2.Port=2\n"},
    {"an entry with a key goes behind its row", "a.Port=1\na.2.Port=2\nb.Port=3\n", "a.Backend-x.example.org", "y",
     "a.Port=1\na.Backend-x.example.org=y\na.2.Port=2\nb.Port=3\n"},
    {"… of a row", "a.Port=1\na.2.Port=2\nb.Port=3\n", "a.2.Backend-*.example.org", "y",
     "a.Port=1\na.2.Port=2\na.2.Backend-*.example.org=y\nb.Port=3\n"},
    {"… is changed", "a.Backend-x.y=1\na.Backend-x.z=2\n", "a.Backend-x.z", "3", "a.Backend-x.y=1\na.Backend-x.z=3\n"},
    {"… with a star goes alone", "a.Port=1\na.Backend-*.y=2\na.Backend-x.y=3\n", "a.Backend-*.y", NULL, "a.Port=1\na.Backend-x.y=3\n"},
    {"… that is not there, removed", "a.Port=1\n", "a.Backend-*.y", NULL, "a.Port=1\n"},
    {"removal", "a.Port=1\nb=1\n", "a.Port", NULL, "b=1\n"},
    {"removal of all of one name (I6)", "a.Port=1\nb=1\na.Port=2\n", "a.Port", NULL, "b=1\n"},
    {"removal with continuation lines (I5)", "a.Port=1,\\\n#2,\\\n 3\nb=1\n", "a.Port", NULL, "b=1\n"},
    {"removal of what is not there", "b=1\n", "a.Port", NULL, "b=1\n"},
    {"removal of a listener, rows too, comments stay", "# c\na.Port=1\nb.Port=2\na.2.Port=3\n# d\na.List=x\nab.Port=4\n", "a.*", NULL,
     "# c\nb.Port=2\n# d\nab.Port=4\n"},
    {"removal of a row", "a.Port=1\na.2.Port=3\na.2.List=x\na.22.Port=4\n", "a.2.*", NULL, "a.Port=1\na.22.Port=4\n"},
    {"a listener that is not there", "b.Port=1\n", "a.*", NULL, NULL},
    {"behind a line that ends in a lone backslash, apart", "b=1\\", "a.Port", "2", "b=1\\\n\na.Port=2\n"},
    {"what would become part of such a line is refused", "b=1\\", "CommunicationsPort", "2", NULL},
};

static void check_cases(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ini_change c = {cases[i].entry, cases[i].value};
        struct buf out = {0}, said = {0};
        struct err e = {""};
        bool good = ini_edit(cases[i].before, strlen(cases[i].before), "conf/x.ini", &c, 1, &out, &said, &e);
        bool same = cases[i].after && good && out.n == strlen(cases[i].after) && memcmp(out.p, cases[i].after, out.n) == 0;
        ok(cases[i].after ? same : !good && e.text[0], "edit: %s%s%s", cases[i].what, same || !cases[i].after ? "" : ": ",
           same || !cases[i].after ? ""
           : good                  ? out.p
                                   : e.text);
        buf_free(&out);
        buf_free(&said);
    }
}

static void check_several(void) {
    const struct ini_change c[] = {{"b.Port", "8082"}, {"a.*", NULL}, {"c.Port", "8083"}, {"c.List", "x"}};
    const char before[] = "a.Port=1\nb.Port=2\n";
    struct buf out = {0}, said = {0};
    struct err e = {""};
    bool good = ini_edit(before, sizeof before - 1, "conf/x.ini", c, 4, &out, &said, &e) && buf_add(&out, "", 1) && buf_add(&said, "", 1);
    ok(good && strcmp(out.p, "b.Port=8082\n\nc.Port=8083\nc.List=x\n") == 0, "several changes, one after the other");
    ok(good && strcmp(said.p, "conf/x.ini:1: b.Port=8082 (was 2)\nconf/x.ini: a.Port is removed (was 1)\n"
                              "conf/x.ini:3: c.Port=8083 (new)\nconf/x.ini:4: c.List=x (new)\n") == 0,
       "each is told with its place in the new text: %s", good ? said.p : e.text);
    buf_free(&out);
    buf_free(&said);
}

static const struct ini_entry *next_other(const struct ini *i, uint32_t *at) {
    while (*at < i->n && strcmp(i->entry[*at].key, "a.Port") == 0) ++*at;
    return *at < i->n ? &i->entry[(*at)++] : NULL;
}

static bool others_same(const struct ini *a, const struct ini *b) {
    uint32_t i = 0, j = 0;
    for (;;) {
        const struct ini_entry *x = next_other(a, &i), *y = next_other(b, &j);
        if (!x || !y) return !x && !y;
        if (x->key_n != y->key_n || x->value_n != y->value_n || memcmp(x->key, y->key, x->key_n) != 0 ||
            memcmp(x->value, y->value, x->value_n) != 0)
            return false;
    }
}

/* Whatever a file looks like: either everything but the entry is the same afterwards, or the edit is refused. */
static void check_random(void) {
    static const char *const parts[] = {"a.Port", "b", "=", ":",  " ",    "\\",         "\n",   "\r\n", "\r",
                                        "#",      "!", "1", "\t", "\\\n", "a.List=x\n", "\xe4", "\f"};
    unsigned seed = 12345, refused = 0, wrong = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char text[128] = "";
        for (unsigned k = 0; k < 12; k++) {
            seed = seed * 1103515245u + 12345u;
            strcat(text, parts[(seed >> 16) % (sizeof parts / sizeof *parts)]);
        }
        struct ini_change c = {"a.Port", round % 3 ? "77" : NULL};
        struct buf out = {0}, said = {0};
        struct err e;
        struct ini was = {0}, now;
        if (!ini_edit(text, strlen(text), "x", &c, 1, &out, &said, &e)) refused++;
        else if (!ini_parse(out.p ? out.p : "", out.n, "x", &now, &e) || !ini_parse(text, strlen(text), "x", &was, &e)) wrong++;
        else {
            const struct ini_entry *x = ini_find(&now, "a.Port");
            if (c.value ? !x || strcmp(x->value, c.value) != 0 : x != NULL) wrong++;
            else if (!others_same(&was, &now)) wrong++;
            ini_finish(&now);
            ini_finish(&was);
        }
        buf_free(&out);
        buf_free(&said);
    }
    ok(wrong == 0 && refused < 4000, "random texts: %u of 20000 refused, %u wrong", refused, wrong);
}

int main(void) {
    check_cases();
    check_several();
    check_random();
    return tap_end();
}
