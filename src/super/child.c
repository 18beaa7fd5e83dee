#include "super/child.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CPU_SECONDS   20
#define ADDRESS_SPACE (4ull << 30)
#define ABOVE         16 /* descriptors are first moved here, out of the way of the numbers they are to get */

static bool limit(int what, uint64_t soft, uint64_t hard) {
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) != 0) return false;
    if (now.rlim_max != RLIM_INFINITY && hard > now.rlim_max) hard = now.rlim_max;
    if (soft > hard) soft = hard;
    struct rlimit r = {.rlim_cur = soft, .rlim_max = hard};
    return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

static bool planner_limits(void) {
    bool good = limit(RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 1) && limit(RLIMIT_CORE, 0, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* sanitizers reserve terabytes of address space */
    good = good && limit(RLIMIT_AS, ADDRESS_SPACE, ADDRESS_SPACE);
#endif
    return good;
}

static void default_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++) {
        if (s != SIGKILL && s != SIGSTOP) (void)signal(s, SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool place_fds(const struct child_spec *s) {
    int from[7] = {open("/dev/null", O_RDONLY | O_CLOEXEC), s->out, s->err, s->fd[0], s->fd[1], s->fd[2], s->fd[3]};
    unsigned n = 3 + s->nfds;
    for (unsigned i = 0; i < n; i++) {
        from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, ABOVE);
        if (from[i] < 0) return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (dup2(from[i], (int)i) < 0) return false;
    }
    return true;
}

/* A script is opened by its interpreter under the descriptor's name, so there it must stay open. */
static void execute(int program, char *const *argv) {
    execveat(program, "", argv, environ, AT_EMPTY_PATH);
    if (errno != ENOENT || fcntl(program, F_SETFD, 0) != 0) return;
    execveat(program, "", argv, environ, AT_EMPTY_PATH);
}

/* The child's whole life before exec. A process group of its own keeps the terminal's ^C for the supervisor, which knows what to do. */
static void become_child(const struct child_spec *s) {
    setpgid(0, 0);
    default_signals();
    int program = fcntl(s->program, F_DUPFD_CLOEXEC, ABOVE);
    if (program < 0 || !place_fds(s)) return;
    if (s->planner_limits && !planner_limits()) return;
    caps_drop_child();
    if (s->as && !account_become(s->as)) return;
    /* Root's children get their capabilities at exec (within caps_bound), which this would prevent; the engine sets it itself later. */
    if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return;
    execute(program, s->argv);
}

pid_t child_spawn(const struct child_spec *s, struct err *e) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        err_set(e, "cannot start %s: %s", s->path, strerror(errno));
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        int tell = fcntl(report[1], F_DUPFD_CLOEXEC, ABOVE);
        become_child(s);
        int why = errno;
        ssize_t ignored = write(tell, &why, sizeof why);
        _exit(ignored == sizeof why ? 127 : 126);
    }
    int why = errno;
    close(report[1]);
    if (pid > 0) {
        ssize_t n;
        do n = read(report[0], &why, sizeof why);
        while (n < 0 && errno == EINTR);
        if (n == sizeof why) {
            waitpid(pid, NULL, 0);
            pid = -1;
        }
    }
    close(report[0]);
    if (pid < 0) err_set(e, "cannot start %s: %s", s->path, strerror(why));
    return pid;
}

void child_status_text(int status, char *out, size_t cap) {
    if (WIFEXITED(status)) snprintf(out, cap, "exit status %d", WEXITSTATUS(status));
    else snprintf(out, cap, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
}
