#include "engine/cmd.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char HELP[] =
    "usage: portreeve lists [--unused | --shadowed] [--json] [--state DIR] [NAME]\n"
    "\n"
    "Shows the address lists in force: how many lines they have, and how often these have decided since this engine first loaded it. A line keeps\n"
    "its count over reloads as long as it says the same in the same file.\n"
    "\n"
    "  NAME            one list: the lines that decide most, those that never have, those that never can\n"
    "  --unused        only lines that could decide and never have: candidates for removal\n"
    "  --shadowed      only lines that can never decide, because later lines speak of all their addresses\n"
    "  --json          print JSON\n"
    "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help          this text\n"
    "\n"
    "A list within an entry has the entry's name (secure.List). `portreeve list FILE` asks a list about addresses.\n"
    "Exit status: 0, 1 the server cannot be reached or has no such list, 2 wrong usage.\n";

int cmd_lists(int argc, char **argv) {
    static const struct option options[] = {{"unused", no_argument, NULL, 'u'}, {"shadowed", no_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},   {"state", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},   {0}};
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    const char *state = NULL, *what = "", *name;
    bool json = false;
    optind = 1;
    argv[0] = "portreeve lists"; /* what getopt's messages begin with */
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') return fputs(HELP, stdout) < 0;
        if (c == '?' || (*what && (c == 'u' || c == 'd'))) return fputs(HELP, stderr), 2;
        if (c == 'u') what = ".unused";
        if (c == 'd') what = ".shadowed";
        if (c == 'j') json = true;
        if (c == 's') state = optarg;
    }
    name = optind < argc ? argv[optind] : "";
    if (argc - optind > 1 || name[strspn(name, fine)] || strlen(name) > 200) return fputs(HELP, stderr), 2;
    char text[300];
    snprintf(text, sizeof text, *name ? "lists%s(\"%s\")" : "lists%s()", what, name);
    return eval_print(state, text, json);
}
