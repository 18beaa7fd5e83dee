#include "engine/beside.h"
#include "base/clock.h"
#include "engine/shutout.h"
#include "engine/supervisor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* there: as found from anywhere, "" where the server itself does not find it any more; told: as it was told. */
static bool same_folder(const char *here, const char *there, const char *told) {
    struct stat a, b;
    if (!*there) return strcmp(here, told) == 0;
    return stat(here, &a) == 0 && stat(there, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool beside_others(const struct planner *p, const struct running *r) {
    char usual[PLANNER_PATH];
    if (!p->conf || !same_folder(p->conf, r->conf_path, r->conf)) return true;
    if (r->policies[0]) return !same_folder(p->policies_dir, r->policies_path, r->policies);
    const char *conf = r->conf[0] == '/' || !r->conf_path[0] ? r->conf : r->conf_path;
    return !planner_policies_of(conf, usual) || !same_folder(p->policies_dir, usual, usual);
}

static void folders(const char *conf, const char *policies, char *out, size_t cap) {
    snprintf(out, cap, "%s%s%s", conf, *policies ? " and the policies of " : "", policies);
}

void beside_folders(const struct running *r, char *out, size_t cap) {
    folders(r->conf_path[0] ? r->conf_path : r->conf, r->policies_path[0] ? r->policies_path : r->policies, out, cap);
}

void beside_own(const struct planner *p, char *out, size_t cap) {
    folders(p->conf, p->policies ? p->policies : "", out, cap);
}

enum spared beside_guards(const struct planner *p, const struct bundle_rules *next, const struct running *r, const char **partly,
                          struct err *e) {
    struct bundle_rules now = {0};
    struct admins admins;
    struct admin admin[ADMINS_MAX];
    int fd;
    *partly = NULL;
    enum asked asked = supervisor_rules(p->state, &fd, &admins, e);
    if (asked != ASKED_GOOD) return asked == ASKED_NOBODY ? SPARED : NOT_ASKED;
    enum spared said = NOT_ASKED;
    if (bundle_rules_create(&now, fd, &r->plan, p->luadir, e)) {
        struct shutout_side side = {.plan = &p->plan, .lists = &next->lists, .hooks = next->hooks},
                            old = {.plan = &r->plan, .lists = &now.lists, .hooks = now.hooks};
        unsigned n = admins_list(&admins, clock_mono_ms(), admin);
        said = shutout_spares(&side, &old, admin, n, partly, e) ? SPARED : SHUT_OUT;
    }
    bundle_rules_finish(&now);
    close(fd);
    return said;
}
