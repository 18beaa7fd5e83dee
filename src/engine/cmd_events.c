#include "base/buf.h"
#include "base/clock.h"
#include "engine/cmd.h"
#include "svc/spool.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] = "usage: portreeve events [--json] [--follow] [--after POSITION] [--state DIR]\n"
                           "\n"
                           "Shows the events in the spool that no reader has fetched and acknowledged yet, oldest first. It only looks: "
                           "nothing is acknowledged or deleted,\n"
                           "and it works whether or not the server runs.\n"
                           "\n"
                           "  --json             one JSON object a line, as the ui gets them\n"
                           "  --follow           go on with new events as they are committed, until interrupted\n"
                           "  --after POSITION   only what lies behind this position of the spool\n"
                           "  --state DIR        state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
                           "  --help             this text\n"
                           "\n"
                           "Exit status: 0 shown, 1 refused (why is on standard error), 2 wrong usage.\n";

#define PART    (1u << 20)
#define LOOK_MS 200

struct view {
    bool json, follow;
    uint64_t after;
    const char *state;
};

/* The value behind "name": in a line of ours, quotes taken off; *n bytes. NULL where it is not there. */
static const char *member(const char *line, size_t line_n, const char *name, size_t *n) {
    char key[40];
    int k = snprintf(key, sizeof key, "\"%s\":", name);
    const char *p = memmem(line, line_n, key, (size_t)k), *end = line + line_n;
    if (p == NULL) return NULL;
    p += k;
    bool text = *p == '"', list = *p == '[';
    const char *stop = text || list ? ++p : p;
    while (stop < end && (text ? *stop != '"' : list ? *stop != ']' : *stop != ',' && *stop != '}')) stop += text && *stop == '\\' ? 2 : 1;
    *n = stop > end ? (size_t)(end - p) : (size_t)(stop - p);
    return p;
}

static bool add_time(struct buf *out, const char *ms) {
    char text[CLOCK_TEXT];
    return buf_str(out, clock_text(strtoll(ms, NULL, 10), text));
}

/* One line for people: when, what, by whom, and the rest as name=value. */
static bool add_readable(struct buf *out, const char *line, size_t line_n) {
    static const char *const rest[] = {"campaign", "recipient", "pseudonym", "link",   "level",   "reasons", "since", "address",
                                       "agent",    "listener",  "tls",       "method", "tracker", "epoch",   "seq"};
    size_t n = 0;
    const char *ms = member(line, line_n, "ms", &n), *type, *cls;
    bool fine = ms != NULL && add_time(out, ms);
    if (fine && (type = member(line, line_n, "type", &n)) != NULL) fine = buf_fmt(out, " %-11.*s", (int)n, type);
    if (fine && (cls = member(line, line_n, "class", &n)) != NULL) fine = buf_fmt(out, " %-8.*s", (int)n, cls);
    for (unsigned i = 0; fine && i < sizeof rest / sizeof *rest; i++) {
        const char *v = member(line, line_n, rest[i], &n);
        if (v == NULL || n == 0) continue;
        bool quote = memchr(v, ' ', n) != NULL;
        fine = buf_fmt(out, quote ? " %s=\"%.*s\"" : " %s=%.*s", rest[i], (int)n, v);
    }
    return fine && buf_str(out, "\n");
}

static bool show(const struct view *v, const struct buf *lines, struct buf *readable) {
    if (v->json) return fwrite(lines->p, 1, lines->n, stdout) == lines->n;
    buf_clear(readable);
    const char *p = lines->p, *end = lines->p + lines->n;
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        if (nl == NULL || !add_readable(readable, p, (size_t)(nl - p))) return false;
        p = nl + 1;
    }
    return fwrite(readable->p, 1, readable->n, stdout) == readable->n;
}

/* false with e: refused. A reader of our output that has gone ends --follow in an orderly way. */
static bool run(const struct view *v, struct spool_reader *r, struct err *e) {
    struct buf lines = {0}, readable = {0};
    uint64_t after = v->after;
    bool fine = true, open = true;
    while (fine && open) {
        uint64_t last;
        buf_clear(&lines);
        fine = spool_read(r, after, PART, &lines, &last, e);
        if (fine && lines.n > 0 && (!show(v, &lines, &readable) || fflush(stdout) != 0))
            fine = errno == EPIPE ? (open = false, true) : err_set(e, "cannot write: %s", strerrordesc_np(errno));
        if (!fine || last != after) {
            after = last;
            continue;
        }
        if (!v->follow) break;
        struct pollfd gone = {.fd = STDOUT_FILENO}; /* POLLERR is told unasked when the other end of a pipe is closed */
        if (poll(&gone, 1, LOOK_MS) > 0 && (gone.revents & (POLLERR | POLLHUP)) != 0) open = false;
    }
    if (fine && !v->json && !v->follow) printf("position %" PRIu64 "\n", after);
    buf_free(&lines);
    buf_free(&readable);
    return fine;
}

static int usage(const char *what, const char *value) {
    fprintf(stderr, "portreeve events: %s%s%s. portreeve events --help shows the usage.\n", what, value[0] != '\0' ? ": " : "", value);
    return 2;
}

int cmd_events(int argc, char **argv) {
    static const struct option options[] = {{"json", 0, NULL, 'j'},  {"follow", 0, NULL, 'f'}, {"after", 1, NULL, 'a'},
                                            {"state", 1, NULL, 's'}, {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0}};
    struct view v = {0};
    char *end = NULL, dir[4096];
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'j': v.json = true; break;
        case 'f': v.follow = true; break;
        case 's': v.state = optarg; break;
        case 'a':
            errno = 0;
            v.after = strtoull(optarg, &end, 10);
            if (*optarg < '0' || *optarg > '9' || *end != '\0' || errno != 0) return usage("--after is a position, a whole number", optarg);
            break;
        case 'h': fputs(HELP, stdout); return 0;
        default: return usage("unknown option or missing value", "");
        }
    }
    if (optind < argc) return usage("what is this", argv[optind]);
    struct err e = {""};
    snprintf(dir, sizeof dir, "%s/spool", cmd_state(v.state));
    bool closed = access(dir, R_OK | X_OK) != 0 && errno == EACCES;
    struct spool_reader *r = closed ? NULL : spool_reader_open(dir, &e);
    if (closed) err_set(&e, "%s: %s; ask as root or as the user portreeve runs as", dir, strerrordesc_np(EACCES));
    bool fine = r != NULL && run(&v, r, &e);
    spool_reader_close(r);
    if (!fine) fprintf(stderr, "portreeve events: %s\n", e.text);
    return fine ? 0 : 1;
}
