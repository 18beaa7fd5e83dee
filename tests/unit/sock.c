/* Listening sockets against the real kernel: options, groups, refusals in plain words, deafness. Only loopback, only port 0. */
#include "net/sock.h"
#include "unit/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

static struct err e;

static struct addr at(const char *text, uint16_t port) {
    struct addr a;
    if (!addr_parse_ip(text, strlen(text), &a, &e)) fprintf(stderr, "%s\n", e.text);
    a.port = port;
    return a;
}

static int option(int fd, int level, int name) {
    int v = -1;
    socklen_t n = sizeof v;
    getsockopt(fd, level, name, &v, &n);
    return v;
}

static int call(const char *ip, uint16_t port) {
    struct sockaddr_storage sa;
    struct addr a = at(ip, port);
    socklen_t n = addr_to_sockaddr(&a, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&sa, n) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    poll(&p, 1, 2000);
    if (option(fd, SOL_SOCKET, SO_ERROR) == 0) return fd;
    close(fd);
    return -1;
}

/* Listeners on one port of two addresses: the second is returned. A port that is free at the first may be somebody's at the other: then another one. */
static int two(const char *ip, const char *other, unsigned how, int *first, uint16_t *port) {
    int second = -1;
    *first = -1;
    for (int tries = 0; tries < 20 && second < 0; tries++) {
        struct addr a = at(ip, 0), b = at(other, 0);
        if (*first >= 0) close(*first);
        *first = sock_listen(&a, SOCK_EXCLUSIVE, 16, port, &e);
        if (*first < 0) return -1;
        b.port = *port;
        second = sock_listen(&b, how, 16, port, &e);
    }
    return second;
}

static void options(void) {
    uint16_t port = 0;
    struct addr a = at("127.0.0.1", 0);
    int fd = sock_listen(&a, SOCK_EXCLUSIVE, 16, &port, &e);
    ok(fd >= 0 && port > 0, "port 0 takes a free port (%u)", port);
    ok(option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1 && option(fd, SOL_SOCKET, SO_REUSEPORT) == 1 && option(fd, IPPROTO_TCP, TCP_NODELAY) == 1,
       "it listens, with SO_REUSEPORT and TCP_NODELAY");
    ok((fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC), "non-blocking and close-on-exec");
    int c = call("127.0.0.1", port), s = accept(fd, NULL, NULL);
    ok(c >= 0 && s >= 0 && option(s, IPPROTO_TCP, TCP_NODELAY) == 1, "accepted sockets inherit TCP_NODELAY");
    close(c);
    close(s);
    close(fd);
    int fd4 = two("::", "0.0.0.0", SOCK_EXCLUSIVE, &fd, &port);
    if (fd < 0) {
        ok(1, "no IPv6 here # SKIP");
        return;
    }
    ok(option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1 && fd4 >= 0, "both wildcards live on one port /* M1 M9 */: %s", e.text);
    close(fd);
    close(fd4);
}

static void groups(void) {
    uint16_t port = 0, same = 0;
    struct addr a = at("127.0.0.1", 0);
    int first, beside = two("127.0.0.1", "0.0.0.0", 0, &first, &port); /* no caller of another loopback address has it, nor had it lately */
    close(beside);
    a.port = port;
    int second = sock_listen(&a, 0, 16, &same, &e);
    ok(second >= 0 && same == port, "a second worker's socket joins the group");
    int stranger = sock_listen(&a, SOCK_EXCLUSIVE, 16, &same, &e);
    ok(stranger < 0 && errno == EADDRINUSE && strstr(e.text, "port taken"), "an exclusive one does not: %s", e.text);
    struct addr any = at("0.0.0.0", port);
    ok(sock_listen(&any, SOCK_EXCLUSIVE, 16, &same, &e) < 0 && errno == EADDRINUSE, "nor the wildcard over it");
    int wild = sock_listen(&any, 0, 16, &same, &e);
    ok(wild >= 0, "without exclusive both are held together: %s", e.text);
    close(first);
    close(second);
    close(wild);
}

static void halves(void) {
    uint16_t port = 0;
    struct addr a = at("127.0.0.1", 0);
    int fd = sock_bind(&a, SOCK_EXCLUSIVE, &port, &e);
    ok(fd >= 0 && port > 0 && call("127.0.0.1", port) < 0, "bound only: callers are refused");
    ok(sock_start(fd, 16), "started");
    int c = call("127.0.0.1", port);
    ok(c >= 0, "now they come in");
    close(c);
    close(fd);
}

/* Another program on the port, which would share it if the kernel let it: does it listen? */
static bool other_listens(const struct addr *a) {
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(a, &sa);
    int on = 1, fd = socket(sa.ss_family, SOCK_STREAM, 0);
    bool listens =
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 && bind(fd, (struct sockaddr *)&sa, n) == 0 && listen(fd, 1) == 0;
    close(fd);
    return listens;
}

/* Leave a connection in TIME_WAIT on the port. */
static void leave_trace(int fd, const char *ip, uint16_t port) {
    int c = call(ip, port), s = accept(fd, NULL, NULL);
    close(s);
    close(c);
    close(fd);
}

static void claims(void) {
    static const char *const ips[] = {"127.0.0.1", "::1"};
    for (size_t i = 0; i < 2; i++) {
        uint16_t port = 0;
        struct addr a = at(ips[i], 0);
        int fd = sock_bind(&a, SOCK_EXCLUSIVE, &port, &e);
        if (fd < 0) {
            ok(1, "no IPv6 here # SKIP");
            continue;
        }
        a.port = port;
        ok(sock_start(fd, 16), "%s: a listener that leaves a connection behind", ips[i]);
        leave_trace(fd, ips[i], port);
        fd = sock_bind(&a, SOCK_EXCLUSIVE, &port, &e);
        struct addr any = at(a.family == 6 ? "::" : "0.0.0.0", port);
        ok(fd >= 0 && other_listens(&a), "where nothing is claimed another program may come first");
        ok(sock_claim(fd) && !other_listens(&a) && !other_listens(&any), "claimed: nobody else can listen, on its address or on all");
        int second = sock_bind(&a, 0, &port, &e);
        ok(second >= 0, "a further worker's socket joins: %s", second < 0 ? e.text : "");
        ok(!other_listens(&a) && call(ips[i], port) < 0, "which changes nothing, and callers are refused");
        ok(sock_start(fd, 16) && sock_start(second, 16) && !other_listens(&a), "then both listen");
        int c = call(ips[i], port), s = accept(fd, NULL, NULL);
        if (s < 0) s = accept(second, NULL, NULL);
        ok(c >= 0 && s >= 0 && write(s, "x", 1) == 1, "and a caller is served");
        close(s);
        close(c);
        close(second);
        close(fd);
    }
}

static void deafness(void) {
    uint16_t port = 0;
    int old, now = two("127.0.0.1", "0.0.0.0", 0, &old, &port);
    int early = call("127.0.0.1", port);
    ok(sock_deafen(old), "deafen the specific listener: %s", strerror(errno));
    int late = call("127.0.0.1", port);
    int a = accept(old, NULL, NULL), b = accept(old, NULL, NULL), c = accept(now, NULL, NULL);
    ok(early >= 0 && a >= 0, "who was in its queue is still accepted");
    ok(late >= 0 && b < 0 && c >= 0, "who comes later finds the wildcard");
    ok(write(a, "x", 1) == 1 && write(c, "y", 1) == 1, "both connections work");
    close(now);
    ok(call("127.0.0.1", port) < 0, "with no other listener callers are refused");
    int mine[] = {old, early, late, a, c};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) close(mine[i]);
}

static int send_to(const char *ip, uint16_t port, const char *text) {
    struct sockaddr_storage sa;
    struct addr a = at(ip, port);
    socklen_t n = addr_to_sockaddr(&a, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM, 0);
    bool sent = sendto(fd, text, strlen(text), 0, (struct sockaddr *)&sa, n) > 0;
    close(fd);
    return sent;
}

static bool got(int fd, const char *text) {
    char in[64];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, 2000) == 1 ? recv(fd, in, sizeof in, 0) : -1;
    return n == (ssize_t)strlen(text) && memcmp(in, text, (size_t)n) == 0;
}

/* G1 G4 */
static void datagrams(void) {
    uint16_t port = 0, same = 0, tcp = 0;
    struct addr a = at("127.0.0.1", 0), any = at("0.0.0.0", 0);
    a.udp = any.udp = true;
    int fd = -1, both = -1;
    for (int tries = 0; tries < 20 && both < 0; tries++) { /* a port that TCP has free as well */
        if (fd >= 0) close(fd);
        a.port = 0;
        fd = sock_listen(&a, SOCK_EXCLUSIVE, 16, &port, &e);
        struct addr beside = at("127.0.0.1", port);
        both = sock_listen(&beside, SOCK_EXCLUSIVE, 16, &tcp, &e);
    }
    ok(fd >= 0 && option(fd, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM && send_to("127.0.0.1", port, "x") && got(fd, "x"),
       "a UDP socket receives when it is bound");
    ok(both >= 0 && tcp == port, "TCP on the same port is no conflict");
    a.port = any.port = port;
    ok(sock_bind(&a, SOCK_EXCLUSIVE, &same, &e) < 0 && errno == EADDRINUSE, "a second exclusive one is: %s", e.text);
    int stranger = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(&a, &sa);
    setsockopt(stranger, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ok(bind(stranger, (struct sockaddr *)&sa, n) != 0 && errno == EADDRINUSE, "and SO_REUSEADDR lets no stranger in");
    int second = sock_bind(&a, 0, &same, &e), late = sock_unbound(&any, 0, &e);
    ok(second >= 0 && late >= 0, "a worker's socket joins: %s", e.text);
    ok(sock_bind_late(late, &any) && sock_deafen(fd) && sock_deafen(second), "the wildcard takes their place");
    ok(send_to("127.0.0.1", port, "y") && got(late, "y") && recv(fd, &same, sizeof same, MSG_DONTWAIT) < 0,
       "and gets what comes from then on");
    int mine[] = {fd, both, stranger, second, late};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) close(mine[i]);
}

/* Q7 Q18: sockets of addresses that are not here (192.0.2.0/24 and 2001:db8::/32 are nobody's). */
static void missing(void) {
    uint16_t port = 0;
    struct addr a = at("192.0.2.1", 0), b = at("2001:db8::1", 0), lo = at("127.0.0.9", 80);
    ok(!sock_here(&a) && !sock_here(&b), "an address that is not on this machine is not here");
    ok(sock_here(&lo), "all of 127.0.0.0/8 is, though no interface lists it, and port 80 needs no rights to find out");
    int fd = sock_listen(&a, SOCK_EXCLUSIVE | SOCK_FREEBIND, 16, &port, &e);
    ok(fd >= 0 && port > 0, "freebind listens on it all the same: %s", fd < 0 ? e.text : "");
    a.port = port;
    int second = sock_listen(&a, SOCK_FREEBIND, 16, &port, &e);
    ok(second >= 0, "and the next worker's socket joins");
    int six = sock_bind(&b, SOCK_EXCLUSIVE | SOCK_FREEBIND, &port, &e);
    ok(six >= 0 || errno == EAFNOSUPPORT, "IPv6 as well: %s", six < 0 ? e.text : "");
    close(fd);
    close(second);
    if (six >= 0) close(six);
}

static void words(void) {
    uint16_t port;
    struct addr a = at("192.0.2.1", 80);
    ok(sock_listen(&a, SOCK_EXCLUSIVE, 16, &port, &e) < 0 && errno == EADDRNOTAVAIL &&
           strstr(e.text, "192.0.2.1:80: address not on this machine"),
       "a foreign address /* M19 */: %s", e.text);
    a = at("fe80::1", 80);
    sock_errno_text(EINVAL, &a, &e);
    ok(strstr(e.text, "[fe80::1]:80") && strstr(e.text, "%eth0"), "link-local without a zone /* M20 */: %s", e.text);
    sock_errno_text(EACCES, &a, &e);
    ok(strstr(e.text, "CAP_NET_BIND_SERVICE") != NULL, "a privileged port: %s", e.text);
    sock_errno_text(EAFNOSUPPORT, &a, &e);
    ok(strstr(e.text, "no IPv6") != NULL, "no IPv6: %s", e.text);
    ok(!sock_errno_text(EMFILE, &a, &e) && strstr(e.text, "LimitNOFILE"), "out of descriptors: %s", e.text);
}

int main(void) {
    options();
    groups();
    halves();
    claims();
    deafness();
    datagrams();
    missing();
    words();
    return tap_end();
}
