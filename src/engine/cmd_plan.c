#include "engine/cmd.h"
#include "engine/differ.h"
#include "engine/firewall.h"
#include "engine/planner.h"
#include "engine/states.h"
#include "engine/supervisor.h"
#include "plan/steps.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char HELP[] =
    "usage: portreeve plan [--diff [--steps] | --firewall [--nft]] [--json] [--conf DIR] [--policies DIR] [--state DIR] [--set FILE:ENTRY=VALUE]…\n"
    "\n"
    "Shows the sockets that this configuration makes on this machine, and why each exists: row of the bind table, file, line and entry, "
    "and\n"
    "the line of the policy. Nothing is bound. Where a server runs with the state folder, each socket's state in it is shown too.\n"
    "\n"
    "  --diff      what `portreeve reload` would change in the running server, socket by socket, and what each change does to the\n"
    "              connections that are open (on a socket that closes a running request is finished, callers in its queue are served,\n"
    "              an idle kept connection is closed within half a second); without --conf, --policies and --set it reads what that server was started with.\n"
    "              Where a reload would be refused because it shuts out who must not be, that is said too\n"
    "  --steps     after that, the steps in which the server would make the change, in order, each with its reason\n"
    "  --firewall  the inbound rules that a packet filter or a NAT in front needs: who must reach which port\n"
    "  --nft       the same as a fragment for nftables\n"
    "  --json      plan: an array of {name, address, when_missing, waiting, state, port, transport, scheme, external_tls, proxy, proxy_inside,\n"
    "              proxy_from, certificate, client_certificate, services, script, restriction, list, max_connections, max_per_address, reserve,\n"
    "              backlog, rates, prefix, give_way, backend, backends: {host: backend}, proxy_out, because: {file, line, entry, row, policy}};\n"
    "              port 0 = a free port will be taken.\n"
    "              --diff: {same, counts: {kept, changed, opened, closed, waits, unwaits}, changes: [{change, at, fields, connections,\n"
    "              effect, swap, before, after}], swaps: [{family, port, to_wildcard, reachable: [{at, before, after, connections,\n"
    "              effect}]}], lost, gained, settings: [{entry, before, after}], files: [{path, change}], text, running: {pid, generation,\n"
    "              others, conf, policies}, shut_out, not_asked}; before and after are sockets as above or null, connections is null where\n"
    "              the kernel does not tell; others: the server reads other folders, conf and policies (null = not told), than these files;\n"
    "              shut_out: whom they would shut out, in the words in which a reload is refused for it, or null; not_asked: why that is\n"
    "              not known of all, or null\n"
    "              --firewall: {rules: [{address, transport, port, listener, who, services, list, sources}],\n"
    "              none: [{address, transport, port, listener, why}]}\n"
    "  the rest as for `portreeve check`\n"
    "\n"
    "Exit status: 0 shown, 1 refused, or --diff and no server runs (the reasons are on standard error), 2 wrong usage.\n";

struct plan_options {
    bool json, diff, steps, firewall, nft, help;
};

static int complain(const char *what) {
    fprintf(stderr, "portreeve plan: %s; see `portreeve plan --help`\n", what);
    return 2;
}

/* A folder as the server was told, where that is the same folder seen from here, else its full path. */
static const char *folder(const char *told, const char *path) {
    char here[PATH_MAX];
    return !path[0] || (realpath(told, here) && strcmp(here, path) == 0) ? told : path;
}

/* Nothing was said: what a reload of that server would read. */
static bool as_running(struct planner *p, const struct running *r) {
    if (p->conf || p->policies || p->nsets) return true;
    if (r->secrets) {
        fprintf(stderr,
                "portreeve plan: %" PRIu32
                " of the server's --set overrides hold a password, which it does not tell: give --conf and --set here too\n",
                r->secrets);
        return false;
    }
    p->conf = folder(r->conf, r->conf_path);
    if (r->policies[0]) p->policies = folder(r->policies, r->policies_path);
    for (uint32_t i = 0; i < r->nsets && p->nsets < PLANNER_SETS; i++) p->set[p->nsets++] = r->set[i];
    return true;
}

static bool show_plan(const struct planner *p, const struct running *r, bool json, struct buf *out) {
    struct states s;
    if (!states_make(&p->plan, r, &s)) return false;
    struct plan_view v = states_view(&s);
    bool good = (json ? plan_json : plan_print)(&p->plan, &v, out);
    states_finish(&s);
    return good;
}

static bool add_steps(const struct diff_input *in, struct buf *out) {
    struct steps s;
    if (!steps_make(in->old.plan, in->old.port, in->now.plan, &s)) return false;
    bool good = buf_str(out, "\nIn these steps:\n") && steps_text(&s, in->old.plan, in->old.port, in->now.plan, out);
    steps_finish(&s);
    return good;
}

struct guarded { /* what the guards of the server that runs would say to these files */
    enum spared said;
    const char *partly;
    struct err e;
};

static void ask_guards(const struct planner *p, int fd, const struct running *r, struct guarded *g) {
    struct bundle_rules rules;
    *g = (struct guarded){.said = NOT_ASKED};
    if (bundle_rules_create(&rules, fd, &p->plan, p->luadir, &g->e)) g->said = beside_guards(p, &rules, r, &g->partly, &g->e);
    bundle_rules_finish(&rules);
}

static bool add_guards(const struct guarded *g, bool others, struct buf *out) {
    if (g->said == NOT_ASKED) fprintf(stderr, "warning: whom this shuts out was not asked: %s\n", g->e.text);
    if (g->partly) fprintf(stderr, "warning: whom this shuts out: %s\n", g->partly);
    return g->said != SHUT_OUT ||
           buf_fmt(out, "%s: %s; `portreeve reload --force` does it all the same\n",
                   others ? "the server that runs would refuse these files" : "a reload would be refused", g->e.text);
}

static bool text_or_null(struct buf *out, const char *key, const char *text) {
    return buf_fmt(out, ",\"%s\":", key) && (text && *text ? buf_json(out, text, strlen(text)) : buf_str(out, "null"));
}

static bool add_json(const struct guarded *g, const struct running *r, bool others, struct buf *out) {
    return buf_fmt(out, ",\n\"running\":{\"pid\":%" PRId64 ",\"generation\":%" PRIu64 ",\"others\":%s", r->pid, r->generation,
                   others ? "true" : "false") &&
           text_or_null(out, "conf", r->conf_path[0] ? r->conf_path : r->conf) &&
           text_or_null(out, "policies", r->policies_path[0] ? r->policies_path : r->policies) && buf_str(out, "}") &&
           text_or_null(out, "shut_out", g->said == SHUT_OUT ? g->e.text : NULL) &&
           text_or_null(out, "not_asked", g->said == NOT_ASKED ? g->e.text : g->partly);
}

static bool show_diff(const struct planner *p, int fd, const struct running *r, const struct plan_options *o, struct buf *out) {
    struct differ d;
    struct guarded g;
    struct err e;
    struct buf more = {0};
    if (!differ_make(p, fd, r, &d, &e)) {
        fprintf(stderr, "portreeve plan: %s\n", e.text);
        return false;
    }
    ask_guards(p, fd, r, &g);
    bool good = o->json ? add_json(&g, r, d.others, &more) && buf_add(&more, "", 1) && plan_diff_json(&d.in, &d.diff, d.who, more.p, out)
                        : plan_diff_text(&d.in, &d.diff, d.who, out) && add_guards(&g, d.others, out);
    if (good && o->steps) good = add_steps(&d.in, out);
    buf_free(&more);
    differ_finish(&d);
    return good;
}

static bool show(const struct planner *p, int fd, const struct running *r, const struct plan_options *o) {
    struct buf out = {.max = 256u << 20};
    bool good = o->diff       ? show_diff(p, fd, r, o, &out)
                : o->firewall ? firewall_show(p, r,
                                              o->nft    ? FIREWALL_NFT
                                              : o->json ? FIREWALL_JSON
                                                        : FIREWALL_TEXT,
                                              &out)
                              : show_plan(p, r, o->json, &out);
    if (good && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0)) {
        fputs("portreeve plan: cannot write to standard output\n", stderr);
        good = false;
    }
    buf_free(&out);
    return good;
}

static bool run(struct planner *p, const struct plan_options *o) {
    struct running *r = calloc(1, sizeof *r);
    struct err e;
    const char *state = cmd_state(p->state);
    enum asked asked = r ? supervisor_plan(state, r, &e) : ASKED_FAILED;
    int fd = memfd_create("portreeve-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = true;
    if (o->diff) {
        if (asked != ASKED_GOOD) fprintf(stderr, "portreeve plan: nothing to compare with: %s\n", r ? e.text : "out of memory");
        good = asked == ASKED_GOOD && as_running(p, r);
        p->state = state;
    } else if (asked == ASKED_FAILED) {
        fprintf(stderr, "warning: states are not shown: %s\n", r ? e.text : "out of memory");
    }
    if (good) {
        good = planner_run(p, fd);
        planner_say(p);
    }
    if (good && !o->diff && asked == ASKED_GOOD) differ_note(p, r);
    good = good && show(p, fd, asked == ASKED_GOOD ? r : NULL, o);
    if (r) running_finish(r);
    free(r);
    if (fd >= 0) close(fd);
    return good;
}

int cmd_plan(int argc, char **argv) {
    struct planner *p = calloc(1, sizeof *p);
    struct plan_options o = {0};
    const struct planner_flag flags[] = {{"--json", &o.json},         {"--diff", &o.diff}, {"--steps", &o.steps},
                                         {"--firewall", &o.firewall}, {"--nft", &o.nft},   {NULL, NULL}};
    if (!p) return 1;
    int usage = planner_options(p, argc, argv, flags, NULL);
    if (usage < 0) usage = fputs(HELP, stdout) < 0 ? 1 : -1;
    else if (!usage && o.diff && o.firewall) usage = complain("--diff and --firewall are two questions");
    else if (!usage && o.steps && (!o.diff || o.json)) usage = complain("--steps is text that follows --diff");
    else if (!usage && o.nft && (!o.firewall || o.json)) usage = complain("--nft is a form of --firewall, as --json is another");
    if (!usage) usage = run(p, &o) ? 0 : 1;
    planner_finish(p);
    free(p);
    return usage < 0 ? 0 : usage;
}
