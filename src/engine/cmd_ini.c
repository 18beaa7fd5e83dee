#include "base/file.h"
#include "engine/cmd.h"
#include "plan/ini.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char HELP[] =
    "usage: portreeve ini [--json] FILE\n"
    "\n"
    "Shows every entry of an INI file as it is read, in the order of the file, with the line on which it begins.\n"
    "The rules are those of java.util.Properties; a file that is not valid UTF-8 is read as Latin-1.\n"
    "\n"
    "  --json   an array of {\"key\", \"value\", \"line\"}; besides, where they apply: \"dup_of\" (line of the earlier entry with\n"
    "           this key, which this one replaces), \"bad_escape\" (an unknown escape lost its backslash), \"special\" (the colons\n"
    "           inside Secure-[address] did not end the key)\n"
    "  --help   this text\n"
    "\n"
    "Exit status: 0 read, 1 refused (file and line on standard error), 2 wrong usage.\n";

/* A lone UTF-16 surrogate, legal in a .properties file as \ud800, is kept as ED A0..BF xx; JSON can only say it as an escape. */
static bool json_text(struct buf *out, const char *s, size_t n) {
    size_t from = 0;
    struct buf part = {0};
    bool fine = buf_str(out, "\"");
    for (size_t i = 0; fine && i <= n; i++) {
        bool lone = i + 2 < n && (unsigned char)s[i] == 0xed && (unsigned char)s[i + 1] >= 0xa0;
        if (!lone && i < n) continue;
        buf_clear(&part);
        fine = buf_json(&part, s + from, i - from) && buf_add(out, part.p + 1, part.n - 2);
        if (!lone) break;
        unsigned unit = 0xd000u | ((unsigned)s[i + 1] & 0x3f) << 6 | ((unsigned)s[i + 2] & 0x3f);
        fine = fine && buf_fmt(out, "\\u%04x", unit);
        from = i + 3;
        i += 2;
    }
    buf_free(&part);
    return fine && buf_str(out, "\"");
}

static bool add_json(struct buf *out, const struct ini *ini) {
    bool fine = buf_str(out, "[");
    for (uint32_t i = 0; fine && i < ini->n; i++) {
        const struct ini_entry *x = &ini->entry[i];
        fine = buf_str(out, i ? ",\n {\"key\":" : "\n {\"key\":") && json_text(out, x->key, x->key_n) && buf_str(out, ",\"value\":") &&
               json_text(out, x->value, x->value_n) && buf_fmt(out, ",\"line\":%u", x->line);
        if (fine && x->dup_of) fine = buf_fmt(out, ",\"dup_of\":%u", x->dup_of);
        if (fine && x->bad_escape) fine = buf_str(out, ",\"bad_escape\":true");
        if (fine && x->special) fine = buf_str(out, ",\"special\":true");
        fine = fine && buf_str(out, "}");
    }
    return fine && buf_str(out, ini->n ? "\n]\n" : "]\n");
}

/* Values in quotes, so that trailing blanks and control characters can be seen. */
static bool add_readable(struct buf *out, const struct ini *ini, const char *file) {
    bool fine = true;
    if (ini->latin1) fine = buf_fmt(out, "%s: not valid UTF-8, read as Latin-1\n", file);
    for (uint32_t i = 0; fine && i < ini->n; i++) {
        const struct ini_entry *x = &ini->entry[i];
        fine = buf_fmt(out, "%s:%u: ", file, x->line) && json_text(out, x->key, x->key_n) && buf_str(out, " = ") &&
               json_text(out, x->value, x->value_n);
        if (fine && x->dup_of) fine = buf_fmt(out, "  (replaces line %u)", x->dup_of);
        if (fine && x->bad_escape) fine = buf_str(out, "  (an unknown escape lost its backslash; write \\\\ for a backslash)");
        fine = fine && buf_str(out, "\n");
    }
    return fine;
}

static int show(const char *file, bool json) {
    struct err e;
    struct ini ini = {0};
    struct buf text = {0}, out = {.max = 256u << 20};
    bool fine = file_read(file, INI_MAX_BYTES, &text, &e) && ini_parse(text.p, text.n, file, &ini, &e);
    if (fine && !(json ? add_json(&out, &ini) : add_readable(&out, &ini, file))) fine = err_set(&e, "%s: out of memory", file);
    if (fine && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout))) fine = err_set(&e, "cannot write to standard output");
    if (!fine) fprintf(stderr, "portreeve: %s\n", e.text);
    buf_free(&out);
    ini_finish(&ini);
    buf_free(&text);
    return fine ? 0 : 1;
}

int cmd_ini(int argc, char **argv) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    bool json = false;
    optind = 1;
    argv[0] = "portreeve ini"; /* what getopt's messages begin with */
    for (int c; (c = getopt_long(argc, argv, "jh", options, NULL)) != -1;) {
        if (c == 'j') json = true;
        else if (c == 'h') return fputs(HELP, stdout) < 0;
        else return fputs(HELP, stderr), 2;
    }
    if (optind != argc - 1) return fputs(HELP, stderr), 2;
    return show(argv[optind], json);
}
