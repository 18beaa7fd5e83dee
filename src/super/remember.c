/* The flight recorder's memory: made once, lent to engines for writing and to commands for reading. Nothing is searched here: that is not
 * this loop's work. */
#include "base/log.h"
#include "super/super.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

bool remember_open(struct super *s, struct err *e) {
    char path[40];
    s->recorder_fd = recorder_create(&s->recorder, e);
    if (s->recorder_fd < 0) return false;
    snprintf(path, sizeof path, "/proc/self/fd/%d", s->recorder_fd);
    s->recorder_look = open(path, O_RDONLY | O_CLOEXEC); /* a duplicate could be written to */
    return s->recorder_look >= 0 || err_set(e, "cannot open the flight recorder's memory for reading: %s", strerror(errno));
}

void remember_generation(struct super *s, const struct generation *g) {
    if (!recorder_resize(s->recorder, (uint32_t)g->plan.set.decisions, g->workers))
        log_warn("supervisor", "out of memory: the flight recorder keeps its size");
}

void remember_lend(struct super *s, int fd) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } u = {.room = {0}};
    char ok[] = "ok\n";
    struct iovec io = {.iov_base = ok, .iov_len = sizeof ok - 1};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof u.room};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &s->recorder_look, sizeof(int));
    (void)sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL); /* the first thing sent: it fits, or the client has gone */
}
