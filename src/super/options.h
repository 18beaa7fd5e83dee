/* The options that `run` and the client commands share, and where conf and state are when nothing is said. */
#ifndef PORTREEVE_SUPER_OPTIONS_H
#define PORTREEVE_SUPER_OPTIONS_H
#include <stdbool.h>

#define OPTIONS_SETS 256

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };
enum { TAKES_STATE = 1, TAKES_RUN = 2, TAKES_JSON = 4, TAKES_SECURITY = 8, TAKES_FORCE = 16 }; /* bits: which options a command takes */

struct options {                                /* all texts belong to argv, the environment or the program */
    const char *conf, *state, *policies, *user; /* policies, user: NULL = not given */
    const char *set[OPTIONS_SETS];              /* FILE:ENTRY=VALUE, handed to the planner as they are */
    unsigned nsets;
    bool json, security, force, help;
};

/* argv[0] is the command. EXIT_DONE, or EXIT_USAGE after saying why on standard error. */
int options_parse(int argc, char **argv, unsigned takes, struct options *o);
#endif
