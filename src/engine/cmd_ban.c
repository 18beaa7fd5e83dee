#include "base/buf.h"
#include "engine/cmd.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char BAN[] =
    "usage: portreeve ban [--for TIME] [--reason TEXT] [--force] [--json] [--state DIR] ADDRESS\n"
    "\n"
    "Shuts an address out while the server runs: whoever calls from there from now on is closed without a byte. Bans outlast reloads and\n"
    "the end of an engine, but not a stop of the server; what is to last stands in lists/denied.list. Living connections stay: `portreeve reap` ends\n"
    "them. The same address again replaces the ban.\n"
    "\n"
    "  ADDRESS         an address, a prefix (203.0.113.0/24) or a range (10.0.0.5-10.0.0.9)\n"
    "  --for TIME      how long: 90s, 10m, 1h30m, 2d; without it until it is taken back\n"
    "  --reason TEXT   why; it stands in the log and in `portreeve why`\n"
    "  --force         even if it shuts out this machine, a recent administrator of the hub or a member of lists/cluster.list\n"
    "  --json          print JSON\n"
    "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help          this text\n"
    "\n"
    "Exit status: 0 in force, 1 refused (why is on standard error), 2 wrong usage.\n";
static const char UNBAN[] = "usage: portreeve unban [--json] [--state DIR] ADDRESS\n"
                            "\n"
                            "Takes back the ban of exactly this address, prefix or range, and no other.\n"
                            "\n"
                            "  --json          print JSON\n"
                            "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
                            "  --help          this text\n"
                            "\n"
                            "Exit status: 0 done, 1 refused (why is on standard error), 2 wrong usage.\n";
static const char BANS[] =
    "usage: portreeve bans [--json] [--state DIR]\n"
    "\n"
    "Shows the bans in force: until when, by whom, why, and how many calls each has turned away.\n"
    "\n"
    "  --json          print JSON: an array of {address, since_ms, until_ms, left_ms, left, reason, who, hits}; the first two of time are unix\n"
    "                  times, until_ms and left_ms are missing where a ban has no end\n"
    "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help          this text\n"
    "\n"
    "Exit status: 0, 1 the server cannot be reached, 2 wrong usage.\n";

struct given {
    const char *state, *address, *time, *reason;
    bool json, force;
};

/* A text as Lua reads it. */
static bool quote(struct buf *b, const char *s) {
    bool good = buf_str(b, "\"");
    for (; good && *s; s++) {
        unsigned char c = (unsigned char)*s;
        good = c < 0x20 || c == '"' || c == '\\' || c == 0x7f ? buf_fmt(b, "\\%03u", c) : buf_add(b, s, 1);
    }
    return good && buf_str(b, "\"");
}

static bool expression(struct buf *b, const char *function, const struct given *g) {
    bool good = buf_fmt(b, "%s(", function);
    if (g->address) good = good && quote(b, g->address);
    if (strcmp(function, "ban") == 0) {
        good = good && buf_str(b, ", ") && (g->time ? quote(b, g->time) : buf_str(b, "nil")) && buf_str(b, ", ") &&
               quote(b, g->reason ? g->reason : "") && buf_fmt(b, ", {force = %s}", g->force ? "true" : "false");
    }
    return good && buf_str(b, ")") && buf_add(b, "", 1);
}

/* -1 = go on, else the exit status. */
static int read_options(int argc, char **argv, const char *help, bool ban, bool address, struct given *g) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"state", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"for", required_argument, NULL, 'f'},
                                            {"reason", required_argument, NULL, 'r'},
                                            {"force", no_argument, NULL, 'F'},
                                            {0}};
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') return fputs(help, stdout) < 0;
        if (c == '?' || (!ban && (c == 'f' || c == 'r' || c == 'F'))) return fputs(help, stderr), 2;
        if (c == 'j') g->json = true;
        if (c == 's') g->state = optarg;
        if (c == 'f') g->time = optarg;
        if (c == 'r') g->reason = optarg;
        if (c == 'F') g->force = true;
    }
    if (argc - optind != (address ? 1 : 0)) {
        const char *more = argc - optind > 1 ? argv[optind + 1] : optind < argc ? argv[optind] : NULL;
        if (more && ban)
            fprintf(
                stderr,
                "%s: one address is wanted, '%.80s' is too much: a time is written --for 10m, a reason --reason TEXT; see `%s --help`\n",
                argv[0], more, argv[0]);
        else if (more) fprintf(stderr, "%s: '%.80s' is too much; see `%s --help`\n", argv[0], more, argv[0]);
        else fprintf(stderr, "%s: one address, prefix or range is wanted; see `%s --help`\n", argv[0], argv[0]);
        return 2;
    }
    g->address = address ? argv[optind] : NULL;
    return -1;
}

static int ask(const char *function, const struct given *g) {
    struct buf text = {0};
    int code = 1;
    if (expression(&text, function, g)) code = eval_print(g->state, text.p, g->json);
    else fputs("portreeve: out of memory\n", stderr);
    buf_free(&text);
    return code;
}

int cmd_ban(int argc, char **argv) {
    struct given g = {0};
    argv[0] = "portreeve ban"; /* what getopt's messages begin with */
    int code = read_options(argc, argv, BAN, true, true, &g);
    return code >= 0 ? code : ask("ban", &g);
}

int cmd_unban(int argc, char **argv) {
    struct given g = {0};
    argv[0] = "portreeve unban";
    int code = read_options(argc, argv, UNBAN, false, true, &g);
    return code >= 0 ? code : ask("unban", &g);
}

int cmd_bans(int argc, char **argv) {
    struct given g = {0};
    argv[0] = "portreeve bans";
    int code = read_options(argc, argv, BANS, false, false, &g);
    return code >= 0 ? code : ask("bans", &g);
}
