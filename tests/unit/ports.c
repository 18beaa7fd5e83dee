/* Who uses a port, asked of the real kernel, and whose program it is: this one's. */
#include "net/owner.h"
#include "net/sock.h"
#include "unit/tap.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct err e;

static int listener(int family, const char *ip, bool v6only, uint16_t *port) {
    struct addr a;
    struct sockaddr_storage sa;
    int on = 1, off = !v6only ? 0 : 1;
    if (!addr_parse_ip(ip, strlen(ip), &a, &e)) return -1;
    a.port = *port;
    socklen_t n = addr_to_sockaddr(&a, &sa);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, n) != 0 || listen(fd, 5) != 0) return -1;
    n = sizeof sa;
    getsockname(fd, (struct sockaddr *)&sa, &n);
    addr_from_sockaddr((struct sockaddr *)&sa, &a);
    *port = a.port;
    return fd;
}

static struct addr at(const char *ip, uint16_t port) {
    struct addr a;
    if (!addr_parse_ip(ip, strlen(ip), &a, &e)) fprintf(stderr, "%s\n", e.text);
    a.port = port;
    return a;
}

static ino_t inode(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static bool is_it(const void *ctx, ino_t ino) {
    return ino == *(const ino_t *)ctx;
}

/* A listener whose port no other program has on an address that is no conflict: what is read of the port is this socket's. */
static int alone(int family, const char *ip, uint16_t *port, struct ports *p) {
    for (int tries = 0; tries < 20; tries++) {
        *port = 0;
        int fd = listener(family, ip, family == AF_INET6, port);
        if (fd < 0 || !ports_read(p, *port, false, false, &e)) break;
        bool others = false;
        for (uint32_t i = 0; i < p->n; i++) others |= p->use[i].inode != inode(fd);
        if (!others) return fd;
        ports_finish(p);
        close(fd);
    }
    return -1;
}

static void found(void) {
    uint16_t port = 0;
    struct ports p;
    int fd = alone(AF_INET, "127.0.0.1", &port, &p);
    char text[OWNER_TEXT], pid[32];
    if (!ok(fd >= 0, "listeners of one port are read")) return;
    struct addr same = at("127.0.0.1", port), any = at("0.0.0.0", port), other = at("127.0.0.2", port), v6 = at("::", port);
    const struct port_use *u = ports_taken(&p, &same);
    ok(u && u->listening && u->inode == inode(fd) && u->uid == geteuid() && !u->dual, "the same address is taken, by this socket");
    ok(ports_taken(&p, &any) == u, "all addresses are taken too /* Q6 */");
    ok(!ports_taken(&p, &other) && !ports_taken(&p, &v6), "another address is not, nor the other family /* G4 G5 */");
    owner_text(u, text, sizeof text);
    snprintf(pid, sizeof pid, "pid %ld (", (long)getpid());
    ok(strncmp(text, pid, strlen(pid)) == 0 && strstr(text, "/ports)") && strstr(text, ", user "), "its owner is this program /* E5 */: %s",
       text);
    owner_explain(&any, u, text, sizeof text);
    ok(strstr(text, "all addresses are asked for here: name the addresses"), "asked for as a whole: %s", text);
    ino_t mine = inode(fd);
    ports_without(&p, is_it, &mine);
    ok(!ports_taken(&p, &same), "a socket that is known is not foreign");
    ports_finish(&p);
    close(fd);
    ok(ports_read(&p, port, false, false, &e) && !ports_taken(&p, &same), "and when it has closed, nobody has it");
    ports_finish(&p);
}

static void wildcards(void) {
    uint16_t port = 0;
    int fd = listener(AF_INET6, "::", false, &port);
    struct ports p;
    char text[OWNER_TEXT + 256];
    if (fd < 0) {
        ok(1, "dual stack # SKIP no IPv6 here");
        return;
    }
    struct addr v4 = at("127.0.0.1", port), v6 = at("::1", port);
    ok(ports_read(&p, 0, false, false, &e), "all listeners are read");
    const struct port_use *u = ports_taken(&p, &v4);
    ok(u && u->dual && u->inode == inode(fd), "an IPv6 wildcard without V6ONLY takes IPv4 as well /* E4 */");
    owner_explain(&v4, u, text, sizeof text);
    ok(strstr(text, "IPv6 and IPv4") && strstr(text, "127.0.0.1 among them"), "and that is explained: %s", text);
    ok(ports_taken(&p, &v6) == u, "and IPv6");
    ports_finish(&p);
    close(fd);
    fd = alone(AF_INET6, "::", &port, &p);
    v4.port = v6.port = port;
    if (!ok(fd >= 0 && !ports_taken(&p, &v4) && ports_taken(&p, &v6), "with V6ONLY it leaves IPv4 alone")) return;
    ports_finish(&p);
    close(fd);
}

/* Not only listeners are in the way: a connection of a program that did not ask to share its port is, too. */
static void connection(void) {
    uint16_t port = 0, refused;
    int fd = listener(AF_INET, "127.0.0.1", false, &port);
    struct sockaddr_storage sa;
    struct addr to = at("127.0.0.1", port);
    socklen_t n = addr_to_sockaddr(&to, &sa);
    int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ok(connect(c, (struct sockaddr *)&sa, n) == 0, "a connection");
    n = sizeof sa;
    getsockname(c, (struct sockaddr *)&sa, &n);
    struct addr here;
    addr_from_sockaddr((struct sockaddr *)&sa, &here);
    ok(sock_listen(&here, SOCK_EXCLUSIVE, 5, &refused, &e) < 0, "its own port cannot be bound: %s", e.text);
    struct ports p;
    char text[OWNER_TEXT + 256];
    ok(ports_read(&p, here.port, true, false, &e), "all that uses the port is read");
    const struct port_use *u = ports_taken(&p, &here);
    ok(u && !u->listening && u->peer.port == port, "it is the connection");
    if (u) owner_explain(&here, u, text, sizeof text);
    ok(u && strstr(text, "for a connection with 127.0.0.1:") && strstr(text, "ip_local_port_range"), "which is explained: %s", text);
    ports_finish(&p);
    close(c);
    close(fd);
}

/* The same where a sandbox keeps netlink closed: in a child, under a filter that refuses AF_NETLINK. */
static void without_netlink(void) {
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
                                 BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {.len = sizeof code / sizeof *code, .filter = code};
    uint16_t port = 0, port6 = 0;
    int fd = listener(AF_INET, "127.0.0.1", false, &port), fd6 = listener(AF_INET6, "::1", true, &port6), status = -1;
    pid_t child = fork();
    if (child == 0) {
        struct ports p, q;
        struct addr v4 = at("127.0.0.1", port), v6 = at("::1", port6), other = at("127.0.0.2", port);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) _exit(2);
        if (socket(AF_NETLINK, SOCK_RAW, 0) >= 0 || !ports_read(&p, 0, false, false, &e) || !ports_read(&q, port, true, false, &e))
            _exit(3);
        const struct port_use *u = ports_taken(&p, &v4), *w = ports_taken(&p, &v6), *x = ports_taken(&q, &v4);
        _exit(u && u->inode == inode(fd) && u->uid == geteuid() && (fd6 < 0 || (w && w->inode == inode(fd6))) && x &&
                      x->inode == u->inode && !ports_taken(&p, &other)
                  ? 0
                  : 1);
    }
    if (child > 0) waitpid(child, &status, 0);
    ok(status == 0, "without netlink /proc/net tells the same (%d)", status);
    close(fd);
    if (fd6 >= 0) close(fd6);
}

int main(void) {
    found();
    wildcards();
    connection();
    without_netlink();
    return tap_end();
}
