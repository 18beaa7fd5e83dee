/* Descriptor-passing messages over SOCK_SEQPACKET. The kernel keeps message borders, so there is no reassembly here. */
#include "base/fdlink.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SNDBUF_BYTES (1 << 20) /* several whole messages: a burst of GEN_SOCKETS never waits for the reader's scheduling */

bool fdlink_pair(int sv[2], struct err *e) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) != 0) {
        return err_set(e, "cannot make a socket pair: %s", strerror(errno));
    }
    int size = SNDBUF_BYTES;
    for (int i = 0; i < 2; i++) (void)setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return true;
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Wait for room. ETOOMANYREFS (too many descriptors in flight) has no poll event, so it is waited for in small steps. */
static bool wait_room(int fd, int why, int64_t deadline) {
    int64_t left = deadline - now_ms();
    if (left <= 0) return false;
    if (why == ETOOMANYREFS) {
        struct timespec ms = {.tv_nsec = 1000000};
        nanosleep(&ms, NULL);
        return true;
    }
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int r = poll(&p, 1, left > 60000 ? 60000 : (int)left);
    return r != 0 || now_ms() < deadline;
}

bool fdlink_send(int fd, uint32_t type, const void *data, size_t n, const int *fds, unsigned nfds, int timeout_ms, struct err *e) {
    if (n > FDLINK_DATA || nfds > FDLINK_FDS) {
        errno = EMSGSIZE;
        return err_set(e, "message %u of %zu bytes with %u descriptors is too large for the link", (unsigned)type, n, nfds);
    }
    struct iovec iov[2] = {{.iov_base = &type, .iov_len = sizeof type}, {.iov_base = (void *)(uintptr_t)data, .iov_len = n}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n ? 2 : 1};
    union fdpass c;
    fdpass_put(&m, &c, fds, nfds);
    int64_t deadline = now_ms() + timeout_ms;
    while (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        int why = errno;
        if (why == EINTR) continue;
        if ((why == EAGAIN || why == ENOBUFS || why == ETOOMANYREFS) && wait_room(fd, why, deadline)) continue;
        err_set(e, "cannot send message %u: %s", (unsigned)type, why == EAGAIN ? "the other side does not read" : strerror(why));
        errno = why;
        return false;
    }
    return true;
}

static int refuse(struct fdlink_msg *m, const char *why, struct err *e) {
    for (unsigned i = 0; i < m->nfds; i++) close(m->fds[i]);
    m->nfds = 0;
    err_set(e, "damaged message: %s", why);
    errno = EBADMSG;
    return -1;
}

int fdlink_recv(int fd, struct fdlink_msg *m, struct err *e) {
    union fdpass c;
    struct iovec iov[2] = {{.iov_base = &m->type, .iov_len = sizeof m->type}, {.iov_base = m->data, .iov_len = FDLINK_DATA}};
    struct msghdr h = {.msg_iov = iov, .msg_iovlen = 2};
    fdpass_room(&h, &c);
    m->n = 0;
    m->nfds = 0;
    m->data[0] = 0;
    ssize_t r;
    do r = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
    while (r < 0 && errno == EINTR);
    if (r == 0 || (r < 0 && errno == ECONNRESET)) return 0;
    if (r < 0) {
        int why = errno;
        err_set(e, "cannot receive: %s", strerror(why));
        errno = why;
        return -1;
    }
    m->nfds = fdpass_get(&h, m->fds, FDLINK_FDS);
    if (h.msg_flags & MSG_CTRUNC) return refuse(m, "descriptors were lost (out of descriptors?)", e);
    if (h.msg_flags & MSG_TRUNC) return refuse(m, "it is longer than a message may be", e);
    if ((size_t)r < sizeof m->type) return refuse(m, "it has no type", e);
    m->n = (uint32_t)((size_t)r - sizeof m->type);
    m->data[m->n] = 0;
    return 1;
}
