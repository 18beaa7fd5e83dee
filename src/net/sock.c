/* Listening sockets and what the kernel's refusals mean in plain words. */
#include "net/sock.h"
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

bool sock_errno_text(int err, const struct addr *at, struct err *e) {
    char text[ADDR_TEXT];
    addr_format(at, text);
    switch (err) {
    case EADDRINUSE: return err_set(e, "cannot bind %s: port taken by another program", text);
    case EADDRNOTAVAIL: return err_set(e, "cannot bind %s: address not on this machine; see `ip address`", text);
    case EACCES:
    case EPERM: return err_set(e, "cannot bind %s: needs root or CAP_NET_BIND_SERVICE; ports from 1024 up need neither", text);
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT: return err_set(e, "cannot bind %s: this machine has no %s", text, at->family == 6 ? "IPv6" : "IPv4");
    case ENODEV: return err_set(e, "cannot bind %s: its network interface does not exist", text);
    case EMFILE:
    case ENFILE: return err_set(e, "cannot bind %s: out of file descriptors; raise LimitNOFILE or `ulimit -n`", text);
    case EINVAL:
        if (at->family == 6 && addr_is_link_local(at) && at->scope == 0) {
            return err_set(e, "cannot bind %s: a link-local address needs its interface, like [fe80::1%%eth0]", text);
        }
        return err_set(e, "cannot bind %s: the kernel calls it invalid", text);
    default: return err_set(e, "cannot bind %s: %s", text, strerror(err));
    }
}

static bool set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static bool set_on(int fd, int level, int name) {
    return set(fd, level, name, 1);
}

/* What waits while a worker is busy, or while an engine is started again. The kernel gives what its net.core.rmem_max allows. */
#define UDP_ROOM (4 << 20)

static bool set_kind(int fd, const struct addr *at) {
    int room = UDP_ROOM;
    if (at->udp) return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) == 0;
    return set_on(fd, SOL_SOCKET, SO_REUSEADDR) && set_on(fd, IPPROTO_TCP, TCP_NODELAY);
}

/* What comes before bind(): false with errno. SO_REUSEPORT goes on before listen() in both cases, since listen() forms the group. */
static bool set_up(int fd, const struct addr *at, unsigned how) {
    bool exclusive = how & SOCK_EXCLUSIVE;
    if (!set_kind(fd, at)) return false;
    if (at->family == 6 && !set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) return false;
    if (!exclusive && !set_on(fd, SOL_SOCKET, SO_REUSEPORT)) return false;
    if ((how & SOCK_FREEBIND) && !(at->family == 6 ? set_on(fd, IPPROTO_IPV6, IPV6_FREEBIND) : set_on(fd, IPPROTO_IP, IP_FREEBIND)))
        return false;
    return true;
}

bool sock_bind_late(int fd, const struct addr *at) {
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(at, &sa);
    return bind(fd, (struct sockaddr *)&sa, n) == 0;
}

static bool bind_to(int fd, const struct addr *at, unsigned how) {
    return set_up(fd, at, how) && sock_bind_late(fd, at) && (!(how & SOCK_EXCLUSIVE) || set_on(fd, SOL_SOCKET, SO_REUSEPORT));
}

static int open_kind(const struct addr *at) {
    return socket(at->family == 6 ? AF_INET6 : AF_INET, (at->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int refused(int fd, int why, const struct addr *at, struct err *e) {
    if (fd >= 0) close(fd);
    sock_errno_text(why, at, e);
    errno = why;
    return -1;
}

int sock_unbound(const struct addr *at, unsigned how, struct err *e) {
    int fd = open_kind(at);
    return fd >= 0 && set_up(fd, at, how) ? fd : refused(fd, errno, at, e);
}

int sock_bind(const struct addr *at, unsigned how, uint16_t *port, struct err *e) {
    int fd = open_kind(at);
    struct sockaddr_storage sa;
    socklen_t n = sizeof sa;
    if (fd < 0 || !bind_to(fd, at, how) || getsockname(fd, (struct sockaddr *)&sa, &n) != 0) return refused(fd, errno, at, e);
    struct addr bound;
    addr_from_sockaddr((struct sockaddr *)&sa, &bound);
    *port = bound.port;
    return fd;
}

bool sock_here(const struct addr *at) {
    struct addr any_port = *at;
    struct sockaddr_storage sa;
    any_port.port = 0;
    socklen_t n = addr_to_sockaddr(&any_port, &sa);
    int fd = socket(at->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool here = (at->family != 6 || set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) && bind(fd, (struct sockaddr *)&sa, n) == 0;
    close(fd);
    return here;
}

/* With SO_REUSEADDR: what was closed a moment ago on this port (TIME_WAIT) is in the way of listen() too. */
bool sock_start(int fd, int backlog) {
    return set_on(fd, SOL_SOCKET, SO_REUSEADDR) && listen(fd, backlog > 0 ? backlog : SOMAXCONN) == 0;
}

/* Two sockets may be bound to one place while neither listens, if both have SO_REUSEADDR: who listens first has it. Without it on ours the
 * kernel lets nobody else listen. */
bool sock_claim(int fd) {
    return set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
}

/* The kernel offers a listener only packets of the interface it is bound to, and does not ask whether that interface exists. */
bool sock_deafen(int fd) {
    int nowhere = INT_MAX;
    return setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &nowhere, sizeof nowhere) == 0;
}

int sock_listen(const struct addr *at, unsigned how, int backlog, uint16_t *port, struct err *e) {
    int fd = sock_bind(at, how, port, e);
    if (fd < 0 || at->udp || sock_start(fd, backlog)) return fd;
    return refused(fd, errno, at, e);
}
