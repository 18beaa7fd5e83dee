#include "plan/running.h"
#include "plan/wire.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- out ---- */

/* Rest of a line: whatever would end it or hide in it becomes '?'. */
static bool put_rest(struct buf *out, const char *s) {
    for (; *s; s++) {
        char c = (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s;
        if (!buf_add(out, &c, 1)) return false;
    }
    return buf_str(out, "\n");
}

static bool put_file(struct buf *out, const struct running_file *f) {
    bool good = buf_str(out, "file ");
    for (int i = 0; good && i < 32; i++) good = buf_fmt(out, "%02x", f->hash[i]);
    return good && buf_str(out, " ") && put_rest(out, f->path);
}

static bool put_plan(struct buf *out, const struct plan *p) {
    struct plan open = *p;
    open.cert = calloc(p->ncerts ? p->ncerts : 1, sizeof *open.cert);
    if (!open.cert) return false;
    for (uint32_t i = 0; i < p->ncerts; i++) {
        open.cert[i] = p->cert[i];
        explicit_bzero(open.cert[i].password, sizeof open.cert[i].password);
    }
    bool good = plan_encode(&open, out);
    free(open.cert);
    return good;
}

bool running_encode(const struct running *r, struct buf *out) {
    static const char *const keys[] = {"conf", "conf_path", "policies", "policies_path"};
    const char *const values[] = {r->conf, r->conf_path, r->policies, r->policies_path};
    bool good = buf_fmt(out, "pid %" PRId64 "\nsince_ms %" PRId64 "\ngeneration %" PRIu64 "\nworkers %" PRIu32 "\nengine %s\n", r->pid,
                        r->since_ms, r->generation, r->workers, r->engine) &&
                buf_fmt(out, "sockets %" PRIu32 "\nfiles %" PRIu32 "\nsets %" PRIu32 "\nsecrets %" PRIu32 "\n", r->plan.nsockets, r->nfiles,
                        r->nsets, r->secrets);
    for (size_t i = 0; good && i < sizeof keys / sizeof *keys; i++)
        good = !values[i][0] || (buf_fmt(out, "%s ", keys[i]) && put_rest(out, values[i]));
    good = good && buf_str(out, "\n");
    for (uint32_t i = 0; good && i < r->nsets; i++) good = buf_str(out, "set ") && put_rest(out, r->set[i]);
    for (uint32_t i = 0; good && i < r->plan.nsockets; i++)
        good = buf_fmt(out, "socket %u ", (unsigned)r->socket[i].port) && put_rest(out, r->socket[i].state);
    for (uint32_t i = 0; good && i < r->nfiles; i++) good = put_file(out, &r->file[i]);
    return good && put_plan(out, &r->plan);
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const struct running_file *)a)->path, ((const struct running_file *)b)->path);
}

bool running_files(const struct bundle *b, struct running_file **out, uint32_t *n) {
    *n = b ? bundle_count(b) : 0;
    *out = calloc(*n ? *n : 1, sizeof **out);
    if (!*out) return false;
    for (uint32_t i = 0; i < *n; i++) {
        const struct bundle_file *f = bundle_at(b, i);
        snprintf((*out)[i].path, sizeof(*out)[i].path, "%s", f->path);
        memcpy((*out)[i].hash, f->hash, sizeof f->hash);
    }
    qsort(*out, *n, sizeof **out, by_path);
    return true;
}

/* ---- in ---- */

struct reader {
    const char *p, *end;
    struct err *e;
};

static bool odd(const struct reader *r) {
    return err_set(r->e, "the supervisor's answer about its plan cannot be understood: are supervisor and command of one version?");
}

/* "WORD rest": the rest, ended by a NUL that replaces its LF in a copy. */
static bool line_of(struct reader *r, const char *word, char *out, size_t cap) {
    const char *lf = r->p < r->end ? memchr(r->p, '\n', (size_t)(r->end - r->p)) : NULL;
    size_t k = strlen(word), n = lf ? (size_t)(lf - r->p) : 0;
    if (!lf || n <= k || memcmp(r->p, word, k) != 0 || r->p[k] != ' ' || n - k - 1 >= cap) return odd(r);
    memcpy(out, r->p + k + 1, n - k - 1);
    out[n - k - 1] = '\0';
    r->p = lf + 1;
    return strlen(out) == n - k - 1 || odd(r);
}

static bool get_sockets(struct reader *r, struct running *out, uint32_t n) {
    char line[PLAN_SHOWN + 6]; /* a port, a blank, the words */
    out->socket = calloc(n ? n : 1, sizeof *out->socket);
    if (!out->socket) return err_set(r->e, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        char *end = NULL;
        if (!line_of(r, "socket", line, sizeof line)) return false;
        unsigned long port = strtoul(line, &end, 10);
        if (end == line || *end != ' ' || port > UINT16_MAX) return odd(r);
        out->socket[i].port = (uint16_t)port;
        snprintf(out->socket[i].state, sizeof out->socket[i].state, "%s", end + 1);
    }
    return true;
}

static bool get_files(struct reader *r, struct running *out, uint32_t n) {
    char line[BUNDLE_PATH + 65]; /* 64 digits, a blank, the path */
    out->file = calloc(n ? n : 1, sizeof *out->file);
    if (!out->file) return err_set(r->e, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        struct running_file *f = &out->file[i];
        if (!line_of(r, "file", line, sizeof line)) return false;
        if (strlen(line) < 66 || line[64] != ' ') return odd(r);
        for (int k = 0; k < 32; k++) {
            char hex[3] = {line[2 * k], line[2 * k + 1], '\0'}, *end = NULL;
            f->hash[k] = (uint8_t)strtoul(hex, &end, 16);
            if (end != hex + 2) return odd(r);
        }
        snprintf(f->path, sizeof f->path, "%s", line + 65);
        out->nfiles++;
    }
    return true;
}

static bool get_sets(struct reader *r, struct running *out, uint32_t n) {
    char line[RUNNING_PATH];
    out->set = calloc(n ? n : 1, sizeof *out->set);
    if (!out->set) return err_set(r->e, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        if (!line_of(r, "set", line, sizeof line)) return false;
        out->set[i] = strdup(line);
        if (!out->set[i]) return err_set(r->e, "out of memory");
        out->nsets++;
    }
    return true;
}

struct counts {
    uint64_t sockets, files, sets;
};

/* The head, up to and with the blank line, as one NUL-terminated text. */
static bool get_head(struct reader *r, struct running *out, struct counts *n_of) {
    char head[4 * RUNNING_PATH + 512];
    uint64_t pid, since, workers, secrets;
    const char *blank = memmem(r->p, (size_t)(r->end - r->p), "\n\n", 2);
    size_t n = blank ? (size_t)(blank - r->p) + 1 : sizeof head;
    if (n >= sizeof head) return odd(r);
    memcpy(head, r->p, n);
    head[n] = '\0';
    r->p = blank + 2;
    if (!wire_number(head, "pid", &pid) || !wire_number(head, "since_ms", &since) || !wire_number(head, "generation", &out->generation) ||
        !wire_number(head, "workers", &workers) || !wire_text(head, "engine", out->engine, sizeof out->engine) ||
        !wire_number(head, "sockets", &n_of->sockets) || !wire_number(head, "files", &n_of->files) ||
        !wire_number(head, "sets", &n_of->sets) || !wire_number(head, "secrets", &secrets))
        return odd(r);
    if (pid > INT64_MAX || since > INT64_MAX || workers > PLAN_MAX_WORKERS || secrets > RUNNING_SETS || n_of->sockets > PLAN_MAX_SOCKETS ||
        n_of->files > BUNDLE_MAX_FILES || n_of->sets > RUNNING_SETS)
        return odd(r);
    out->pid = (int64_t)pid;
    out->since_ms = (int64_t)since;
    out->workers = (uint32_t)workers;
    out->secrets = (uint32_t)secrets;
    (void)wire_text(head, "conf", out->conf, sizeof out->conf); /* these may be absent */
    (void)wire_text(head, "conf_path", out->conf_path, sizeof out->conf_path);
    (void)wire_text(head, "policies", out->policies, sizeof out->policies);
    (void)wire_text(head, "policies_path", out->policies_path, sizeof out->policies_path);
    return true;
}

bool running_decode(const char *text, size_t n, struct running *out, struct err *e) {
    struct reader r = {.p = text, .end = text + n, .e = e};
    struct counts n_of = {0};
    memset(out, 0, sizeof *out);
    bool good = get_head(&r, out, &n_of) && get_sets(&r, out, (uint32_t)n_of.sets) && get_sockets(&r, out, (uint32_t)n_of.sockets) &&
                get_files(&r, out, (uint32_t)n_of.files) && plan_decode(r.p, (size_t)(r.end - r.p), &out->plan, e);
    if (good && out->plan.nsockets != n_of.sockets) good = odd(&r);
    if (!good) running_finish(out);
    return good;
}

void running_finish(struct running *r) {
    plan_finish(&r->plan);
    for (uint32_t i = 0; i < r->nsets; i++) free(r->set[i]);
    free(r->set);
    free(r->socket);
    free(r->file);
    memset(r, 0, sizeof *r);
}
