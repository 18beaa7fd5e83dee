/* portreeve why: what was decided about an address, and by which line. Reads the memory of the server that runs, whether its engine lives
 * or not, and the files that outlive it. */
#include "engine/cmd.h"
#include "engine/say.h"
#include "engine/supervisor.h"
#include "engine/why.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "usage: portreeve why [--at TIME] [--last N] [--json] [--state DIR] ADDRESS | PREFIX\n"
    "\n"
    "Says what was decided about callers from an address, or from a prefix such as 203.0.113.0/24 or 2001:db8::/32: when, at which stage, "
    "what, and why:\n"
    "the rule's place in the policy, the line of the list or the entry that decided, the counts and limits as they were then, the "
    "generation. It looks\n"
    "into the memory of the server that runs (portreeve.ini: Decisions), also while its engine is dead, and into log/decisions.log of the "
    "state folder\n"
    "(DecisionLog), which outlives it. Newest first.\n"
    "\n"
    "  --at TIME     the decisions nearest to this moment (of this machine's clock): \"2026-11-17 14:00\", \"2026-11-17 14:00:05\", "
    "2026-11-17T14:00:05Z,\n"
    "                2026-11-17, or 14:00 for today\n"
    "  --last N      so many decisions, at most 1000 (default 5)\n"
    "  --json        one object: {address, memory: {room, oldest_ms}, files: {count, oldest_ms, dropped}, decisions: […]}\n"
    "  --state DIR   state folder (default $PORTREEVE_STATE, else a ./var of ours, else /var/lib/portreeve)\n"
    "  --help        this text\n"
    "\n"
    "Examples: portreeve why 203.0.113.9    portreeve why 203.0.113.0/24 --at \"2026-11-17 14:00\" --last 20\n"
    "Exit status: 0 something is known, 1 nothing is (standard output says how far back it is known) or it cannot be looked up (standard "
    "error),\n"
    "2 wrong usage.\n";

struct asked_for {
    const char *address, *state;
    bool json;
};

static bool put_document(const struct asked_for *rq, const struct why *w, struct buf *out) {
    bool good =
        buf_str(out, "{") && buf_member(out, "address", rq->address) && buf_fmt(out, ",\"at_ms\":%" PRId64 ",\"memory\":", w->at_ms);
    if (w->memory) good = good && buf_fmt(out, "{\"room\":%" PRIu32 ",\"oldest_ms\":%" PRId64 "}", w->room, w->oldest_memory_ms);
    else good = good && buf_str(out, "null");
    good = good && buf_fmt(out, ",\"files\":{\"count\":%u,\"oldest_ms\":%" PRId64 ",\"dropped\":%" PRIu64 "},\"decisions\":[", w->files,
                           w->oldest_file_ms, w->dropped);
    for (unsigned i = 0; good && i < w->n; i++) good = buf_str(out, i ? ",\n" : "\n") && buf_str(out, w->found[i].json);
    return good && buf_str(out, "]}\n");
}

static bool look(const struct asked_for *rq, struct why *w, struct err *e) {
    struct recorder *r = NULL;
    enum asked a = supervisor_decisions(rq->state, &r, e);
    bool good = a != ASKED_FAILED && (a == ASKED_NOBODY || why_memory(w, r, e));
    recorder_unmap(r);
    good = good && why_files(w, rq->state, e);
    why_sort(w);
    return good;
}

static int answer(const struct asked_for *rq, struct why *w) {
    struct err e;
    struct buf document = {0};
    bool good = look(rq, w, &e) && (put_document(rq, w, &document) || err_set(&e, "out of memory"));
    if (good && rq->json) good = say_text(document.p, document.n, &e);
    else if (good) good = say_words("portreeve.why", document.p, document.n, &e);
    if (!good) fprintf(stderr, "portreeve why: %s\n", e.text);
    buf_free(&document);
    return good && w->n ? 0 : 1;
}

static int complain(const char *what, const char *value) {
    fprintf(stderr, "portreeve why: %s%s; see `portreeve why --help`\n", what, value);
    return 2;
}

static int parse(int argc, char **argv, struct asked_for *rq, struct why *w) {
    static const struct option options[] = {{"at", required_argument, NULL, 'a'}, {"last", required_argument, NULL, 'n'},
                                            {"json", no_argument, NULL, 'j'},     {"state", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},     {NULL, 0, NULL, 0}};
    struct err e;
    char *end;
    w->q.limit = 5;
    argv[0] = "portreeve why"; /* what getopt's messages begin with */
    for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (o == 'h') return fputs(HELP, stdout) < 0 ? 1 : -1;
        if (o == 'j') rq->json = true;
        else if (o == 's') rq->state = optarg;
        else if (o == 'a' && !say_time(optarg, &w->at_ms)) return complain("a time is written \"2026-11-17 14:00\", not ", optarg);
        else if (o == 'n') {
            unsigned long n = strtoul(optarg, &end, 10);
            if (*end || optarg[0] < '0' || optarg[0] > '9' || n < 1 || n > WHY_MOST)
                return complain("--last wants a number from 1 to 1000, not ", optarg);
            w->q.limit = (unsigned)n;
        } else if (o == '?') return 2;
    }
    if (optind != argc - 1) return complain("one address or prefix is wanted", "");
    rq->address = argv[optind];
    rq->state = cmd_state(rq->state);
    return decision_query_net(&w->q, rq->address, &e) ? 0 : complain(e.text, "");
}

int cmd_why(int argc, char **argv) {
    struct asked_for rq = {0};
    struct why *w = calloc(1, sizeof *w);
    if (!w) return 1;
    int code = parse(argc, argv, &rq, w);
    if (code < 0) code = 0;
    else if (code == 0) code = answer(&rq, w);
    why_finish(w);
    free(w);
    return code;
}
