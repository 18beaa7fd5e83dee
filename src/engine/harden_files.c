/* Landlock: which files the engine may touch from now on. Debian 12's header ends at ABI 2, so the newer rights are named here. */
#include "engine/harden_i.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FS_TRUNCATE  (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV (1ull << 15) /* ABI 5 */
#define NET_BIND_TCP (1ull << 0)  /* ABI 4 */
#define FS_ABI1      ((1ull << 13) - 1)

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                                                                              \
    (READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_DIR | \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE)
/* Rights that a rule for a single file may name. */
#define OF_A_FILE (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE)

struct ruleset { /* struct landlock_ruleset_attr as of ABI 4 */
    uint64_t fs, net;
};

extern void __gcov_exit(void) __attribute__((weak)); /* there in coverage builds, which write their counts into the build tree at exit */

static bool allow(int ruleset, uint64_t handled, const char *path, uint64_t rights) {
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT || errno == ENOTDIR || errno == EACCES; /* not there: nothing to allow */
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)) rights &= OF_A_FILE;
    struct landlock_path_beneath_attr rule = {.allowed_access = rights & handled, .parent_fd = fd};
    bool fine = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    close(fd);
    return fine;
}

static bool allow_all(int ruleset, uint64_t handled, const char *state_dir, const char *luadir) {
    /* Libraries and their data (cjson and lua-dbi are loaded by the app threads' states), names of hosts and users, time zones, trust stores. */
    static const char *const readable[] = {"/usr",
                                           "/etc",
                                           "/dev/urandom",
                                           "/proc/self",
                                           "/proc/sys/kernel/random",
                                           "/proc/meminfo",
                                           "/proc/cpuinfo",
                                           "/sys/devices/system/cpu",
                                           "/run/systemd/resolve",
                                           "/run/resolvconf"};
    bool fine = allow(ruleset, handled, state_dir, WRITE) && (!luadir[0] || allow(ruleset, handled, luadir, READ)) &&
                allow(ruleset, handled, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
    for (size_t i = 0; fine && i < sizeof readable / sizeof *readable; i++) fine = allow(ruleset, handled, readable[i], READ);
    if (HARDEN_SANITIZED && fine) fine = allow(ruleset, handled, "/", READ); /* reports name source lines */
    return fine;
}

enum harden_state harden_files(const char *state_dir, const char *luadir, char *how, size_t room) {
    if (__gcov_exit) {
        snprintf(how, room, "a coverage build writes into its build tree");
        return HARDEN_OFF;
    }
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        snprintf(how, room, "this kernel offers no Landlock (%s)", strerror(errno));
        return HARDEN_OFF;
    }
    struct ruleset r = {.fs = FS_ABI1};
    if (abi >= 2) r.fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3) r.fs |= FS_TRUNCATE;
    if (abi >= 5) r.fs |= FS_IOCTL_DEV;
    if (abi >= 4) r.net = NET_BIND_TCP; /* the supervisor alone binds */
    int fd = (int)syscall(SYS_landlock_create_ruleset, &r, abi >= 4 ? sizeof r : sizeof r.fs, 0);
    bool fine = fd >= 0 && allow_all(fd, r.fs, state_dir, luadir) && syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    int why = errno;
    if (fd >= 0) close(fd);
    if (!fine) {
        snprintf(how, room, "Landlock ABI %ld refused: %s", abi, strerror(why));
        return HARDEN_OFF;
    }
    snprintf(how, room, "Landlock ABI %ld: writes below %s, reads below %s%s/usr, /etc%s%s", abi, state_dir, luadir, luadir[0] ? ", " : "",
             abi >= 4 ? ", binds no TCP port" : "", HARDEN_SANITIZED ? " (sanitizer build: reads everything)" : "");
    return abi >= 3 && !HARDEN_SANITIZED ? HARDEN_ON : HARDEN_PART; /* before ABI 3 a file elsewhere could still be truncated */
}
