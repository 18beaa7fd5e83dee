#include "net/stream.h"
#include <errno.h>
#include <sys/socket.h>

static ssize_t tcp_read(void *self, int fd, void *p, size_t n) {
    (void)self;
    for (;;) {
        ssize_t r = recv(fd, p, n, 0);
        if (r >= 0) return r;
        if (errno == EINTR) continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_WANT_READ : STREAM_ERROR;
    }
}

static ssize_t tcp_write(void *self, int fd, const void *p, size_t n) {
    (void)self;
    for (;;) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w >= 0) return w;
        if (errno == EINTR) continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_WANT_WRITE : STREAM_ERROR;
    }
}

static void tcp_free(void *self) {
    (void)self;
}

const struct stream_ops stream_tcp = {.read = tcp_read, .write = tcp_write, .free = tcp_free};
