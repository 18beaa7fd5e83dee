/* Hardening, each check in a child of its own: what is denied must be denied, what the engine needs must still work. */
#include "engine/harden.h"
#include "unit/tap.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

extern void __gcov_exit(void) __attribute__((weak)); /* a coverage build writes into its build tree: no limits on files there */

static char base[64], state[128], outside[128];
static bool has_landlock;

/* A child hardens itself and judges: 0 yes, 1 no, 2 hardening failed. */
static bool in_child(const char *user, bool (*judge)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        alarm(60);
        if (!harden_engine(user, state, "lua", &e)) {
            fprintf(stderr, "# %s\n", e.text);
            _exit(2);
        }
        _exit(judge() ? 0 : 1);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool no_exec(void) {
    char *const argv[] = {(char *)(uintptr_t) "/bin/true", NULL};
    return execv("/bin/true", argv) == -1 && errno == EPERM;
}
static bool no_fork(void) {
    return fork() == -1 && errno == EPERM;
}
static bool no_ptrace(void) {
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1 && errno == EPERM;
}
static bool no_mount(void) {
    return mount("none", state, "tmpfs", 0, NULL) == -1 && errno == EPERM && umount2(state, 0) == -1 && errno == EPERM;
}
static bool no_namespace(void) {
    return syscall(SYS_unshare, 0x40000000) == -1 && errno == EPERM && syscall(SYS_setns, 0, 0) == -1 && errno == EPERM;
}
static bool no_kernel_doors(void) {
    static const long calls[] = {SYS_keyctl,      SYS_add_key,      SYS_request_key,      SYS_io_uring_setup,
                                 SYS_bpf,         SYS_userfaultfd,  SYS_perf_event_open,  SYS_kexec_load,
                                 SYS_init_module, SYS_memfd_create, SYS_process_vm_readv, SYS_reboot};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (syscall(calls[i], 0, 0, 0, 0, 0) != -1 || errno != EPERM) return false;
    return true;
}
static bool no_code(void) {
    void *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return w != MAP_FAILED && mprotect(w, 4096, PROT_READ | PROT_EXEC) == -1 && errno == EPERM &&
           mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM;
}
static bool
libraries_load(void) { /* as the app threads' Lua states load theirs after hardening; this program is not linked with this one */
    return dlopen("libsqlite3.so.0", RTLD_NOW) != NULL;
}
static bool families(void) {
    return socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == EAFNOSUPPORT && socket(38, SOCK_SEQPACKET, 0) == -1 && errno == EAFNOSUPPORT &&
           socket(AF_INET, SOCK_STREAM, 0) >= 0 && socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_NETLINK, SOCK_RAW, 0) >= 0;
}
static bool no_core_and_traced(void) {
    struct rlimit r;
    return getrlimit(RLIMIT_CORE, &r) == 0 && r.rlim_cur == 0 && r.rlim_max == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
           (SANITIZED || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
}
static void *thread(void *arg) {
    *(bool *)arg = no_exec();
    return NULL;
}
static bool threads(void) {
    pthread_t t;
    bool denied = false;
    return pthread_create(&t, NULL, thread, &denied) == 0 && pthread_join(t, NULL) == 0 && denied;
}

static bool writes(const char *dir, const char *name) {
    char path[300], other[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(other, sizeof other, "%s/sub/%s.2", dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    bool fine = fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 0) == 0;
    if (fd >= 0) close(fd);
    snprintf(other, sizeof other, "%s/sub", dir);
    fine = fine && mkdir(other, 0700) == 0;
    snprintf(other, sizeof other, "%s/sub/%s.2", dir, name);
    return fine && rename(path, other) == 0 && truncate(other, 10) == 0 && unlink(other) == 0;
}
static bool state_is_writable(void) {
    char sub[200];
    bool fine = writes(state, "file");
    snprintf(sub, sizeof sub, "%s/sub", state);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.90s/s", state);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    fine = fine && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && unlink(a.sun_path) == 0;
    return rmdir(sub) == 0 && fine;
}
static bool outside_is_not(void) {
    char path[200];
    snprintf(path, sizeof path, "%s/secret", outside);
    bool read_denied = SANITIZED || (open(path, O_RDONLY) == -1 && errno == EACCES);
    return read_denied && open(path, O_WRONLY) == -1 && errno == EACCES && truncate(path, 0) == -1 && errno == EACCES &&
           unlink(path) == -1 && errno == EACCES;
}
static bool needed_is_readable(void) {
    static const char *const files[] = {"/etc/passwd", "/usr/bin/env", "/dev/urandom", "lua/portreeve/verdict.lua", "/proc/self/status"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (open(files[i], O_RDONLY) < 0) return false;
    return getpwnam("root") != NULL;
}
static bool no_tcp_bind(void) {
    struct sockaddr a = {.sa_family = AF_INET}; /* port 0 of every address */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return bind(fd, &a, 16) == -1 && errno == EACCES;
}
static bool is_nobody(void) {
    struct passwd *pw = getpwnam("nobody");
    gid_t groups[4];
    return pw && getuid() == pw->pw_uid && geteuid() == pw->pw_uid && getegid() == pw->pw_gid && setuid(0) == -1 &&
           getgroups(4, groups) == 1 && open("/etc/shadow", O_RDONLY) == -1 && state_is_writable();
}
static bool reports(void) {
    struct buf b = {0};
    bool fine = harden_json(&b) && buf_add(&b, "", 1) && strstr(b.p, "{\"name\":\"privileges\",\"state\":\"on\",\"how\":\"") &&
                strstr(b.p, SANITIZED ? "{\"name\":\"calls\",\"state\":\"part\"" : "{\"name\":\"calls\",\"state\":\"on\"") &&
                b.p[b.n - 2] == ']';
    buf_free(&b);
    return fine;
}

/* The grandchild dies with its parent, also after a change of user. */
static bool dies_with_parent(const char *user) {
    int p[2];
    if (pipe(p) != 0) return false;
    pid_t parent = fork();
    if (parent == 0) {
        if (fork() == 0) {
            struct err e;
            close(p[0]);
            if (!harden_engine(user, state, "lua", &e)) _exit(2);
            if (write(p[1], "h", 1) != 1) _exit(2);
            for (;;) pause();
        }
        close(p[1]);
        for (;;) pause();
    }
    close(p[1]);
    char c = 0;
    bool hardened = read(p[0], &c, 1) == 1;
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    bool gone = read(p[0], &c, 1) == 0; /* end of file: nobody holds the other end */
    close(p[0]);
    return hardened && gone;
}

static void refusals(void) {
    struct err e = {{0}};
    pid_t pid = fork();
    if (pid == 0) _exit(!harden_engine("no-such-user", state, "lua", &e) && strstr(e.text, "no-such-user") ? 0 : 1);
    int status = 1;
    waitpid(pid, &status, 0);
    ok(status == 0, "a user that does not exist is refused");
    if ((pid = fork()) == 0) _exit(!harden_engine("nobody", outside, "lua", &e) && strstr(e.text, "chown") ? 0 : 1);
    waitpid(pid, &status, 0);
    ok(status == 0, "and one that cannot write to the state folder");
}

int main(void) {
    alarm(200);
    const char *tmp = getenv("TMPDIR");
    snprintf(base, sizeof base, "%.30s/portreeve-harden-XXXXXX", tmp && strlen(tmp) <= 30 ? tmp : P_tmpdir);
    if (!mkdtemp(base)) return 1;
    chmod(base, 0755);
    snprintf(state, sizeof state, "%s/state", base);
    snprintf(outside, sizeof outside, "%s/outside", base);
    mkdir(state, 0700);
    mkdir(outside, 0700);
    char secret[200];
    snprintf(secret, sizeof secret, "%s/secret", outside);
    int fd = open(secret, O_CREAT | O_WRONLY, 0644);
    ok(write(fd, "x", 1) == 1 && close(fd) == 0, "a file outside of the state folder");
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    if (__gcov_exit) abi = 0;
    has_landlock = abi >= 1;

    ok(in_child(NULL, no_exec), "no other program is started");
    ok(SANITIZED || in_child(NULL, no_fork), "no process is forked");
    ok(SANITIZED || in_child(NULL, no_ptrace), "nothing is traced");
    ok(in_child(NULL, no_mount), "nothing is mounted");
    ok(in_child(NULL, no_namespace), "no namespaces");
    ok(in_child(NULL, no_kernel_doors), "keyctl, io_uring, bpf, userfaultfd, perf and the like");
    ok(in_child(NULL, no_code), "no code is made at run time");
    ok(in_child(NULL, libraries_load), "libraries can still be loaded");
    ok(in_child(NULL, families), "sockets of the families that are needed only");
    ok(in_child(NULL, no_core_and_traced), "no core, not dumpable, no new privileges");
    ok(in_child(NULL, threads), "threads start, and the filter holds in them");
    ok(in_child(NULL, state_is_writable), "the state folder can be written");
    ok(!has_landlock || in_child(NULL, outside_is_not), "other folders cannot");
    ok(in_child(NULL, needed_is_readable), "what must be read can be read");
    ok(abi < 4 || in_child(NULL, no_tcp_bind), "no TCP port is bound");
    ok(in_child(NULL, reports), "the report says so");
    ok(dies_with_parent(NULL), "dies with its parent");
    if (geteuid() == 0) {
        struct passwd *pw = getpwnam("nobody");
        refusals();
        if (pw && chown(state, pw->pw_uid, pw->pw_gid) == 0) {
            ok(in_child("nobody", is_nobody), "becomes another user for good");
            ok(dies_with_parent("nobody"), "and dies with its parent as that user");
        }
    }
    unlink(secret);
    rmdir(outside);
    rmdir(state);
    rmdir(base);
    return tap_end();
}
