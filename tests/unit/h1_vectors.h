/* Reader of tests/e2e/data/malformed.txt (its head says the format). */
#ifndef PORTREEVE_TESTS_H1_VECTORS_H
#define PORTREEVE_TESTS_H1_VECTORS_H
#include "base/buf.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vector {
    char name[120], rfc[32], expect[120];
    struct buf path, query, host, body, raw;
    bool has_path, has_query, has_host, has_body;
    int fields; /* -1 = not said */
    int line;   /* of the name in the file */
};

static inline int vector_hex(char c) {
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Escapes of one piece of text; `*N(…)` may hold other escapes but neither `)` nor `*`. false = malformed. */
static inline bool vector_text(struct buf *out, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *at = i + 1 < n ? strchr("rnt\\x*", s[i + 1]) : NULL;
        if (s[i] != '\\') {
            if (!buf_add(out, s + i, 1)) return false;
            continue;
        }
        if (!at || !*at) return false;
        i++;
        if (*at == 'x') {
            if (n - i < 3 || vector_hex(s[i + 1]) < 0 || vector_hex(s[i + 2]) < 0) return false;
            char c = (char)(vector_hex(s[i + 1]) * 16 + vector_hex(s[i + 2]));
            if (!buf_add(out, &c, 1)) return false;
            i += 2;
        } else if (*at == '*') {
            char *open, *close;
            long times = strtol(s + i + 1, &open, 10);
            close = *open == '(' ? strchr(open, ')') : NULL;
            if (!close || close >= s + n || times < 1 || times > 100000) return false;
            for (const char *t = open; t < close; t++)
                if (t[0] == '\\' && t[1] == '*') return false;
            while (times-- > 0)
                if (!vector_text(out, open + 1, (size_t)(close - open - 1))) return false;
            i = (size_t)(close - s);
        } else if (!buf_add(out, *at == 'r' ? "\r" : *at == 'n' ? "\n" : *at == 't' ? "\t" : "\\", 1)) {
            return false;
        }
    }
    return true;
}

static inline bool vector_entry(struct vector *v, const char *line) {
    const char *colon = strchr(line, ':');
    if (!colon) return false;
    size_t key = (size_t)(colon - line);
    const char *text = colon + 1 + (colon[1] == ' ');
    if (strncmp(line, "rfc", key) == 0) return snprintf(v->rfc, sizeof v->rfc, "%s", text) < (int)sizeof v->rfc;
    if (strncmp(line, "expect", key) == 0) return snprintf(v->expect, sizeof v->expect, "%s", text) < (int)sizeof v->expect;
    if (strncmp(line, "fields", key) == 0) return v->fields = atoi(text), true;
    if (strncmp(line, "path", key) == 0) return v->has_path = true, vector_text(&v->path, text, strlen(text));
    if (strncmp(line, "query", key) == 0) return v->has_query = true, vector_text(&v->query, text, strlen(text));
    if (strncmp(line, "host", key) == 0) return v->has_host = true, vector_text(&v->host, text, strlen(text));
    if (strncmp(line, "body", key) == 0) return v->has_body = true, vector_text(&v->body, text, strlen(text));
    return false;
}

static inline void vector_finish(struct vector *v) {
    buf_free(&v->path);
    buf_free(&v->query);
    buf_free(&v->host);
    buf_free(&v->body);
    buf_free(&v->raw);
}

/* Call each(v, arg) for every case. Returns their number, or -1 with the malformed line said on standard error. */
static inline int vectors_read(const char *file, void (*each)(struct vector *v, void *arg), void *arg) {
    char line[8192];
    struct vector v = {.fields = -1};
    int count = 0, number = 0;
    bool raw = false, fine = true;
    FILE *f = fopen(file, "r");
    if (!f) return perror(file), -1;
    while (fine && fgets(line, sizeof line, f)) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        if (raw && line[0]) {
            fine = vector_text(&v.raw, line, strlen(line));
        } else if (raw) {
            each(&v, arg);
            vector_finish(&v);
            v = (struct vector){.fields = -1};
            raw = false;
            count++;
        } else if (strncmp(line, "== ", 3) == 0) {
            fine = !v.name[0] && snprintf(v.name, sizeof v.name, "%s", line + 3) < (int)sizeof v.name;
            v.line = number;
        } else if (strcmp(line, "raw:") == 0) {
            fine = raw = v.name[0] && v.rfc[0] && v.expect[0];
        } else if (line[0] && line[0] != '#') {
            fine = vector_entry(&v, line);
        }
    }
    if (fine && raw) each(&v, arg), count++;
    vector_finish(&v);
    fclose(f);
    if (fine) return count;
    fprintf(stderr, "%s:%d: malformed: %s\n", file, number, line);
    return -1;
}
#endif
