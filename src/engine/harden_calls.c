/* seccomp: system calls the engine never makes fail with EPERM, for every thread. A list of what is denied, not of what is allowed: libraries of
 * a later point release may use calls that nobody foresaw, and a tracker that dies of a new libc is worse than the risk.
 * Code cannot be made at run time: no anonymous or writable executable mapping, no mprotect to executable. Mapping a file executable stays
 * possible, since cjson and lua-dbi are loaded when an app thread makes its Lua state; Landlock says which files there are to map. */
#include "engine/harden_i.h"
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define DENY SCMP_ACT_ERRNO(EPERM)

static const char *const denied[] = {
    /* other programs and processes */
    "execve", "execveat", "fork", "vfork", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd", "pidfd_open",
    /* mounts and namespaces */
    "mount", "umount", "umount2", "pivot_root", "chroot", "unshare", "setns", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount",
    "fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at",
    /* the kernel's wide and rarely needed doors */
    "keyctl", "add_key", "request_key", "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "userfaultfd", "perf_event_open",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "lookup_dcookie", "fanotify_init", "quotactl",
    "quotactl_fd", "modify_ldt", "iopl", "ioperm", "personality", "vmsplice", "remap_file_pages", "move_pages", "migrate_pages",
    "nfsservctl", "sysfs", "ustat",
    /* the machine */
    "reboot", "swapon", "swapoff", "sethostname", "setdomainname", "acct", "syslog", "settimeofday", "clock_settime", "clock_adjtime",
    "adjtimex", "stime", "vhangup", "mknod", "mknodat",
    /* ways around "no code at run time" */
    "memfd_create", "memfd_secret", "shmat", "pkey_mprotect"};

static bool deny_list(scmp_filter_ctx f) {
    bool fine = true;
    for (size_t i = 0; i < sizeof denied / sizeof *denied; i++) {
        int nr = seccomp_syscall_resolve_name(denied[i]);
        if (nr == __NR_SCMP_ERROR) continue; /* a call this machine does not have */
        if (seccomp_rule_add(f, DENY, nr, 0) != 0 && nr >= 0) fine = false;
    }
    return fine;
}

static bool deny_code(scmp_filter_ctx f) {
    const unsigned long x = PROT_EXEC, wx = PROT_WRITE | PROT_EXEC, anon = MAP_ANONYMOUS;
    return seccomp_rule_add(f, DENY, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, x, x)) == 0 &&
           seccomp_rule_add(f, DENY, SCMP_SYS(mmap), 2, SCMP_A2(SCMP_CMP_MASKED_EQ, x, x), SCMP_A3(SCMP_CMP_MASKED_EQ, anon, anon)) == 0 &&
           seccomp_rule_add(f, DENY, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, wx, wx)) == 0;
}

/* Threads yes, processes no. clone3 hides its flags in memory: libc then falls back to clone. */
static bool deny_children(scmp_filter_ctx f) {
    return seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0 &&
           seccomp_rule_add(f, DENY, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)) == 0;
}

/* Unix, IPv4, IPv6 and (for getaddrinfo) netlink sockets only. */
static bool deny_families(scmp_filter_ctx f) {
    bool fine = seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_NETLINK)) == 0;
    for (unsigned long family = 1; fine && family < AF_NETLINK; family++) {
        if (family == AF_UNIX || family == AF_INET || family == AF_INET6) continue;
        fine = seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family)) == 0;
    }
    return fine;
}

enum harden_state harden_calls(char *how, size_t room) {
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    if (!f) {
        snprintf(how, room, "libseccomp cannot start");
        return HARDEN_OFF;
    }
    bool fine = deny_list(f) && deny_code(f) && deny_families(f);
    if (!HARDEN_SANITIZED)
        fine = fine && deny_children(f) && seccomp_rule_add(f, DENY, SCMP_SYS(ptrace), 0) == 0; /* the leak checker clones and traces */
    seccomp_attr_set(f, SCMP_FLTATR_CTL_NNP, 0);                                                /* set already */
    seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    int rc = fine ? seccomp_load(f) : -EINVAL;
    seccomp_release(f);
    if (rc != 0) {
        snprintf(how, room, "the filter was refused: %s", strerror(-rc));
        return HARDEN_OFF;
    }
    snprintf(how, room, "%zu system calls denied, no new programs%s, no code made at run time, sockets: unix, inet, inet6, netlink",
             sizeof denied / sizeof *denied, HARDEN_SANITIZED ? "" : " or processes");
    return HARDEN_SANITIZED ? HARDEN_PART : HARDEN_ON;
}
