#include "engine/why.h"
#include "gate/decision_read.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t distance(const struct why *w, int64_t us) {
    int64_t from = w->at_ms ? w->at_ms * 1000 : INT64_MAX;
    return us > from ? (uint64_t)us - (uint64_t)from : (uint64_t)from - (uint64_t)us;
}

static bool wanted(const struct why *w, int64_t us) {
    return w->n < w->q.limit || distance(w, us) < distance(w, w->found[w->n - 1].us);
}

static char *id_in(char *json) {
    char *id = strstr(json, "\"id\":\"");
    return id ? id : json + strlen(json);
}

/* Takes json (malloc'ed). What the memory and a file both know counts once. */
static void put(struct why *w, int64_t us, char *json) {
    char *id = id_in(json);
    for (unsigned i = 0; i < w->n; i++) {
        if (w->found[i].us != us || strcmp(w->found[i].id, id) != 0) continue;
        free(json);
        return;
    }
    if (w->n == w->q.limit) free(w->found[--w->n].json);
    unsigned at = w->n++;
    for (; at > 0 && distance(w, w->found[at - 1].us) > distance(w, us); at--) w->found[at] = w->found[at - 1];
    w->found[at] = (struct why_found){.us = us, .json = json, .id = id};
}

bool why_memory(struct why *w, const struct recorder *r, struct err *e) {
    struct recorder_view *v = recorder_view_create(r);
    struct recorder_stats s;
    struct decision d;
    bool good = v != NULL;
    recorder_stats(r, &s);
    w->memory = true;
    w->room = s.room;
    while (good && recorder_next(v, &d)) {
        struct buf b = {0};
        w->oldest_memory_ms = d.ms;
        if (!decision_matches(&w->q, &d) || !wanted(w, d.us)) continue;
        good = decision_json(&d, recorder_run(r), &b) && buf_add(&b, "", 1);
        if (good) put(w, d.ms * 1000 + d.us, b.p);
        else buf_free(&b);
    }
    recorder_view_destroy(v);
    return good || err_set(e, "out of memory");
}

/* ---- files ---- */

#define LAST_MS 253402300799999ll /* 9999-12-31 */

static const char *behind(const char *line, const char *key) {
    const char *p = strstr(line, key);
    return p ? p + strlen(key) : NULL;
}

static void take_line(struct why *w, char *line) {
    const char *at = behind(line, "\"ms\":"), *who = behind(line, ",\"address\":\"");
    const char *rest = behind(line, "\"us\":");
    int64_t ms = at ? strtoll(at, NULL, 10) : 0, us = rest ? strtoll(rest, NULL, 10) : 0;
    struct addr a;
    struct err e;
    if (ms <= 0 || ms > LAST_MS || us < 0 || us > 999) return; /* somebody has been at this line */
    us += ms * 1000;
    if (!w->oldest_file_ms || ms < w->oldest_file_ms) w->oldest_file_ms = ms;
    const char *lost = who ? NULL : behind(line, "\"dropped\":");
    if (lost) w->dropped += strtoull(lost, NULL, 10);
    size_t n = who ? strcspn(who, "\"") : 0;
    if (!n || !wanted(w, us) || !addr_parse_ip(who, n, &a, &e) || !decision_query_holds(&w->q, &a) || !decision_line(line)) return;
    char *copy = strdup(line);
    if (copy) put(w, us, copy);
}

/* What the service's user has put in its place is not waited for: root may be asking. NULL with errno. */
static FILE *open_file(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return NULL;
    FILE *f = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || (errno = EINVAL, false)) ? fdopen(fd, "r") : NULL;
    int why = errno;
    if (!f) close(fd);
    errno = why;
    return f;
}

/* first_only: nothing in it can be nearer than what is found; only how far back it goes is asked. */
static bool read_file(struct why *w, const char *path, bool first_only, struct err *e) {
    FILE *f = open_file(path);
    char *line = NULL;
    size_t room = 0;
    if (!f) return errno == ENOENT || err_set(e, "%s: %s", path, strerror(errno));
    w->files++;
    for (ssize_t n = getline(&line, &room, f); n > 0; n = getline(&line, &room, f)) {
        if (line[n - 1] != '\n') break; /* being written */
        line[n - 1] = 0;
        take_line(w, line);
        if (first_only) break;
    }
    free(line);
    fclose(f);
    return true;
}

bool why_files(struct why *w, const char *state_dir, struct err *e) {
    char path[4200];
    for (unsigned i = 0; i <= 100; i++) {
        unsigned before = w->files;
        if (i) snprintf(path, sizeof path, "%s/log/decisions.log.%u", state_dir, i);
        else snprintf(path, sizeof path, "%s/log/decisions.log", state_dir);
        bool enough = i > 0 && w->at_ms == 0 && w->n == w->q.limit; /* older files know older ones */
        if (!read_file(w, path, enough, e)) return false;
        if (i > 0 && w->files == before) break;
    }
    return true;
}

static int newer(const void *a, const void *b) {
    const struct why_found *x = a, *y = b;
    return x->us > y->us ? -1 : x->us < y->us;
}

void why_sort(struct why *w) {
    qsort(w->found, w->n, sizeof *w->found, newer);
}

void why_finish(struct why *w) {
    for (unsigned i = 0; i < w->n; i++) free(w->found[i].json);
    w->n = 0;
}
