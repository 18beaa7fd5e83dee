#include "engine/replay.h"
#include "base/clock.h"
#include "engine/supervisor.h"
#include "gate/decision_read.h"
#include "gate/record.h"
#include "gate/rule_counts.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MOST 101u
#define TAIL_MOST  (8u << 20) /* bytes of one file, its newest */

struct replaying {
    struct bundle_rules *rules;
    const struct plan *plan;
    struct replay *out;
    struct ban_set *bans; /* of the server that runs; NULL = not known */
    int64_t until_ms;
    struct exchange x; /* of requests no more is remembered than that there was one */
    struct tls_hello hello;
    struct tls_identity identity;
    struct tags tags;
    struct verdict v;
};

/* ---- one decision ---- */

/* The socket it came by: its listener's, on its port and address, where these are fixed. */
static const struct plan_socket *socket_of(const struct plan *p, const struct decision *d) {
    for (uint32_t i = 0; i < p->nsockets; i++) {
        const struct plan_socket *s = &p->socket[i];
        if (s->at.port && s->at.port != d->local.port) continue;
        if (d->local.family && !addr_is_any(&s->at) && !addr_same_ip(&s->at, &d->local)) continue;
        if (strcmp(s->name, d->listener) == 0 && !(s->services & SVC_SHUTDOWN)) return s;
    }
    return NULL;
}

static void read_tags(const char *names, struct tags *out) {
    out->n = 0;
    for (size_t n; *names; names += n + (names[n] == ',')) {
        char one[TAG_NAME];
        n = strcspn(names, ",");
        snprintf(one, sizeof one, "%.*s", (int)n, names);
        (void)tags_add(out, one);
    }
}

static void set_facts(struct replaying *r, const struct decision *d, const struct plan_socket *s, bool *unknown, struct facts *f) {
    enum stage stage = d->stage;
    *f = (struct facts){.stage = stage,
                        .remote = d->remote,
                        .fd = -1,
                        .listener = s,
                        .local_port = d->local.port,
                        .lists = &r->rules->lists,
                        .counts = {d->active, d->from_address},
                        .hello = stage >= STAGE_HELLO ? &r->hello : NULL,
                        .identity = stage >= STAGE_IDENTITY ? &r->identity : NULL,
                        .request = stage == STAGE_REQUEST ? &r->x : NULL,
                        .real_ms = d->ms,
                        .bans = r->bans,
                        .mono_ms = clock_mono_ms(),
                        .unknown = unknown};
    enum refusal why = refusal_of(d->reason);
    bool by_ban = d->verdict != VERDICT_ALLOW && (why == REFUSE_BANNED || why == REFUSE_POLICY); /* a function may have asked for bans */
    if (by_ban && !facts_ban(f)) f->bans = NULL; /* one that has ended since may have held */
    snprintf(r->hello.sni, sizeof r->hello.sni, "%s", d->sni);
    if (stage == STAGE_PEER) return;
    read_tags(d->tags, &r->tags);
    f->tags = &r->tags;
}

/* Refused by what no record tells: by the engine itself, by rates as they stood, by a ban that has ended since. */
static bool beyond_rules(const struct facts *f, const struct decision *d) {
    enum refusal why = refusal_of(d->reason);
    if (d->verdict == VERDICT_ALLOW) return false;
    if (why == REFUSE_BANNED && *d->policy_file) return !facts_ban(f);
    return !*d->policy_file || why == REFUSE_RATE || why == REFUSE_PROXY || why == REFUSE_CERTIFICATE;
}

static void put_place(char *out, size_t cap, const char *file, uint32_t line) {
    size_t n = strlen(out);
    if (!*file || n >= cap) return;
    if (line) snprintf(out + n, cap - n, ", %s:%" PRIu32, file, line);
    else snprintf(out + n, cap - n, ", %s", file);
}

static void put_by(char *out, size_t cap, const struct decision *d) {
    *out = 0;
    if (d->verdict == VERDICT_ALLOW) return;
    snprintf(out, cap, "%.40s", d->reason);
    if (d->status) snprintf(out + strlen(out), cap - strlen(out), " with %u", d->status);
    put_place(out, cap, d->policy_file, d->policy_line);
    put_place(out, cap, d->list_file, 0); /* a thousand lines of one list are one difference */
    put_place(out, cap, d->entry_file, d->entry_line);
}

static void add_example(struct replay_group *g, const struct decision *d, uint32_t line) {
    for (unsigned i = 0; i < g->nexamples; i++)
        if (addr_same_ip(&g->example[i].remote, &d->remote)) return;
    if (g->nexamples == REPLAY_EXAMPLES) return;
    struct replay_example *x = &g->example[g->nexamples++];
    x->remote = d->remote;
    x->ms = d->ms;
    x->line = line;
    snprintf(x->listener, sizeof x->listener, "%s", d->listener);
}

static void note_differing(struct replaying *r, const struct facts *f, const struct decision *d) {
    struct replay *o = r->out;
    struct record_texts t;
    struct decision now;
    char by[2][sizeof o->group[0].by[0]];
    record_make(f, &r->v, 0, &t, &now);
    put_by(by[0], sizeof by[0], d);
    put_by(by[1], sizeof by[1], &now);
    o->differ++;
    unsigned i = 0;
    while (i < o->ngroups && (strcmp(by[0], o->group[i].by[0]) != 0 || strcmp(by[1], o->group[i].by[1]) != 0)) i++;
    if (i == REPLAY_GROUPS) {
        o->ungrouped++;
        return;
    }
    struct replay_group *g = &o->group[i];
    if (i == o->ngroups) {
        o->ngroups++;
        g->was = (enum verdict_kind)d->verdict;
        g->now = r->v.kind;
        memcpy(g->by, by, sizeof by);
    }
    g->n++;
    add_example(g, d, now.list_line ? now.list_line : d->list_line);
}

static bool take(struct replaying *r, const struct decision *d) {
    struct replay *o = r->out;
    const struct plan_socket *s = socket_of(r->plan, d);
    bool unknown = false;
    struct facts f;
    struct err e;
    if (o->judged + o->unknown + o->gone == REPLAY_MOST || clock_mono_ms() >= r->until_ms) {
        o->cut = true;
        return false;
    }
    if (!o->oldest_ms || d->ms < o->oldest_ms) o->oldest_ms = d->ms;
    if (!s) {
        o->gone++;
        return true;
    }
    set_facts(r, d, s, &unknown, &f);
    (void)hooks_judge(r->rules->hooks, &f, &r->v, &e); /* a rule that fails refuses, as it would a caller */
    bool in = r->v.kind == VERDICT_ALLOW;
    if (unknown || (in && beyond_rules(&f, d))) {
        o->unknown++;
        return true;
    }
    o->judged++;
    if (r->v.kind != d->verdict) note_differing(r, &f, d);
    return true;
}

/* ---- what is remembered ---- */

/* *oldest_ms: of all that it remembers. */
static bool read_memory(struct replaying *r, const struct recorder *memory, int64_t *oldest_ms, struct err *e) {
    struct recorder_view *v = recorder_view_create(memory);
    struct decision d;
    bool more = true;
    if (!v) return err_set(e, "out of memory");
    while (recorder_next(v, &d)) {
        *oldest_ms = d.ms;
        more = more && take(r, &d);
    }
    recorder_view_destroy(v);
    return true;
}

/* The end of the file, NUL-terminated; NULL with errno ENOENT: there is none. */
static char *read_tail(const char *path, size_t *n) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return NULL;
    bool good = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || (errno = EINVAL, false));
    off_t from = good && st.st_size > TAIL_MOST ? st.st_size - TAIL_MOST : 0;
    size_t size = good ? (size_t)(st.st_size - from) : 0, got = 0;
    char *text = good ? malloc(size + 1) : NULL;
    while (text && got < size) {
        ssize_t k = pread(fd, text + got, size - got, from + (off_t)got);
        if (k <= 0) break; /* it has become shorter */
        got += (size_t)k;
    }
    if (text) text[got] = 0;
    *n = got;
    close(fd);
    return text;
}

/* Newest line first. What is cut off at either end is no decision. */
static bool take_lines(struct replaying *r, char *text, size_t n, int64_t before_ms) {
    struct decision d;
    while (n && text[n - 1] != '\n') n--; /* being written */
    while (n) {
        text[n - 1] = 0;
        char *lf = memrchr(text, '\n', n - 1), *line = lf ? lf + 1 : text;
        n = lf ? (size_t)(lf - text) + 1 : 0;
        if (decision_read(line, &d) && d.ms < before_ms && !take(r, &d)) return false;
    }
    return true;
}

static bool read_files(struct replaying *r, const char *state, int64_t before_ms, struct err *e) {
    char path[4200];
    bool more = true;
    for (unsigned i = 0; i < FILES_MOST && more; i++) {
        size_t n = 0;
        snprintf(path, sizeof path, i ? "%s/log/decisions.log.%u" : "%s/log/decisions.log", state, i);
        char *text = read_tail(path, &n);
        if (!text && errno == ENOENT) {
            if (i) break;
            continue; /* just being rotated */
        }
        if (!text) return err_set(e, "%s: %s", path, strerror(errno));
        more = take_lines(r, text, n, before_ms);
        free(text);
    }
    return true;
}

bool replay_make(struct bundle_rules *rules, const struct plan *plan, const char *state, struct replay *out, struct err *e) {
    struct recorder *memory = NULL;
    struct replaying *r = calloc(1, sizeof *r);
    int64_t oldest_ms = INT64_MAX;
    memset(out, 0, sizeof *out);
    if (!r) return err_set(e, "out of memory");
    *r = (struct replaying){.rules = rules, .plan = plan, .out = out, .until_ms = clock_mono_ms() + REPLAY_MS};
    (void)supervisor_bans(state, &r->bans, e); /* without them what hangs on bans is counted as not to be told */
    enum asked a = supervisor_decisions(state, &memory, e);
    bool good = a != ASKED_FAILED && (a == ASKED_NOBODY || read_memory(r, memory, &oldest_ms, e));
    recorder_unmap(memory);
    good = good && state && (out->cut || read_files(r, state, oldest_ms, e));
    ban_set_unref(r->bans);
    free(r);
    return good || !state;
}
