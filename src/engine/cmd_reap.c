#include "engine/cmd.h"
#include <getopt.h>
#include <stdio.h>

static const char HELP[] =
    "usage: portreeve reap [--dry-run] [--json] [--state DIR]\n"
    "\n"
    "Judges the living connections again, as if they came now: by today's policy, lists, bans and limits. Those that would not come in are\n"
    "ended gently: idle ones at once, busy ones after their answer, tunnels at once. Rates and the reserve are about who comes and end nobody;\n"
    "of connections too many, those that came last go.\n"
    "\n"
    "  --dry-run       only show which these are\n"
    "  --json          print JSON: {dry, judged, closed, closing, unnamed, list: [{address, listener, state, reason, because, policy}]}; list is\n"
    "                  missing where nobody is ended, and names the first 1000\n"
    "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help          this text\n"
    "\n"
    "Exit status: 0 done, 1 the server cannot be reached, 2 wrong usage.\n";

int cmd_reap(int argc, char **argv) {
    static const struct option options[] = {{"dry-run", no_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"state", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *state = NULL;
    bool json = false, dry = false;
    optind = 1;
    argv[0] = "portreeve reap"; /* what getopt's messages begin with */
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') return fputs(HELP, stdout) < 0;
        if (c == '?') return fputs(HELP, stderr), 2;
        if (c == 'd') dry = true;
        if (c == 'j') json = true;
        if (c == 's') state = optarg;
    }
    if (optind != argc) return fputs(HELP, stderr), 2;
    return eval_print(state, dry ? "reap{dry=true}" : "reap()", json);
}
