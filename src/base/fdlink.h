/* Messages with descriptors over an AF_UNIX SOCK_SEQPACKET pair: how supervisor and engine talk.
 * A message is one datagram: u32 type, then up to FDLINK_DATA bytes, and up to FDLINK_FDS descriptors (SCM_RIGHTS, CLOEXEC). */
#ifndef PORTREEVE_BASE_FDLINK_H
#define PORTREEVE_BASE_FDLINK_H
#include "base/err.h"
#include "base/fdpass.h"
#include <stdint.h>
#include <sys/types.h>

#define FDLINK_DATA 32768
#define FDLINK_FDS  FDPASS_MOST

struct fdlink_msg {
    uint32_t type;
    uint32_t n;    /* bytes in data */
    unsigned nfds; /* descriptors received; the receiver owns and closes them */
    int fds[FDLINK_FDS];
    char data[FDLINK_DATA + 1]; /* NUL-terminated by fdlink_recv for convenience */
};

bool fdlink_pair(int sv[2], struct err *e); /* both CLOEXEC; the caller owns them */
/* Send one message; waits at most timeout_ms for room. The descriptors stay the caller's. */
bool fdlink_send(int fd, uint32_t type, const void *data, size_t n, const int *fds, unsigned nfds, int timeout_ms, struct err *e);
/* 1 = a message, 0 = the peer closed, -1 = error (errno EAGAIN when non-blocking and nothing is there). A truncated message
 * or control part closes whatever arrived and is an error. */
int fdlink_recv(int fd, struct fdlink_msg *m, struct err *e);
#endif
