/* One byte stream, clear or TLS, behind a vtable. Awkward truths:
 *  - every call may return STREAM_WANT_READ or STREAM_WANT_WRITE; with TLS a read may want a write and the reverse;
 *  - handshake says STREAM_HELLO once where tls_want_hello was called: the ClientHello is here, nothing is answered; call again to go on;
 *  - read returns 0 at a clean end (FIN or close_notify), STREAM_ERROR for everything final (reset, protocol error): then only close;
 *  - write may take less than offered; a TLS write that wanted something must be repeated with the same bytes;
 *  - the stream never closes the fd: conn_close does. free gives back what the stream allocated, nothing more. */
#ifndef PORTREEVE_NET_STREAM_H
#define PORTREEVE_NET_STREAM_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { STREAM_ERROR = -1, STREAM_WANT_READ = -2, STREAM_WANT_WRITE = -3, STREAM_HELLO = -4 };

struct stream_ops {
    ssize_t (*read)(void *self, int fd, void *p, size_t n);
    ssize_t (*write)(void *self, int fd, const void *p, size_t n,
                     bool last);          /* last: the end of the stream follows at once and may travel with p */
    int (*handshake)(void *self, int fd); /* 1 = done, else STREAM_*; NULL for TCP */
    int (*shutdown)(void *self, int fd);  /* say goodbye (close_notify) without waiting; NULL for TCP */
    size_t (*pending)(void *self);        /* bytes readable without the fd becoming readable; NULL = 0 */
    void (*free)(void *self);
};
extern const struct stream_ops stream_tcp; /* self is unused */
#endif
