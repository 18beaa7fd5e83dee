#include "super/account.h"
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap)  (UINT64_C(1) << (cap))
#define KEEP      BIT(CAP_NET_BIND_SERVICE)
#define KEEP_USER (BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_KILL))
/* Root without a configured user is root on purpose: its planner reads files as root does. */
#define KEEP_ROOT (BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER) | BIT(CAP_CHOWN))

bool account_find(const char *name, struct account *out, struct err *e) {
    errno = 0;
    struct passwd *p = getpwnam(name);
    if (!p) {
        if (errno) return err_set(e, "cannot look up the user %s: %s", name, strerror(errno));
        return err_set(e, "there is no user %s on this machine; make it (adduser --system --group %s) or change User", name, name);
    }
    if (strlen(name) >= sizeof out->name) return err_set(e, "the user name %s is too long", name);
    if (geteuid() != 0 && p->pw_uid != geteuid()) {
        return err_set(e, "only root can run the engine as the user %s; start as root or leave the user out", name);
    }
    strcpy(out->name, name);
    out->uid = p->pw_uid;
    out->gid = p->pw_gid;
    return true;
}

bool account_become(const struct account *a) {
    if (geteuid() != 0) return true;
    return initgroups(a->name, a->gid) == 0 && setgid(a->gid) == 0 && setuid(a->uid) == 0;
}

static void set_caps(uint64_t keep) {
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[2] = {0};
    if (syscall(SYS_capget, &h, have) != 0) return;
    for (int i = 0; i < 2; i++) {
        uint32_t mask = (uint32_t)(keep >> (32 * i));
        have[i].permitted &= mask;
        have[i].effective = have[i].permitted;
        have[i].inheritable = 0;
    }
    (void)syscall(SYS_capset, &h, have);
}

void caps_bound(bool with_user, bool as_root) {
    uint64_t keep = KEEP | (with_user ? KEEP_USER : 0) | (as_root ? KEEP_ROOT : 0);
    for (int cap = 0; cap < 64; cap++) {
        if (!(keep & BIT(cap)) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1) (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    }
}

void caps_drop_self(bool with_user) {
    caps_drop_child(); /* what is ambient would come back at the next exec */
    set_caps(KEEP | (with_user ? KEEP_USER : 0));
}

void caps_drop_child(void) {
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}
