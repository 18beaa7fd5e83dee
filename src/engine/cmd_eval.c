#include "engine/cmd.h"
#include "engine/console_call.h"
#include <getopt.h>
#include <stdio.h>

static const char HELP[] =
    "usage: portreeve eval [--json] [--state DIR] 'EXPRESSION'\n"
    "\n"
    "Evaluates one Lua expression (or statements with `return`) inside the running engine and prints the result:\n"
    "\n"
    "  portreeve eval 'listeners()'\n"
    "  portreeve eval --json 'count(connections(), \"listener\")'\n"
    "  portreeve eval 'help()'          what there is\n"
    "\n"
    "  --json          print JSON, one line for each result\n"
    "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help          this text\n"
    "\n"
    "Only root and the user the engine runs as may ask. Exit status: 0 evaluated, 1 an error (on standard error), 2 wrong usage.\n";

int eval_print(const char *given, const char *text, bool json) {
    struct console_call c;
    struct buf out = {0};
    struct err e;
    bool ok = false;
    bool asked = console_call_init(&c, cmd_state(given), &e) && console_call_eval(&c, text, json, &ok, &out, &e);
    console_call_finish(&c);
    if (!asked) {
        fprintf(stderr, "portreeve: %s\n", e.text);
    } else if (!ok) {
        fprintf(stderr, "portreeve: %.*s\n", (int)out.n, out.n ? out.p : "");
    } else if (out.n) {
        fwrite(out.p, 1, out.n, stdout);
        putchar('\n');
    }
    buf_free(&out);
    if (fflush(stdout) || ferror(stdout)) {
        fputs("portreeve: cannot write to standard output\n", stderr);
        return 1;
    }
    return asked && ok ? 0 : 1;
}

int cmd_eval(int argc, char **argv) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"state", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *state = NULL;
    bool json = false;
    optind = 1;
    argv[0] = "portreeve eval"; /* what getopt's messages begin with */
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') return fputs(HELP, stdout) < 0;
        if (c == '?') return fputs(HELP, stderr), 2;
        if (c == 'j') json = true;
        else state = optarg;
    }
    if (optind != argc - 1) return fputs(HELP, stderr), 2;
    return eval_print(state, argv[optind], json);
}
