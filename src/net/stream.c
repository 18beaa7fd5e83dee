#include "net/stream.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Straight to the kernel: glibc's recv and send are cancellation points, which costs every call of a threaded program 2 % of a request, and
 * nothing here is ever cancelled. */

static ssize_t tcp_read(void *self, int fd, void *p, size_t n) {
    (void)self;
    for (;;) {
        ssize_t r = syscall(SYS_recvfrom, fd, p, n, 0, NULL, NULL);
        if (r >= 0) return r;
        if (errno == EINTR) continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_WANT_READ : STREAM_ERROR;
    }
}

static ssize_t tcp_write(void *self, int fd, const void *p, size_t n, bool last) {
    (void)self;
    int flags = MSG_NOSIGNAL | (last ? MSG_MORE : 0); /* close or shutdown sends what is held, with the FIN in the same segment */
    for (;;) {
        ssize_t w = syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
        if (w >= 0) return w;
        if (errno == EINTR) continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_WANT_WRITE : STREAM_ERROR;
    }
}

static void tcp_free(void *self) {
    (void)self;
}

const struct stream_ops stream_tcp = {.read = tcp_read, .write = tcp_write, .free = tcp_free};
