#include "engine/cmd.h"
#include "engine/planner.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char HELP[] =
    "usage: portreeve plan [--json] [--conf DIR] [--policies DIR] [--state DIR] [--set FILE:ENTRY=VALUE]…\n"
    "\n"
    "Shows the sockets that this configuration makes on this machine, and why each exists: row of the bind table, file, line and entry, "
    "and\n"
    "the line of the policy. Nothing is bound.\n"
    "\n"
    "  --json   an array of {name, address, when_missing, waiting, state, port, scheme, external_tls, certificate, services, restriction, list,\n"
    "           max_connections, max_per_address, reserve, backlog, because: {file, line, entry, row, policy}}; port 0 = a free port will be taken\n"
    "  the rest as for `portreeve check`\n"
    "\n"
    "Exit status: 0 shown, 1 refused (the reasons are on standard error), 2 wrong usage.\n";

int cmd_plan(int argc, char **argv) {
    struct planner *p = calloc(1, sizeof *p);
    struct buf out = {0};
    bool json = false;
    if (!p) return 1;
    int usage = planner_options(p, argc, argv, &json);
    if (usage) {
        free(p);
        return usage < 0 ? fputs(HELP, stdout) < 0 : usage;
    }
    int fd = memfd_create("portreeve-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = planner_run(p, fd);
    planner_say(p);
    if (good)
        good = ((json ? plan_json(&p->plan, NULL, NULL, &out) : plan_print(&p->plan, NULL, &out)) && fwrite(out.p, 1, out.n, stdout) == out.n && fflush(stdout) == 0) ||
               (fputs("portreeve plan: cannot write to standard output\n", stderr), false);
    buf_free(&out);
    planner_finish(p);
    free(p);
    if (fd >= 0) close(fd);
    return good ? 0 : 1;
}
