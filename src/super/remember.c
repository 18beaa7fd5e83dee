/* The flight recorder's memory: made once, lent to engines for writing and to commands for reading. Nothing is searched here: that is not
 * this loop's work. Lent as well: what `check` needs to know whom the rules in force let in. */
#include "base/log.h"
#include "super/super.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define LENT_MOST 2u

/* To be read only: a duplicate could be written to. */
static int look_at(int fd, const char *what, struct err *e) {
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int look = open(path, O_RDONLY | O_CLOEXEC);
    if (look < 0) err_set(e, "cannot open the memory of %s for reading: %s", what, strerror(errno));
    return look;
}

bool remember_open(struct super *s, struct err *e) {
    s->recorder_fd = recorder_create(&s->recorder, e);
    return s->recorder_fd >= 0 && (s->recorder_look = look_at(s->recorder_fd, "the flight recorder", e)) >= 0 &&
           (s->counters_look = look_at(s->counters_fd, "the counters", e)) >= 0;
}

void remember_generation(struct super *s, const struct generation *g) {
    if (!recorder_resize(s->recorder, (uint32_t)g->plan.set.decisions, g->workers))
        log_warn("supervisor", "out of memory: the flight recorder keeps its size");
}

static void lend(int to, const int *fds, unsigned n) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(LENT_MOST * sizeof(int))];
    } u = {.room = {0}};
    char ok[] = "ok\n";
    struct iovec io = {.iov_base = ok, .iov_len = sizeof ok - 1};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    (void)sendmsg(to, &m, MSG_DONTWAIT | MSG_NOSIGNAL); /* the first thing sent: it fits, or the client has gone */
}

void remember_lend(struct super *s, int fd) {
    lend(fd, &s->recorder_look, 1);
}

void remember_lend_rules(struct super *s, int fd) {
    lend(fd, (int[LENT_MOST]){s->gen->bundle_fd, s->counters_look}, LENT_MOST);
}
