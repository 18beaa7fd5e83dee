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
#include <sys/inotify.h>
#include <unistd.h>

static const char HELP[] =
    "usage: portreeve events [--json] [--follow] [--after POSITION] [--state DIR]\n"
    "\n"
    "Shows the events in the spool that no reader has fetched and acknowledged yet, and the newest ones in any case, oldest "
    "first. It only\n"
    "looks: nothing is acknowledged or deleted, and it works whether or not the server runs.\n"
    "\n"
    "  --json             one JSON object a line, as the ui gets them\n"
    "  --follow           go on with new events as they are committed, until interrupted; should a reader be faster and\n"
    "                     have some deleted before they were seen, it is said on standard error how many\n"
    "  --after POSITION   only what lies behind this position of the spool\n"
    "  --state DIR        state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help             this text\n"
    "\n"
    "Exit status: 0 shown, 1 refused (why is on standard error), 2 wrong usage.\n";

#define PART     (1u << 20)
#define IDLE_MS  1000 /* at most between two looks; a file that takes the place of a damaged one is found so */
#define AWAKE_MS 100  /* the log of the spool has grown: what is in it can be read when it is on the disk, a moment later */
#define EPOCHS   16u

struct view {
    bool json, follow;
    bool fresh; /* the spool was empty: whatever there will be begins with its first */
    uint64_t after;
    uint64_t since; /* unix ms; epochs are named by the time they began */
    const char *state;
    int grown;        /* inotify: the spool's files are written to; -1 = not to be had */
    int64_t awake_to; /* monotonic ms */
    struct {
        uint64_t epoch, seq; /* the last one shown of each */
    } seen[EPOCHS];
    unsigned nseen;
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

/* The events of an epoch are numbered without a gap: say what has gone before it was seen. */
static void look_for_gap(struct view *v, const char *line, size_t line_n) {
    size_t n;
    const char *epoch_text = member(line, line_n, "epoch", &n), *seq_text = member(line, line_n, "seq", &n);
    if (epoch_text == NULL || seq_text == NULL) return;
    uint64_t epoch = strtoull(epoch_text, NULL, 10), seq = strtoull(seq_text, NULL, 10);
    unsigned i = 0;
    while (i < v->nseen && v->seen[i].epoch != epoch) i++;
    if (i == v->nseen) {
        if (v->nseen < EPOCHS) v->nseen++;
        else i = 0;
        v->seen[i].epoch = epoch;
        v->seen[i].seq = v->fresh || epoch > v->since ? 0 : seq - 1;
    }
    uint64_t last = v->seen[i].seq;
    v->seen[i].seq = seq;
    if (seq <= last + 1) return;
    fprintf(stderr,
            "portreeve events: %" PRIu64 " not shown (epoch %" PRIu64 ", seq %" PRIu64 " to %" PRIu64
            "): a reader fetched them and had them deleted before\n",
            seq - last - 1, epoch, last + 1, seq - 1);
}

static bool show(struct view *v, const struct buf *lines, struct buf *readable) {
    const char *p = lines->p, *end = lines->p + lines->n;
    buf_clear(readable);
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        if (nl == NULL) return false;
        if (v->follow) look_for_gap(v, p, (size_t)(nl - p));
        if (!v->json && !add_readable(readable, p, (size_t)(nl - p))) return false;
        p = nl + 1;
    }
    const struct buf *out = v->json ? lines : readable;
    return fwrite(out->p, 1, out->n, stdout) == out->n;
}

/* Until there may be something new. false: the reader of our output has gone. The ui fetches an event within milliseconds and has it
 * deleted: to see it before, one must look as soon as the spool's log grows. */
static bool rest(struct view *v) {
    struct pollfd p[2] = {{.fd = STDOUT_FILENO}, {.fd = v->grown, .events = POLLIN}}; /* of the first POLLERR is told unasked */
    char news[4096];
    bool awake = v->grown < 0 || clock_mono_ms() < v->awake_to;
    if (poll(p, 2, awake ? 1 : IDLE_MS) > 0 && (p[0].revents & (POLLERR | POLLHUP)) != 0) return false;
    if ((p[1].revents & POLLIN) != 0) {
        while (read(v->grown, news, sizeof news) > 0) continue;
        v->awake_to = clock_mono_ms() + AWAKE_MS;
    }
    return true;
}

/* false with e: refused. A reader of our output that has gone ends --follow in an orderly way. */
static bool run(struct view *v, struct spool_reader *r, struct err *e) {
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
        v->fresh |= after == 0;
        open = rest(v);
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
    struct view v = {.grown = -1, .since = (uint64_t)clock_real_ms()};
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
    if (v.follow && (v.grown = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) >= 0 && inotify_add_watch(v.grown, dir, IN_MODIFY) < 0) {
        close(v.grown);
        v.grown = -1;
    }
    bool fine = r != NULL && run(&v, r, &e);
    if (v.grown >= 0) close(v.grown);
    spool_reader_close(r);
    if (!fine) fprintf(stderr, "portreeve events: %s\n", e.text);
    return fine ? 0 : 1;
}
