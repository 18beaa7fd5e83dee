/* Messages with descriptors: borders, bounds, ownership, refusals, and that nothing leaks. */
#include "base/fdlink.h"
#include "unit/tap.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fdlink_msg m;

static int open_fds(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

static void plain(int sv[2]) {
    struct err e = {0};
    ok(fdlink_send(sv[0], 7, "hello", 5, NULL, 0, 100, &e), "send: %s", e.text);
    ok(fdlink_send(sv[0], 8, NULL, 0, NULL, 0, 100, &e), "send an empty one");
    ok(fdlink_recv(sv[1], &m, &e) == 1 && m.type == 7 && m.n == 5 && !strcmp(m.data, "hello") && m.nfds == 0, "type, bytes and NUL arrive");
    ok(fdlink_recv(sv[1], &m, &e) == 1 && m.type == 8 && m.n == 0 && !m.data[0], "borders are kept");
    ok(fcntl(sv[0], F_GETFD) & fcntl(sv[1], F_GETFD) & FD_CLOEXEC, "both ends are close-on-exec");
}

static void largest(int sv[2]) {
    static char big[FDLINK_DATA + 1];
    struct err e = {0};
    int fds[FDLINK_FDS + 1];
    memset(big, 'b', sizeof big);
    for (int i = 0; i <= FDLINK_FDS; i++) fds[i] = open("/dev/null", O_RDONLY);
    int before = open_fds();
    ok(fdlink_send(sv[0], 1, big, FDLINK_DATA, fds, FDLINK_FDS, 100, &e), "the largest message: %s", e.text);
    ok(fdlink_recv(sv[1], &m, &e) == 1 && m.n == FDLINK_DATA && m.nfds == FDLINK_FDS, "arrives whole, with %d descriptors", FDLINK_FDS);
    int good = 0;
    struct stat a, b;
    stat("/dev/null", &a);
    for (unsigned i = 0; i < m.nfds; i++) {
        good += fstat(m.fds[i], &b) == 0 && b.st_rdev == a.st_rdev && (fcntl(m.fds[i], F_GETFD) & FD_CLOEXEC);
        close(m.fds[i]);
    }
    ok(good == FDLINK_FDS, "each descriptor is the file that was sent, close-on-exec");
    ok(!fdlink_send(sv[0], 1, big, FDLINK_DATA + 1, NULL, 0, 100, &e) && errno == EMSGSIZE, "one byte more is refused: %s", e.text);
    ok(!fdlink_send(sv[0], 1, big, 1, fds, FDLINK_FDS + 1, 100, &e) && errno == EMSGSIZE, "one descriptor more is refused");
    ok(open_fds() == before, "nothing leaked");
    for (int i = 0; i <= FDLINK_FDS; i++) close(fds[i]);
}

static void damaged(int sv[2]) {
    static char big[FDLINK_DATA + 64];
    struct err e = {0};
    int fd = open("/dev/null", O_RDONLY);
    int before = open_fds();
    struct iovec v = {.iov_base = big, .iov_len = sizeof big};
    char control[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8))) = {0};
    struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    ok(sendmsg(sv[0], &h, 0) == (ssize_t)sizeof big, "a foreign datagram that is too long");
    ok(fdlink_recv(sv[1], &m, &e) == -1 && errno == EBADMSG && m.nfds == 0, "is an error: %s", e.text);
    ok(open_fds() == before, "and its descriptor is closed");
    ok(send(sv[0], big, 3, 0) == 3 && fdlink_recv(sv[1], &m, &e) == -1, "a datagram without a type is an error");
    close(fd);
}

static void full(int sv[2]) {
    struct err e = {0};
    static char big[FDLINK_DATA];
    int n = 0;
    while (n < 10000 && fdlink_send(sv[0], 1, big, sizeof big, NULL, 0, 0, &e)) n++;
    ok(n > 0 && n < 10000, "a reader that does not read ends the sending after %d messages: %s", n, e.text);
    int64_t got = 0;
    fcntl(sv[1], F_SETFL, O_NONBLOCK);
    while (fdlink_recv(sv[1], &m, &e) == 1) got++;
    ok(errno == EAGAIN && got == n, "all of them are there, then EAGAIN");
}

static void gone(void) {
    struct err e = {0};
    int sv[2];
    ok(fdlink_pair(sv, &e), "pair");
    fdlink_send(sv[0], 5, "last", 4, NULL, 0, 100, &e);
    close(sv[0]);
    ok(fdlink_recv(sv[1], &m, &e) == 1 && m.type == 5, "what was sent before the close still arrives");
    ok(fdlink_recv(sv[1], &m, &e) == 0, "then the close");
    ok(!fdlink_send(sv[1], 5, "x", 1, NULL, 0, 100, &e) && errno == EPIPE, "sending to nobody is an error, not a signal: %s", e.text);
    close(sv[1]);
}

int main(void) {
    struct err e = {0};
    int sv[2];
    int before = open_fds();
    ok(fdlink_pair(sv, &e), "a pair: %s", e.text);
    plain(sv);
    largest(sv);
    damaged(sv);
    full(sv);
    close(sv[0]);
    close(sv[1]);
    gone();
    ok(open_fds() == before, "no descriptor is left");
    return tap_end();
}
