#include "base/fdpass.h"
#include <string.h>
#include <unistd.h>

void fdpass_put(struct msghdr *m, union fdpass *room, const int *fds, unsigned n) {
    if (n == 0) return;
    memset(room, 0, CMSG_SPACE(n * sizeof(int)));
    m->msg_control = room;
    m->msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *h = CMSG_FIRSTHDR(m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
}

void fdpass_room(struct msghdr *m, union fdpass *room) {
    m->msg_control = room;
    m->msg_controllen = sizeof *room;
}

unsigned fdpass_get(struct msghdr *m, int *fds, unsigned most) {
    unsigned n = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        size_t have = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < have; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof fd);
            if (n < most) fds[n++] = fd;
            else close(fd);
        }
    }
    return n;
}
