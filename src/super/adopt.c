#include "super/adopt.h"
#include "base/log.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST 3

static int option(int fd, int level, int name) {
    int v = -1;
    socklen_t n = sizeof v;
    return getsockopt(fd, level, name, &v, &n) == 0 ? v : -1;
}

static void refuse(int fd, const char *why) {
    log_warn("adopt", "descriptor %d from the service manager is closed: %s", fd, why);
    close(fd);
}

static bool usable(int fd, struct addr *at) {
    struct sockaddr_storage sa;
    socklen_t n = sizeof sa;
    int type = option(fd, SOL_SOCKET, SO_TYPE);
    bool udp = type == SOCK_DGRAM;
    if ((!udp && (type != SOCK_STREAM || option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1)) || getsockname(fd, (struct sockaddr *)&sa, &n) != 0 ||
        (sa.ss_family != AF_INET && sa.ss_family != AF_INET6)) {
        refuse(fd, "it is neither a listening TCP socket nor a UDP socket");
        return false;
    }
    if (sa.ss_family == AF_INET6 && option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) {
        refuse(fd, "it takes IPv4 as well; set BindIPv6Only=ipv6-only in the socket unit");
        return false;
    }
    int on = 1, flags = fcntl(fd, F_GETFL);
    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (!udp) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    addr_from_sockaddr((struct sockaddr *)&sa, at);
    at->udp = udp;
    return true;
}

void adopted_init(struct adopted *a, unsigned n) {
    *a = (struct adopted){0};
    if (n == 0) return;
    a->fd = calloc(n, sizeof *a->fd);
    for (unsigned i = 0; i < n; i++) {
        struct addr at;
        if (!usable(FIRST + (int)i, &at)) continue;
        if (!a->fd) refuse(FIRST + (int)i, "out of memory");
        else a->fd[a->n++] = (struct adopted_fd){.fd = FIRST + (int)i, .at = at};
    }
}

int adopted_take(struct adopted *a, const struct addr *at) {
    for (unsigned i = 0; a && i < a->n; i++) {
        int fd = a->fd[i].fd;
        if (fd < 0 || a->fd[i].at.udp != at->udp || a->fd[i].at.port != at->port || !addr_same_ip(&a->fd[i].at, at)) continue;
        a->fd[i].fd = -1;
        return fd;
    }
    return -1;
}

void adopted_finish(struct adopted *a) {
    for (unsigned i = 0; i < a->n; i++) {
        char text[ADDR_TEXT];
        if (a->fd[i].fd < 0) continue;
        addr_format(&a->fd[i].at, text);
        log_warn("adopt", "%s from the service manager is closed: no entry of the configuration binds it", text);
        close(a->fd[i].fd);
    }
    free(a->fd);
    *a = (struct adopted){0};
}
