#include "engine/supervisor.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PLAN_MOST (64u << 20)

/* A socket's name is short, a folder's need not be: it is reached through the folder's descriptor. -1 with errno. */
static int reach(const char *state) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval wait = {.tv_sec = 10};
    char run[PATH_MAX];
    if (snprintf(run, sizeof run, "%s/run", state) >= (int)sizeof run) return errno = ENAMETOOLONG, -1;
    int dir = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return -1;
    snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d/control.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        int why = errno;
        close(fd);
        fd = -1;
        errno = why;
    }
    int why = errno;
    close(dir);
    errno = why;
    return fd;
}

static bool talk(int fd, const char *request, struct buf *out) {
    size_t n = strlen(request);
    ssize_t got = send(fd, request, n, MSG_NOSIGNAL) == (ssize_t)n ? 1 : -1;
    while (got > 0) {
        if (!buf_reserve(out, 65536)) return errno = ENOMEM, false;
        got = recv(fd, out->p + out->n, 65536, 0);
        if (got < 0 && errno == EINTR) got = 1;
        else if (got > 0) out->n += (size_t)got;
    }
    return got == 0;
}

static void refused(const char *answer, size_t n, struct err *e) {
    const char *text = memchr(answer, '\n', n);
    n = text ? n - (size_t)(text + 1 - answer) : 0;
    while (n && text[n] == '\n') n--;
    err_set(e, "the supervisor refuses: %.*s", (int)(n < 800 ? n : 800), text ? text + 1 : "");
}

enum asked supervisor_ask(const char *state, const char *request, size_t most, struct buf *out, struct err *e) {
    int fd = state ? reach(state) : -1;
    out->max = most;
    if (!state || (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED))) {
        err_set(e, "none runs with the state folder %s (give --state DIR if it has another)", state ? state : "");
        return ASKED_NOBODY;
    }
    bool good = fd >= 0 && talk(fd, request, out);
    int why = errno;
    if (fd >= 0) close(fd);
    if (good) good = out->n > 3 && memcmp(out->p, "ok\n", 3) == 0;
    else if (fd < 0 && (why == EACCES || why == EPERM))
        err_set(e, "%s/run: %s; ask as root or as the user portreeve runs as", state, strerror(why));
    else
        err_set(e, "the supervisor with the state folder %s does not answer: %s", state,
                why == EAGAIN ? "it takes too long" : strerror(why));
    if (fd < 0 || out->n == 0) return ASKED_FAILED;
    if (!good) {
        refused(out->p, out->n, e);
        return ASKED_FAILED;
    }
    buf_drop(out, 3);
    if (!buf_add(out, "", 1)) return err_set(e, "out of memory"), ASKED_FAILED;
    out->n--;
    return ASKED_GOOD;
}

/* n descriptors, which come with the first bytes. */
static bool take_fds(int fd, const char *request, int *got, unsigned n, struct err *e) {
    char text[256];
    struct iovec io = {.iov_base = text, .iov_len = sizeof text};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
    union fdpass room;
    fdpass_room(&m, &room);
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) return err_set(e, "%s", strerror(errno));
    ssize_t have = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    unsigned came = have > 0 ? fdpass_get(&m, got, n) : 0;
    if (came == n) return true;
    while (came > 0) close(got[--came]);
    if (have > 0) refused(text, (size_t)have, e);
    else err_set(e, "%s", have < 0 ? strerror(errno) : "it hangs up (before its first generation it has nothing to lend)");
    return false;
}

static enum asked borrow(const char *state, const char *request, int *got, unsigned n, struct err *e) {
    struct err why;
    int fd = reach(state);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED)) return ASKED_NOBODY;
    if (fd < 0)
        err_set(&why, "%s%s", strerror(errno), errno == EACCES || errno == EPERM ? "; ask as root or as the user portreeve runs as" : "");
    bool good = fd >= 0 && take_fds(fd, request, got, n, &why);
    if (fd >= 0) close(fd);
    if (!good) err_set(e, "%s/run/control.sock: %.800s", state, why.text);
    return good ? ASKED_GOOD : ASKED_FAILED;
}

enum asked supervisor_decisions(const char *state, struct recorder **out, struct err *e) {
    int memory;
    enum asked a = borrow(state, "decisions\n", &memory, 1, e);
    if (a != ASKED_GOOD) return a;
    *out = recorder_map(memory, true, e);
    close(memory);
    return *out ? ASKED_GOOD : ASKED_FAILED;
}

enum asked supervisor_rules(const char *state, int *bundle_fd, struct admins *admins, struct err *e) {
    int got[2];
    enum asked a = borrow(state, "rules\n", got, 2, e);
    if (a != ASKED_GOOD) return a;
    bool good = counters_admins(got[1], admins, e);
    close(got[1]);
    if (!good) close(got[0]);
    else *bundle_fd = got[0];
    return good ? ASKED_GOOD : ASKED_FAILED;
}

/* A copy that is ours alone: its lock is free, and nobody else will take it. */
static struct ban_set *bans_of(int counters_fd, struct err *e) {
    const struct hold_roll nobody = {0};
    struct bans *table = calloc(1, sizeof *table);
    bool good = (table || err_set(e, "out of memory")) && counters_bans(counters_fd, table, e);
    struct ban_set *s = good ? ban_set_create(table, (struct holder_id){.roll = &nobody, .me = 1}, clock_mono_ms()) : NULL;
    if (good && !s) err_set(e, "out of memory");
    if (s) ban_set_alone(s);
    free(table);
    return s;
}

enum asked supervisor_bans(const char *state, struct ban_set **out, struct err *e) {
    int got[2];
    enum asked a = borrow(state, "rules\n", got, 2, e);
    if (a != ASKED_GOOD) return a;
    *out = bans_of(got[1], e);
    close(got[0]);
    close(got[1]);
    return *out ? ASKED_GOOD : ASKED_FAILED;
}

enum asked supervisor_plan(const char *state, struct running *out, struct err *e) {
    struct buf text = {0};
    enum asked a = supervisor_ask(state, "plan\n", PLAN_MOST, &text, e);
    if (a == ASKED_GOOD && !running_decode(text.p, text.n, out, e)) a = ASKED_FAILED;
    buf_free(&text);
    return a;
}
