#include "engine/cmd.h"
#include "engine/differ.h"
#include "engine/planner_vm.h"
#include "engine/states.h"
#include "engine/supervisor.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char HELP[] =
    "usage: portreeve explain [--json] [--conf DIR] [--policies DIR] [--state DIR] [--set FILE:ENTRY=VALUE]… ADDRESS:PORT | ADDRESS | "
    ":PORT\n"
    "\n"
    "Says which entry of this configuration binds an address and port, and what is served there to whom; or why nothing binds it and what\n"
    "is nearest: another port of the address, another address with the port, the list in which it is missing, the row of the bind table\n"
    "that decides, an entry that is ignored, an address that is not on this machine. An address alone asks about all its ports, a port\n"
    "alone about all addresses. Where a server runs with the state folder, it is said whether it has that socket now.\n"
    "\n"
    "  --json   {target, bound, running, sockets: [as in `portreeve plan --json`], text}; running is null where no server runs, else "
    "whether\n"
    "           it has bound one of the sockets\n"
    "  the rest as for `portreeve check`\n"
    "\n"
    "Examples: portreeve explain 192.0.2.10:443    portreeve explain [::1]:80    portreeve explain :1099\n"
    "Exit status: 0 something binds it, 1 nothing does or the configuration is refused (standard error), 2 wrong usage.\n";

static bool is_bound(const struct states *s, const struct explained *x) {
    for (uint32_t i = 0; i < x->n; i++)
        if (s->port[x->socket[i]]) return true;
    return false;
}

static bool put_json(const struct planner *p, const char *target, const struct explained *x, const struct states *s,
                     const struct running *r, struct buf *out) {
    struct plan_view v = states_view(s);
    bool good = buf_str(out, "{") && buf_member(out, "target", target) &&
                buf_fmt(out, ",\"bound\":%s,\"running\":%s,\"sockets\":[", x->bound ? "true" : "false",
                        !r               ? "null"
                        : is_bound(s, x) ? "true"
                                         : "false");
    for (uint32_t i = 0; good && i < x->n; i++)
        good = buf_str(out, i ? ",\n " : "\n ") && plan_json_socket(&p->plan, &v, x->socket[i], out);
    return good && buf_str(out, "],\"text\":") && buf_json(out, x->text.p ? x->text.p : "", x->text.n) && buf_str(out, "}\n");
}

static bool put_text(const struct explained *x, const struct states *s, const struct running *r, struct buf *out) {
    bool good = buf_add(out, x->text.p, x->text.n);
    if (good && r && x->bound && !is_bound(s, x))
        good =
            buf_fmt(out, "The server that runs (generation %" PRIu64 ") does not have it: `portreeve reload` puts these files in force.\n",
                    r->generation);
    return good;
}

/* 0 bound, 1 not or failed, 2 the target is none. */
static int say(struct planner *p, const char *target, const struct running *r, bool json) {
    struct states s = {0};
    struct explained x;
    struct err e = {""};
    struct buf out = {0};
    bool usage = false, good = states_make(&p->plan, r, &s) || err_set(&e, "out of memory");
    struct plan_view v = states_view(&s);
    if (!good || !planner_explain(p, target, &v, &x, &usage, &e)) {
        fprintf(stderr, "portreeve explain: %s\n", e.text);
        states_finish(&s);
        return usage ? 2 : 1;
    }
    good = json ? put_json(p, target, &x, &s, r, &out) : put_text(&x, &s, r, &out);
    if (good && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0)) {
        fputs("portreeve explain: cannot write to standard output\n", stderr);
        good = false;
    }
    bool bound = x.bound;
    buf_free(&out);
    explained_finish(&x);
    states_finish(&s);
    return good && bound ? 0 : 1;
}

static int run(struct planner *p, const char *target, bool json) {
    struct running *r = calloc(1, sizeof *r);
    struct err e;
    enum asked asked = r ? supervisor_plan(cmd_state(p->state), r, &e) : ASKED_FAILED;
    int fd = memfd_create("portreeve-explain", MFD_CLOEXEC | MFD_ALLOW_SEALING), code = 1;
    if (asked == ASKED_FAILED) fprintf(stderr, "warning: the server that runs is left out: %s\n", r ? e.text : "out of memory");
    if (planner_run(p, fd)) {
        if (asked == ASKED_GOOD) differ_note(p, r);
        code = say(p, target, asked == ASKED_GOOD ? r : NULL, json);
    } else {
        planner_say(p);
    }
    if (r) running_finish(r);
    free(r);
    if (fd >= 0) close(fd);
    return code;
}

int cmd_explain(int argc, char **argv) {
    struct planner *p = calloc(1, sizeof *p);
    const char *target = NULL;
    bool json = false;
    const struct planner_flag flags[] = {{"--json", &json}, {NULL, NULL}};
    if (!p) return 1;
    int code = planner_options(p, argc, argv, flags, &target);
    if (code < 0) code = fputs(HELP, stdout) < 0;
    else if (!code && !target)
        code = (fputs("portreeve explain: an address and port is wanted; see `portreeve explain --help`\n", stderr), 2);
    else if (!code) code = run(p, target, json);
    planner_finish(p);
    free(p);
    return code;
}
