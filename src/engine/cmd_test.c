#include "engine/cmd.h"
#include "engine/planner.h"
#include <stdio.h>
#include <stdlib.h>

static const char HELP[] = "usage: portreeve test [--conf DIR] [--policies DIR] [--set FILE:ENTRY=VALUE]…\n"
                           "\n"
                           "Runs the tests that lie beside the policies (policies/NAME_test.lua), in the sandbox and under the limits of "
                           "the server, and prints one\n"
                           "TAP line for each. The same tests run at every start and reload.\n"
                           "\n"
                           "Exit status: 0 all passed, 1 a test failed or a file is bad (named on standard error), 2 wrong usage.\n";

int cmd_test(int argc, char **argv) {
    struct planner *p = calloc(1, sizeof *p);
    if (!p) return 1;
    int usage = planner_options(p, argc, argv, NULL, NULL);
    if (usage) {
        free(p);
        return usage < 0 ? fputs(HELP, stdout) < 0 : usage;
    }
    p->tap = true;
    bool good = planner_test(p);
    printf("1..%u\n", p->tests);
    bool said = fflush(stdout) == 0;
    planner_say(p);
    planner_finish(p);
    free(p);
    return good && said ? 0 : 1;
}
