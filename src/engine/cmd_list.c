#include "base/file.h"
#include "engine/cmd.h"
#include "plan/alist.h"
#include "plan/conffile.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "usage: portreeve list FILE < ADDRESSES\n"
    "\n"
    "Reads addresses from standard input, one a line, and says for each whether the address list FILE has it, and by which line:\n"
    "\n"
    "  192.0.2.7 in conf/lists/clients.list:3\n"
    "  192.0.2.8 out conf/lists/clients.list:4     (a line with ! takes it out)\n"
    "  192.0.2.9 out (no line)\n"
    "\n"
    "A line \"#NAME\" of a list takes in NAME.list, or NAME, from the folder of FILE.\n"
    "\n"
    "  --help   this text\n"
    "\n"
    "Exit status: 0 all answered, 1 the list or an address is refused (why is on standard error), 2 wrong usage.\n";

struct text { /* one file read, kept until the set is built */
    struct text *next;
    struct buf bytes;
    char path[];
};
struct folder {
    struct text *read;
    const char *root;   /* FILE as typed */
    size_t dir_n;       /* bytes of root up to and with its last slash */
    struct err trouble; /* why a file that is there could not be read */
};

static const struct text *read_once(struct folder *f, const char *path) {
    struct err e;
    for (struct text *t = f->read; t; t = t->next)
        if (strcmp(t->path, path) == 0) return t;
    size_t n = strlen(path) + 1;
    struct text *t = calloc(1, sizeof *t + n);
    if (!t) return NULL;
    memcpy(t->path, path, n);
    if (!file_read(path, ALIST_MAX_BYTES, &t->bytes, &e) || !conffile_is_text(path, t->bytes.p, t->bytes.n, &e)) {
        if (!f->trouble.text[0]) f->trouble = e;
        buf_free(&t->bytes);
        free(t);
        return NULL;
    }
    t->next = f->read;
    f->read = t;
    return t;
}

static bool fetch(void *ctx, const char *name, struct alist_text *out) {
    static const char *const ending[] = {".list", ""};
    struct folder *f = ctx;
    const struct text *t = NULL;
    f->trouble.text[0] = 0;
    if (!f->read) t = read_once(f, f->root);
    for (int i = 0; f->read && !t && i < 2; i++) {
        struct buf path = {0};
        if (buf_fmt(&path, "%.*s%s%s%c", (int)f->dir_n, f->root, name, ending[i], 0)) t = read_once(f, path.p);
        buf_free(&path);
    }
    if (!t) return false;
    f->trouble.text[0] = 0;
    *out = (struct alist_text){.text = t->bytes.p ? t->bytes.p : "", .n = t->bytes.n, .display = t->path};
    return true;
}

static struct pset *load(const char *file, struct err *e) {
    const char *slash = strrchr(file, '/');
    struct folder f = {.root = file, .dir_n = slash ? (size_t)(slash - file) + 1 : 0};
    struct pset *s = alist_load(file, fetch, &f, e);
    if (!s && !f.read && f.trouble.text[0]) *e = f.trouble;
    else if (!s && f.trouble.text[0]) err_set(e, "%s (%s)", e->text, f.trouble.text);
    while (f.read) {
        struct text *next = f.read->next;
        buf_free(&f.read->bytes);
        free(f.read);
        f.read = next;
    }
    return s;
}

static bool answer(const struct pset *s, const char *text, size_t n, unsigned long line) {
    struct addr a;
    struct err e;
    if (!addr_parse_ip(text, n, &a, &e)) {
        fprintf(stderr, "portreeve: standard input:%lu: %s\n", line, e.text);
        return false;
    }
    struct pset_hit hit = pset_find(s, &a);
    if (hit.line) printf("%.*s %s %s:%u\n", (int)n, text, hit.in ? "in" : "out", pset_source(s, hit.source), hit.line);
    else printf("%.*s out (no line)\n", (int)n, text);
    return true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool answer_all(const struct pset *s) {
    char line[1024];
    bool fine = true;
    unsigned long count = 0;
    while (fgets(line, sizeof line, stdin)) {
        size_t from = 0, n = strlen(line);
        count++;
        if (n == sizeof line - 1 && line[n - 1] != '\n') {
            fprintf(stderr, "portreeve: standard input:%lu: this line is too long for an address\n", count);
            return false;
        }
        while (n > 0 && is_space(line[n - 1])) n--;
        while (from < n && is_space(line[from])) from++;
        if (n > from && !answer(s, line + from, n - from, count)) fine = false;
    }
    return fine;
}

int cmd_list(int argc, char **argv) {
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    struct err e;
    optind = 1;
    argv[0] = "portreeve list"; /* what getopt's messages begin with */
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') return fputs(HELP, stdout) < 0;
        return fputs(HELP, stderr), 2;
    }
    if (optind != argc - 1) return fputs(HELP, stderr), 2;
    struct pset *s = load(argv[optind], &e);
    if (!s) {
        fprintf(stderr, "portreeve: %s\n", e.text);
        return 1;
    }
    bool fine = answer_all(s);
    pset_destroy(s);
    if (fflush(stdout) || ferror(stdout)) {
        fputs("portreeve: cannot write to standard output\n", stderr);
        return 1;
    }
    return fine ? 0 : 1;
}
