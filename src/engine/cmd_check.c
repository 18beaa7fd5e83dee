#include "engine/beside.h"
#include "engine/cmd.h"
#include "engine/differ.h"
#include "engine/planner.h"
#include "engine/replay.h"
#include "engine/supervisor.h"
#include "svc/token.h"
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char HELP[] =
    "usage: portreeve check [--conf DIR] [--policies DIR] [--state DIR] [--set FILE:ENTRY=VALUE]…\n"
    "\n"
    "Runs everything that stands before a start or a reload, and changes nothing: reads all files, compiles the policies and runs their "
    "tests,\n"
    "makes the plan, loads certificates, address lists and the tracking keys, and tries to bind each address.\n"
    "\n"
    "  --conf DIR      configuration folder: flat, or the tree conf/ hub/ lui/ trk/ commands/ (default ./conf, else /etc/portreeve)\n"
    "  --policies DIR  policies (default: DIR/policies, else beside DIR, else the installed ones)\n"
    "  --state DIR     state folder of a running portreeve: the ports it holds itself do not count as taken\n"
    "                  (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --set F:E=V     entry E of file F has the value V, whatever the file says; may be repeated; a Port of 0 takes a free port\n"
    "  --help          this text\n"
    "\n"
    "Where a server runs with the state folder, the last lines say what these files would change in its sockets (`portreeve plan --diff`\n"
    "tells it in full), and which of the decisions about callers that are remembered (portreeve.ini: Decisions, DecisionLog) would come "
    "out\n"
    "differently by these files, with examples: at most 100000, the newest, and at most 2 seconds are spent on it. Files that would shut out\n"
    "this machine, a recent administrator of the hub or a member of lists/cluster.list are refused, as that server would refuse them.\n"
    "Where that server reads other folders than these, it is named by them; without --state nothing says then that these files are meant for\n"
    "it, and whom they would shut out there is a warning.\n"
    "Every fault is named with file, line, entry and value. Lines beginning with `warning: ` do not refuse.\n"
    "Exit status: 0 good, 1 refused, 2 wrong usage.\n";

static void warn(struct planner *p, const char *what, const char *why) {
    p->warnings++;
    fprintf(stderr, "warning: %s: %s\n", what, why);
}

/* The difference to the server that runs. */
static void compare(const struct planner *p, int fd, struct running *r) {
    struct differ d;
    struct err e;
    struct buf text = {0};
    if (differ_make(p, fd, r, &d, &e)) {
        if (plan_diff_summary(&d.in, &d.diff, d.who, &text)) fwrite(text.p, 1, text.n, stdout);
        differ_finish(&d);
    }
    buf_free(&text);
}

/* Whose answer follows, and what it counts for: files of other folders are that server's next ones only where --state says so. */
static void introduce(const struct planner *p, const struct running *r, bool state_said) {
    char here[BESIDE_FOLDERS], there[BESIDE_FOLDERS];
    beside_own(p, here, sizeof here);
    beside_folders(r, there, sizeof there);
    fprintf(stderr, "note: these files are %s; the server that runs with the state folder %s (pid %" PRId64 ") reads %s. ", here, p->state,
            r->pid, there);
    if (state_said) fputs("They are judged as its next ones, since --state names it\n", stderr);
    else
        fprintf(
            stderr,
            "They are compared with it, the ports it holds do not count as taken, and whom it would shut out is a warning: give --state %s "
            "where they are meant for it, and the state folder of their own server where they are not\n",
            p->state);
}

/* Would the engine that runs take these rules, or would they shut out somebody who must not be? As it will ask itself (engine/guards.h). */
static bool spares(struct planner *p, const struct bundle_rules *rules, const struct running *r, bool binds) {
    const char *partly;
    struct err e;
    enum spared said = beside_guards(p, rules, r, &partly, &e);
    if (said == NOT_ASKED) warn(p, "whom these files shut out was not asked", e.text);
    if (partly) warn(p, "whom these files shut out", partly);
    if (said == SHUT_OUT && !binds) warn(p, "the server that runs would refuse these files", e.text);
    if (said != SHUT_OUT || !binds) return true;
    p->errors++;
    fprintf(stderr, "%s; `portreeve reload --force` does it all the same\n", e.text);
    return false;
}

/* A rule for listeners that do not exist concerns nobody. */
static void look_for_listeners(struct planner *p, const struct rules *r) {
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t k = 0; k < r->rule[i].nlisteners; k++) {
            uint32_t s = 0;
            while (s < p->plan.nsockets && strcmp(p->plan.socket[s].name, r->rule[i].listener[k]) != 0) s++;
            if (s < p->plan.nsockets) continue;
            p->warnings++;
            fprintf(stderr, "warning: %s:%" PRIu32 ": %s: there is no listener '%s', so there this rule concerns nobody\n", r->rule[i].file,
                    r->rule[i].line, r->rule[i].op->name, r->rule[i].listener[k]);
        }
}

/* Which of those who have called lately would fare differently. */
static void judge_again(struct planner *p, struct bundle_rules *rules) {
    struct replay *r = calloc(1, sizeof *r);
    struct err e = {"out of memory"};
    struct buf text = {0};
    bool good = r && replay_make(rules, &p->plan, p->state, r, &e);
    if (!good) warn(p, "the decisions that are remembered were not judged again", e.text);
    if (good && replay_say(r, &text) && text.n) fwrite(text.p, 1, text.n, stdout);
    buf_free(&text);
    free(r);
}

/* What these good files would mean here and now. false: the server that runs would refuse them. */
static bool weigh(struct planner *p, int fd, bool state_said) {
    struct running *r = calloc(1, sizeof *r);
    struct bundle_rules rules;
    struct err e = {"out of memory"};
    enum asked asked = r ? supervisor_plan(p->state, r, &e) : ASKED_FAILED;
    bool runs = asked == ASKED_GOOD, others = runs && beside_others(p, r);
    if (asked == ASKED_FAILED) warn(p, "not compared with the server that runs", e.text);
    if (others) introduce(p, r, state_said);
    if (runs) compare(p, fd, r);
    bool good = bundle_rules_create(&rules, fd, &p->plan, p->luadir, &e), spared = true;
    if (good) {
        look_for_listeners(p, hooks_rules(rules.hooks));
        judge_again(p, &rules);
        spared = !runs || spares(p, &rules, r, state_said || !others);
    } else {
        warn(p, "the rules were not asked about callers", e.text);
    }
    bundle_rules_finish(&rules);
    if (r) running_finish(r);
    free(r);
    return spared;
}

/* What a start as root becomes. The planner in its sandbox could not ask: users may come from a directory service. */
static bool user_exists(struct planner *p) {
    errno = 0;
    if (!p->user[0] || geteuid() != 0 || getpwnam(p->user) != NULL || (errno != 0 && errno != ENOENT)) return true;
    p->errors++;
    fprintf(stderr, "portreeve.ini: User=%s: there is no user %s on this machine; make it (adduser --system --group %s) or change User\n",
            p->user, p->user, p->user);
    return false;
}

/* The tracking keys as the engine will meet them; before the first start there are none. */
static bool keys_good(struct planner *p) {
    char path[4096];
    struct err e;
    enum token_ring_is is = token_ring_at(p->state, path, sizeof path);
    if (is == RING_NOT_YET || (is == RING_THERE && access(path, R_OK) != 0)) return true; /* not ours to read: the engine's */
    struct token_ring *ring = is == RING_THERE ? token_ring_load(path, false, &e) : NULL;
    if (is == RING_GONE) err_set(&e, "%s: the file with the tracking keys is gone: put it back from the backup", path);
    bool good = ring != NULL;
    token_ring_free(ring);
    if (good) return true;
    p->errors++;
    fprintf(stderr, "%s\n", e.text);
    return false;
}

int cmd_check(int argc, char **argv) {
    struct planner *p = calloc(1, sizeof *p);
    if (!p) return 1;
    int usage = planner_options(p, argc, argv, NULL, NULL);
    if (usage) {
        free(p);
        return usage < 0 ? fputs(HELP, stdout) < 0 : usage;
    }
    p->preflight = true;
    bool state_said = p->state != NULL;
    p->state = cmd_state(p->state);
    int fd = memfd_create("portreeve-check", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = planner_run(p, fd);
    planner_say(p);
    if (good && p->unmade[0]) printf("certificate %s: the development certificate will be made at the first start\n", p->unmade);
    good = good && user_exists(p) && keys_good(p) && weigh(p, fd, state_said);
    if (good)
        printf("good: %u socket%s, %u policy files, %u warning%s\n", p->plan.nsockets, p->plan.nsockets == 1 ? "" : "s", p->npolicies,
               p->warnings, p->warnings == 1 ? "" : "s");
    else fprintf(stderr, "refused: %u error%s\n", p->errors, p->errors == 1 ? "" : "s");
    planner_finish(p);
    free(p);
    if (fd >= 0) close(fd);
    return good && !fflush(stdout) ? 0 : 1;
}
