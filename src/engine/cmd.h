/* Commands of portreeve-engine that end by themselves: one function each, argv[0] is the command's name. All take --help.
 * Exit status: 0 done, 1 refused (the reason is on standard error), 2 wrong usage. */
#ifndef PORTREEVE_ENGINE_CMD_H
#define PORTREEVE_ENGINE_CMD_H
#include <stdbool.h>

int cmd_ini(int argc, char **argv);   /* cmd_ini.c: show an INI file as it is read */
int cmd_list(int argc, char **argv);  /* cmd_list.c: which line of an address list decides about an address */
int cmd_lists(int argc, char **argv); /* cmd_lists.c: what the lists in force have decided */
int cmd_ban(int argc, char **argv);   /* cmd_ban.c: shut an address out for a while */
int cmd_unban(int argc, char **argv);
int cmd_bans(int argc, char **argv);
int cmd_reap(int argc, char **argv);       /* cmd_reap.c: judge living connections again */
int cmd_login_link(int argc, char **argv); /* cmd_login.c: a one-time address of the hub */

int cmd_check(int argc, char **argv);    /* cmd_check.c: the reload gate without reloading */
int cmd_plan(int argc, char **argv);     /* cmd_plan.c: the sockets a configuration makes, and why */
int cmd_explain(int argc, char **argv);  /* cmd_explain.c: which entry binds an address and port, or why nothing does */
int cmd_test(int argc, char **argv);     /* cmd_test.c: the policies' own tests, as TAP */
int planner_main(int argc, char **argv); /* planner.c: `--plan`, started by the supervisor */
int cmd_mint(int argc, char **argv);     /* cmd_mint.c: make tracking links */
int cmd_events(int argc, char **argv);   /* cmd_events.c: show what the spool holds */
int cmd_console(int argc, char **argv);  /* cmd_console.c: lines typed, evaluated inside the running engine */
int cmd_eval(int argc, char **argv);     /* cmd_eval.c: one expression, for scripts */

/* Evaluate inside the running engine and print; state: as given, or NULL. Exit status. */
int eval_print(const char *state, const char *text, bool json);
int cmd_why(int argc, char **argv);   /* cmd_why.c: what was decided about an address, and by which line */
int cmd_would(int argc, char **argv); /* cmd_would.c: what would become of a caller, rule by rule */

/* State folder of a command: the one given, else $PORTREEVE_STATE, ./var where it is there, /var/lib/portreeve. */
const char *cmd_state(const char *given);
#endif
