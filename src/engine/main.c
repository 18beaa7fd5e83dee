/* portreeve-engine: the program that holds Lua, OpenSSL and SQLite. `--engine` and `--plan` are roles given by the supervisor; everything else is a
 * command that people type through `portreeve`. */
#include "engine/cmd.h"
#include "engine/control.h"
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} roles[] = {
    {"--engine", engine_main}, {"--plan", planner_main},
    {"check", cmd_check},      {"plan", cmd_plan},
    {"explain", cmd_explain},  {"ini", cmd_ini},
    {"list", cmd_list},        {"lists", cmd_lists},
    {"mint", cmd_mint},        {"events", cmd_events},
    {"console", cmd_console},  {"eval", cmd_eval},
    {"test", cmd_test},        {"login-link", cmd_login_link},
    {"why", cmd_why},          {"would", cmd_would},
    {"ban", cmd_ban},          {"unban", cmd_unban},
    {"bans", cmd_bans},        {"reap", cmd_reap},
};

int main(int argc, char **argv) {
    /* The supervisor starts us from a descriptor, and older kernels name a process after that. */
    if (argc > 1 && argv[1][0] == '-') (void)prctl(PR_SET_NAME, "portreeve-engine", 0, 0, 0);
    for (unsigned i = 0; argc > 1 && i < sizeof roles / sizeof *roles; i++)
        if (strcmp(argv[1], roles[i].name) == 0) return roles[i].run(argc - 1, argv + 1);
    fprintf(stderr, "portreeve: there is no command '%s'. `portreeve help` lists them.\n", argc > 1 ? argv[1] : "");
    return 2;
}
