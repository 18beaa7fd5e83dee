/* The gate before every start and reload, shared by `portreeve-engine --plan`, `check` and `plan`:
 *   planner_read.c   every file once into a bundle           planner_edit.c  entries changed from console and hub
 *   planner_lua.c    Lua states, bind                        planner_rules.c  entries, through portreeve.rules
 *   planner_policies.c  policies compiled and tested
 *   planner_lists.c  address lists into prefix sets
 *   planner_certs.c  certificates into the bundle            planner_clients.c  the CAs of callers' certificates
 *   planner_backends.c  where tunnels must not lead
 *   planner_bind.c  what waits, preflight; host.c: facts
 *   planner_ahead.c  what a planner in reserve does before it is called
 *   planner.c        the order of these, and `--plan`
 * Faults are collected (bounded), so that one run names them all. Runs to its end in one thread and is then thrown away with its process.
 */
#ifndef PORTREEVE_ENGINE_PLANNER_H
#define PORTREEVE_ENGINE_PLANNER_H
#include "base/buf.h"
#include "base/pset.h"
#include "net/ifwatch.h"
#include "plan/bundle.h"
#include "plan/plan.h"

#define PLANNER_SETS  256
#define PLANNER_PATH  1024
#define PLANNER_EDITS 64
#define PLANNER_FILES 1024 /* policies, and address lists, each at most */

struct planner {
    /* what to do; texts are the caller's */
    const char *conf, *policies, *state; /* policies, state: NULL = not given */
    const char *set[PLANNER_SETS];
    unsigned nsets;
    struct {
        const char *text; /* FILE:ENTRY=VALUE; FILE:ENTRY or FILE:NAME.* to remove */
        bool remove;
    } edit[PLANNER_EDITS + 1]; /* one more than allowed: where the next one is put before it is counted */
    unsigned nedits;
    bool may_write;                     /* the development certificate may be made below state */
    bool preflight;                     /* try to bind each address */
    bool tap;                           /* every test of a policy prints a line */
    bool again;                         /* set by planner_run_again */
    struct bundle *base;                /* of the running generation, for lists that have not changed; NULL = none */
    struct planner_ahead *ahead, *keep; /* what has been done ahead; where to keep what is done now. NULL as a rule */

    /* what came of it */
    struct buf report;    /* lines for people: "warning: …" or the error itself */
    struct buf edited;    /* lines for people: what the edits changed */
    struct buf unedited;  /* listeners.ini without them */
    bool edits_listeners; /* they are about that file */
    bool tunnel_edits;    /* TunnelEdits: they may be about tunnels */
    unsigned errors, warnings, hidden;
    struct bundle_writer *files;
    const struct bundle_file *policy[PLANNER_FILES], *list[PLANNER_FILES]; /* in order of names */
    unsigned npolicies, nlists;
    struct planner_inline { /* a list written into listeners.ini; its name is that of the entry, "NAME.List" */
        char name[PLAN_NAME], file[BUNDLE_PATH], *text;
        unsigned line;
    } * inlines;
    unsigned ninlines;
    char policies_dir[PLANNER_PATH], certs_dir[PLANNER_PATH]; /* as read */
    char luadir[PLANNER_PATH];
    char user[PLAN_NAME]; /* User of portreeve.ini, "" = not given */
    struct plan plan;
    unsigned tests;         /* of policies, run so far */
    char unmade[PLAN_NAME]; /* certificate whose development file does not exist and must not be made now; "" = none */
};

/* The whole gate. The bundle goes into bundle_fd (a memfd), sealed. true: p->plan is good. p->report holds warnings either way. */
bool planner_run(struct planner *p, int bundle_fd);
/* The same files once more, as the running generation's bundle has them, on the machine as it is now: what has been checked of those very
 * bytes (policies and their tests, lists) is not checked again, and nothing is read from disk, so that edits wait for their reload. from_fd:
 * that bundle. Where p has edits they are put into its INI files, and the bundle that comes of it into edited_fd; what nobody has edited here
 * stays as it is in force, whatever stands on disk meanwhile. */
bool planner_run_again(struct planner *p, int from_fd, int edited_fd);
/* Only the policies' own tests. */
bool planner_test(struct planner *p);
void planner_finish(struct planner *p);
/* The report with a last line about what was not shown, to standard error. */
void planner_say(struct planner *p);

/* --conf, --policies, --state, --set, the flags given, and one word where `word` is not NULL (NULL afterwards = none was given).
 * 0, or 2 after saying why, or -1 where --help was asked for. p->conf stays NULL where --conf is not given; a run then looks for ./conf or
 * /etc/portreeve. */
struct planner_flag {
    const char *name; /* "--json"; NULL ends the array */
    bool *on;
};
int planner_options(struct planner *p, int argc, char **argv, const struct planner_flag *flags, const char **word);
/* planner_main (cmd.h) is `portreeve-engine --plan …`: fd 3 = empty bundle memfd, fd 4 = empty plan memfd, both written and sealed on exit
 * status 0; fd 5 = the Lua library (plan/library.h). `--plan --beside …`: fd 6 is the running generation's bundle. `--plan --again`: fd 3 is
 * that, and only read; `--plan --again --conf … --edit …`: fd 6 is that, and fd 3 gets the edited one. `--plan --reserve --conf …`: fd 6 is a
 * pipe; everything is read and tried ahead, and nothing written; a byte in the pipe is the call to do what `--plan` does, its end the order
 * to leave. */

/* ---- among the planner's own files ---- */
void planner_error(struct planner *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void planner_warn(struct planner *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool planner_begin(struct planner *p); /* the files; false: there is nothing to go on with */
void planner_read(struct planner *p);
/* Where the policies of conf are if nobody says: CONF/policies, else beside CONF, else what was installed. false: the path is too long. */
bool planner_policies_of(const char *conf, char out[PLANNER_PATH]);
void planner_read_bundle(struct planner *p, const struct bundle *b); /* instead: p->files as it was */
void planner_read_edited(struct planner *p, const struct bundle *b); /* the same with p's edits, and whole: a new bundle is made of it */
/* A file of at most `most` bytes; returns false with e unless it is regular and readable. absent is set (and e left) where it does not
 * exist. */
bool planner_read_file(const char *path, size_t most, bool nofollow, struct buf *out, uint32_t *mode, bool *absent, struct err *e);
/* The edits of this file into its text. Returns whether there is such a file now; one that is made has only the edits' entries. */
bool planner_edit(struct planner *p, const char *logical, const char *display, bool there, struct buf *text);
void planner_edit_closed(struct planner *p, const char *listener); /* nothing of this one may be changed: an edit that does is an error */
void planner_edit_plan(struct planner *p); /* the same of those that are tunnels in p->plan, unless TunnelEdits is On */
void planner_lua(struct planner *p);       /* fills p->plan but for what planner_certs adds to the bundle */
void planner_policies(struct planner *p);  /* rules, policies, tests; no plan */
void planner_certs(struct planner *p);     /* p->plan.cert[] come with chain and key as the operator wrote them; leave as bundle paths */

/* planner_clients.c: the files with CAs of callers' certificates. take: one that the plan may need, without a word where it cannot be read; it
 * is read once. clients: p->plan.socket[].client_ca come as the operator wrote them; leave as bundle paths. */
void planner_client_take(struct planner *p, const char *file);
void planner_clients(struct planner *p);

/* planner_backends.c: none of p->plan.backend leads to the sockets in STATE/run, by whatever path. Errors name file, line and entry. */
void planner_backends(struct planner *p);

/* Each list of p->files as a prefix set beside it, "sets/NAME"; afterwards the files' texts are gone. */
void planner_sets(struct planner *p);
const struct pset *planner_set(const struct planner *p,
                               const char *name); /* from then on; NULL = there is no such list, or it was not made again */
/* "conf/listeners.ini:12: shop.List=lan": the entry that says so of this socket; where there is none, what opens the socket. */
void planner_place(const struct planner *p, const struct plan_socket *s, const char *word, const char *value, char *out,
                   size_t cap);          /* planner_place.c */
void planner_scripts(struct planner *p); /* planner_scripts.c: those that listeners name are there */
void planner_ask_for_lists(struct planner *p);
#define LIST_BUILT_IN "built-in "           /* how the display of a list without a file begins */
void planner_miss_lists(struct planner *p); /* warns of those that had a file when the generation in force was made */
bool planner_inline_add(struct planner *p, const char *name, const char *text, const char *file, unsigned line); /* false: out of memory */
void planner_inlines_finish(struct planner *p);

struct host {
    struct iflist list;
    bool ipv6; /* an IPv6 socket can be bound, and there is an address to call it at */
};
bool host_read(struct host *h, struct err *e);
void host_finish(struct host *h);
void planner_preflight(struct planner *p);
void planner_settle(struct planner *p, const struct host *h); /* of the sockets that may wait for their address: which do? */
#endif
