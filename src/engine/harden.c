#include "engine/harden.h"
#include "base/log.h"
#include "engine/harden_i.h"
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEASURES 8
/* Written by harden_engine before there are threads, only read afterwards: what this process has done to itself is a fact of the process. */
static struct measure {
    const char *name;
    enum harden_state state;
    char how[300];
} measures[MEASURES];
static unsigned nmeasures;

static struct measure *measure(const char *name, enum harden_state state) {
    struct measure *m = &measures[nmeasures < MEASURES ? nmeasures++ : MEASURES - 1];
    m->name = name;
    m->state = state;
    m->how[0] = '\0';
    return m;
}

/* ---- who we are ---- */

static bool become(const char *user, struct measure *m, struct err *e) {
    struct passwd *pw = NULL;
    if (user && *user && !(pw = getpwnam(user)))
        return err_set(
            e, "the user '%s' (conf/portreeve.ini, User) does not exist here: make it, e.g. `adduser --system --group %s`, or name another",
            user, user);
    if (pw && geteuid() == 0) {
        if (setgroups(1, &pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0)
            return err_set(e, "cannot become the user '%s': %s", user, strerror(errno));
        if (setuid(0) == 0 && pw->pw_uid != 0) return err_set(e, "root could be had back after becoming '%s'", user);
    } else if (pw && geteuid() != pw->pw_uid) {
        log_notice("engine", "conf/portreeve.ini: User = %s has no effect: only root can change the user, and this is uid %d", user,
                   (int)geteuid());
    }
    m->state = geteuid() != 0 ? HARDEN_ON : HARDEN_OFF;
    snprintf(m->how, sizeof m->how, geteuid() != 0 ? "uid %d, gid %d" : "uid %d, gid %d: set User in conf/portreeve.ini", (int)geteuid(),
             (int)getegid());
    return true;
}

/* As root without a User the files of another owner stay reachable; nothing else of root is kept. */
static void drop_capabilities(struct measure *m) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (geteuid() == 0) data[0].effective = data[0].permitted = 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_CHOWN;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &head, data) != 0) {
        snprintf(m->how, sizeof m->how, "capset: %s", strerror(errno));
        return;
    }
    m->state = geteuid() == 0 ? HARDEN_PART : HARDEN_ON;
    snprintf(m->how, sizeof m->how, geteuid() == 0 ? "DAC_OVERRIDE, FOWNER, CHOWN kept" : "none kept");
}

/* ---- what the kernel does with us ---- */

/* The engine never outlives the supervisor. The signal is forgotten at each change of user, so this comes after it. */
static void die_with_parent(struct measure *m) {
    pid_t parent = getppid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
        snprintf(m->how, sizeof m->how, "%s", strerror(errno));
        return;
    }
    if (getppid() != parent) raise(SIGKILL);
    m->state = HARDEN_ON;
    snprintf(m->how, sizeof m->how, "ends when the supervisor (pid %d) ends", (int)parent);
}

static void no_core(struct measure *m) {
    struct rlimit none = {0, 0};
    bool limited = setrlimit(RLIMIT_CORE, &none) == 0;
    bool hidden = HARDEN_SANITIZED || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
    m->state = limited && hidden && !HARDEN_SANITIZED ? HARDEN_ON : limited || hidden ? HARDEN_PART : HARDEN_OFF;
    snprintf(m->how, sizeof m->how, "no core dumps%s",
             HARDEN_SANITIZED ? " (sanitizer build: may be traced)" : ", not to be traced by its own user");
}

static void no_new_privileges(struct measure *m) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) m->state = HARDEN_ON;
    snprintf(m->how, sizeof m->how, "%s", m->state == HARDEN_ON ? "set-uid programs give nothing" : strerror(errno));
}

/* ---- all of it ---- */

bool harden_engine(const char *user, const char *state_dir, const char *luadir, struct err *e) {
    nmeasures = 0;
    if (!become(user, measure("user", HARDEN_OFF), e)) return false;
    if (access(state_dir, R_OK | W_OK | X_OK) != 0)
        return err_set(e, "%s: uid %d cannot write there (%s): `chown -R %d:%d %s`", state_dir, (int)geteuid(), strerror(errno),
                       (int)geteuid(), (int)getegid(), state_dir);
    setenv("SQLITE_TMPDIR", state_dir, 1); /* the only place that stays writable */
    drop_capabilities(measure("capabilities", HARDEN_OFF));
    die_with_parent(measure("parent", HARDEN_OFF));
    no_core(measure("memory", HARDEN_OFF));
    no_new_privileges(measure("privileges", HARDEN_OFF));
    struct measure *m = measure("files", HARDEN_OFF);
    m->state = harden_files(state_dir, luadir, m->how, sizeof m->how);
    m = measure("calls", HARDEN_OFF);
    m->state = harden_calls(m->how, sizeof m->how);
    for (unsigned i = 0; i < nmeasures; i++)
        if (measures[i].state == HARDEN_OFF) log_notice("engine", "hardening: %s is off: %s", measures[i].name, measures[i].how);
    return true;
}

static const char *const words[] = {"off", "part", "on"};

bool harden_json(struct buf *out) {
    bool fine = buf_str(out, "[");
    for (unsigned i = 0; i < nmeasures; i++) {
        fine =
            fine && buf_fmt(out, "%s{\"name\":\"%s\",\"state\":\"%s\",\"how\":", i ? "," : "", measures[i].name, words[measures[i].state]);
        fine = fine && buf_json(out, measures[i].how, strlen(measures[i].how)) && buf_str(out, "}");
    }
    return fine && buf_str(out, "]");
}
