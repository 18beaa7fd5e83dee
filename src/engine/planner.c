#include "engine/planner.h"
#include "engine/cmd.h"
#include "engine/harden_i.h"
#include "engine/planner_ahead.h"
#include "net/tls.h"
#include "plan/library.h"
#include "plan/plan_check.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MOST_ERRORS   50
#define MOST_WARNINGS 100
#define BUNDLE_FD     3
#define PLAN_FD       4
#define LIBRARY_FD    5
#define BASE_FD       6
#define CALL_FD       6

/* ---- the report ---- */

static void add_line(struct planner *p, const char *head, const char *fmt, va_list ap) {
    struct err e;
    vsnprintf(e.text, sizeof e.text, fmt, ap);
    if (!buf_fmt(&p->report, "%s%s\n", head, e.text)) p->hidden++;
}

void planner_error(struct planner *p, const char *fmt, ...) {
    va_list ap;
    if (p->errors++ >= MOST_ERRORS) {
        p->hidden++;
        return;
    }
    va_start(ap, fmt);
    add_line(p, "", fmt, ap);
    va_end(ap);
}

void planner_warn(struct planner *p, const char *fmt, ...) {
    va_list ap;
    if (p->warnings++ >= MOST_WARNINGS) {
        p->hidden++;
        return;
    }
    va_start(ap, fmt);
    add_line(p, "warning: ", fmt, ap);
    va_end(ap);
}

void planner_say(struct planner *p) {
    if (p->report.n) fwrite(p->report.p, 1, p->report.n, stderr);
    if (p->hidden) fprintf(stderr, "… and %u more messages\n", p->hidden);
    fflush(stderr);
}

/* ---- the last stages ---- */

static void warn_cert(void *ctx, const char *text) {
    planner_warn(ctx, "%s", text);
}

/* Load them as the engine will. One that is still to be made cannot be tried. */
static void check_certs(struct planner *p, const struct bundle *b) {
    struct plan tried = p->plan;
    struct err e;
    tried.cert = calloc(p->plan.ncerts ? p->plan.ncerts : 1, sizeof *tried.cert);
    tried.ncerts = 0;
    if (!tried.cert) {
        planner_error(p, "out of memory");
        return;
    }
    for (uint32_t i = 0; i < p->plan.ncerts; i++)
        if (strcmp(p->plan.cert[i].name, p->unmade) != 0) tried.cert[tried.ncerts++] = p->plan.cert[i];
    struct tls_certs *certs = tls_certs_load(&tried, b, warn_cert, p, &e);
    if (!certs) planner_error(p, "%s", e.text);
    tls_certs_free(certs);
    explicit_bzero(tried.cert, tried.ncerts * sizeof *tried.cert);
    free(tried.cert);
}

static void say_fault(void *ctx, const char *text) {
    planner_error(ctx, "%s", text);
}

static void try_bundle(struct planner *p, int bundle_fd) {
    struct err e;
    struct bundle *b = bundle_write(p->files, bundle_fd, &e) ? bundle_map(bundle_fd, &e) : NULL;
    if (b) check_certs(p, b);
    else planner_error(p, "%s", e.text);
    bundle_unmap(b);
}

/* What the edits changed, behind everything else that is said. */
static void say_edits(struct planner *p) {
    if (p->edited.n && !buf_add(&p->report, p->edited.p, p->edited.n)) p->hidden++;
}

static void check_plan(struct planner *p) {
    (void)plan_check_each(&p->plan, say_fault, p);
    planner_backends(p);
}

static bool check_all(struct planner *p, int bundle_fd) {
    check_plan(p);
    planner_sets(p);
    planner_miss_lists(p);
    planner_ask_for_lists(p);
    planner_scripts(p);
    if (p->errors) return false;
    try_bundle(p, bundle_fd);
    if (p->errors == 0 && p->preflight) planner_preflight(p);
    return p->errors == 0;
}

bool planner_run_again(struct planner *p, int from_fd, int edited_fd) {
    static const struct {
        void (*take)(struct planner *p);
        bool edits; /* only where something is edited */
    } steps[] = {{planner_lua, false}, {planner_edit_plan, true}, {planner_certs, false},         {planner_clients, false},
                 {check_plan, false},  {planner_sets, true},      {planner_ask_for_lists, false}, {planner_scripts, false}};
    struct err e;
    struct bundle *b = NULL;
    bool edits = p->nedits > 0;
    p->report.max = 1u << 20;
    p->again = true;
    if (!library_dir(p->luadir, sizeof p->luadir, &e) || !(b = bundle_map(from_fd, &e))) planner_error(p, "%s", e.text);
    if (b) (edits ? planner_read_edited : planner_read_bundle)(p, b);
    bundle_unmap(b);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && p->errors == 0; i++)
        if (edits || !steps[i].edits) steps[i].take(p);
    if (edits && p->errors == 0) try_bundle(p, edited_fd);
    if (edits && p->errors == 0) say_edits(p);
    return p->errors == 0;
}

bool planner_begin(struct planner *p) {
    struct err e;
    p->report.max = 1u << 20;
    if (!p->conf) p->conf = access("./conf", F_OK) == 0 ? "./conf" : "/etc/portreeve";
    if (!library_dir(p->luadir, sizeof p->luadir, &e)) {
        planner_error(p, "%s", e.text);
        return false;
    }
    planner_read(p);
    return p->files && p->nlists > 0; /* else not even the folder is there: what follows would only repeat it */
}

bool planner_test(struct planner *p) {
    if (!planner_begin(p)) return false;
    planner_policies(p);
    return p->errors == 0;
}

bool planner_run(struct planner *p, int bundle_fd) {
    if (!planner_begin(p)) return false;
    planner_lua(p);
    if (p->errors == 0) planner_edit_plan(p);
    if (p->errors) return false;
    planner_certs(p);
    planner_clients(p);
    if (p->errors || !check_all(p, bundle_fd)) return false;
    say_edits(p);
    return true;
}

void planner_finish(struct planner *p) {
    bundle_writer_destroy(p->files);
    bundle_unmap(p->base);
    planner_inlines_finish(p);
    plan_finish(&p->plan);
    buf_free(&p->report);
    buf_free(&p->edited);
    buf_free(&p->unedited);
    p->files = NULL;
    p->base = NULL;
}

/* ---- options ---- */

static bool place_of(struct planner *p, const char *name, size_t n, const char ***out) {
    struct {
        const char *name;
        const char **place;
    } known[] = {{"--conf", &p->conf},         {"--policies", &p->policies},         {"--state", &p->state},
                 {"--set", &p->set[p->nsets]}, {"--edit", &p->edit[p->nedits].text}, {"--edit-remove", &p->edit[p->nedits].text}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == n && memcmp(known[i].name, name, n) == 0) {
            *out = known[i].place;
            return true;
        }
    return false;
}

static int complain(const char *command, const char *option, const char *what) {
    fprintf(stderr, "portreeve %s: %s %s; see `portreeve %s --help`\n", command, option, what, command);
    return 2;
}

static bool set_flag(const struct planner_flag *f, const char *name) {
    for (; f && f->name; f++)
        if (strcmp(f->name, name) == 0) return *f->on = true;
    return false;
}

int planner_options(struct planner *p, int argc, char **argv, const struct planner_flag *flags, const char **word) {
    *p = (struct planner){0};
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], **place;
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) return -1;
        if (set_flag(flags, a)) continue;
        if (word && !*word && a[0] != '-') {
            *word = a;
            continue;
        }
        if (p->nsets == PLANNER_SETS - 1) return complain(argv[0], "--set", "is given too often");
        size_t n = strcspn(a, "=");
        if (!place_of(p, a, n, &place)) return complain(argv[0], a, "is not known");
        const char *value = a[n] ? a + n + 1 : i + 1 < argc ? argv[++i] : "";
        if (!*value) return complain(argv[0], a, "needs a value");
        *place = value;
        if (place == &p->set[p->nsets]) p->nsets++;
        if (place != &p->edit[p->nedits].text) continue;
        p->edit[p->nedits].remove = n == strlen("--edit-remove");
        if (++p->nedits > PLANNER_EDITS) return complain(argv[0], "--edit", "is given too often");
    }
    return 0;
}

/* ---- portreeve-engine --plan ---- */

static bool write_plan(const struct plan *plan, int fd, struct err *e) {
    struct buf text = {.max = 256u << 20};
    bool good = plan_encode(plan, &text);
    for (size_t at = 0; good && at < text.n;) {
        ssize_t n = write(fd, text.p + at, text.n - at);
        if (n < 0 && errno == EINTR) continue;
        good = n > 0;
        if (good) at += (size_t)n;
    }
    good = good && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
    if (text.p) explicit_bzero(text.p, text.cap);
    buf_free(&text);
    return good || err_set(e, "the plan cannot be written: %s", strerror(errno));
}

static bool called(void) {
    struct pollfd p = {.fd = CALL_FD, .events = POLLIN};
    return poll(&p, 1, 0) != 0;
}

/* In reserve: work ahead, then wait. false: the supervisor does not want us any more. */
static bool wait_for_call(struct planner *p, struct planner_ahead *ahead) {
    char byte;
    ssize_t n;
    ahead_make(ahead, p, called);
    p->ahead = ahead;
    do n = read(CALL_FD, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

static bool word_is(int argc, char **argv, const char *word) {
    return argc >= 2 && strcmp(argv[1], word) == 0;
}

int planner_main(int argc, char **argv) {
    struct planner *p = calloc(1, sizeof *p);
    struct planner_ahead ahead = {0};
    struct err e;
    if (!p) return 1;
    /* It has passwords and keys in memory, in reserve for days, and its plan is believed: nobody of the same user looks or reaches in. */
    if (!HARDEN_SANITIZED) (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    bool again = word_is(argc, argv, "--again"), reserve = word_is(argc, argv, "--reserve"), beside = word_is(argc, argv, "--beside");
    int word = again || reserve || beside;
    int usage = planner_options(p, argc - word, argv + word, NULL, NULL);
    if (usage) {
        free(p);
        fputs(
            "usage: portreeve-engine --plan --conf DIR [--policies DIR] [--state DIR] [--set FILE:ENTRY=VALUE]…   (started by portreeve)\n",
            stderr);
        return 2;
    }
    if (!library_open(LIBRARY_FD, &e)) {
        fprintf(stderr, "the Lua library is not there: %s\n", e.text);
        free(p);
        return 1;
    }
    if (reserve && !wait_for_call(p, &ahead)) _exit(0);
    p->may_write = true;
    if (beside) p->base = bundle_map(BASE_FD, NULL); /* without it everything is read, which is as good */
    bool good = again ? planner_run_again(p, p->nedits ? BASE_FD : BUNDLE_FD, BUNDLE_FD) : planner_run(p, BUNDLE_FD);
    if (good && !write_plan(&p->plan, PLAN_FD, &e)) {
        planner_error(p, "%s", e.text);
        good = false;
    }
    if (p->user[0] && !again) fprintf(stderr, "user %s\n", p->user); /* the supervisor reads this line, people do not see it */
    planner_say(p);
    (void)close(STDOUT_FILENO); /* all is said and sealed: the supervisor need not wait until our memory has been put away */
    (void)close(STDERR_FILENO);
    if (reserve) _exit(good ? 0 : 1); /* what lies ready is not worth putting away: somebody waits */
    planner_finish(p);
    free(p);
    return good ? 0 : 1;
}
