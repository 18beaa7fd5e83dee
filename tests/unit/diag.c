/* The kernel's own word about addresses and sockets, on real sockets of the loopback. */
#include "net/diag.h"
#include "net/sock.h"
#include "unit/tap.h"
#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

static struct err e;

static struct addr at(const char *text, uint16_t port) {
    struct addr a;
    if (!addr_parse_ip(text, strlen(text), &a, &e)) fprintf(stderr, "%s\n", e.text);
    a.port = port;
    return a;
}

static void local_addresses(void) {
    struct addr home = at("127.0.0.1", 0), alias = at("127.200.3.4", 0), docs = at("192.0.2.77", 0), docs6 = at("2001:db8::77", 0);
    ok(diag_is_local(&home) == 1 && diag_is_local(&alias) == 1, "127.0.0.1 and the rest of 127.0.0.0/8 are of this machine");
    ok(diag_is_local(&docs) == 0 && diag_is_local(&docs6) == 0, "addresses of the documentation's networks are not");
    struct addr home6 = at("::1", 0);
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(&home6, &sa);
    bool there = fd >= 0 && bind(fd, (struct sockaddr *)&sa, n) == 0;
    ok(diag_is_local(&home6) == there, "::1 is of this machine as far as it can be bound (%d)", there);
    if (fd >= 0) close(fd);
}

struct wanted {
    struct addr at;
    uint32_t inode;
    unsigned rows, found;
};

static bool each(void *ctx, const struct diag_socket *l) {
    struct wanted *w = ctx;
    w->rows++;
    if (l->inode == w->inode && addr_same_ip(&l->at, &w->at) && l->at.port == w->at.port && l->uid == geteuid()) w->found++;
    return true;
}

static bool first_only(void *ctx, const struct diag_socket *l) {
    (void)l;
    ++*(unsigned *)ctx;
    return false;
}

static int listener(struct wanted *w, const char *ip) {
    w->at = at(ip, 0);
    int fd = sock_listen(&w->at, SOCK_EXCLUSIVE, 16, &w->at.port, &e);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) return -1;
    w->inode = (uint32_t)st.st_ino;
    return fd;
}

static void listening(void) {
    struct wanted w = {0};
    int fd = listener(&w, "127.0.0.1");
    ok(fd >= 0 && diag_listeners(each, &w) && w.found == 1, "a listening socket is found by address, port, inode and user (%u rows)",
       w.rows);
    unsigned calls = 0;
    ok(diag_listeners(first_only, &calls) && calls == 1, "whoever has seen enough is not told more");
    close(fd);
    w.found = 0;
    ok(diag_listeners(each, &w) && w.found == 0, "and no longer when it is closed");
    struct wanted w6 = {0};
    fd = listener(&w6, "::1");
    if (fd < 0) {
        ok(1, "no IPv6 here # SKIP");
        return;
    }
    ok(diag_listeners(each, &w6) && w6.found == 1, "the same for IPv6");
    close(fd);
}

struct ends {
    struct addr at;
    unsigned n;
};

static void count_end(void *ctx, const struct addr *local) {
    struct ends *x = ctx;
    if (local->family == x->at.family && local->port == x->at.port && memcmp(local->ip, x->at.ip, 16) == 0) x->n++;
}

static void connections(void) {
    struct wanted w = {0};
    int fd = listener(&w, "127.0.0.1"), c[3], connected = 0;
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(&w.at, &sa);
    struct ends x = {.at = w.at};
    ok(diag_connections(count_end, &x) && x.n == 0, "nobody is connected");
    for (int i = 0; i < 3; i++) {
        c[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connected += connect(c[i], (struct sockaddr *)&sa, n) == 0;
    }
    ok(connected == 3 && diag_connections(count_end, &x) && x.n == 3, "three connections, by the server's end (%u)", x.n);
    for (int i = 0; i < 3; i++) close(c[i]);
    close(fd);
}

static void far_end(void) {
    struct wanted w = {0};
    int fd = listener(&w, "127.0.0.1");
    int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(&w.at, &sa);
    ok(connect(c, (struct sockaddr *)&sa, n) == 0, "a caller");
    n = sizeof sa;
    getsockname(c, (struct sockaddr *)&sa, &n);
    struct addr client;
    addr_from_sockaddr((struct sockaddr *)&sa, &client);
    ok(diag_far_end(&w.at, &client) == DIAG_QUEUED, "who waits in the queue is told from");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    poll(&p, 1, 5000);
    int s = accept(fd, NULL, NULL);
    ok(s >= 0 && diag_far_end(&w.at, &client) == DIAG_ACCEPTED, "who was accepted");
    struct addr other = w.at;
    other.port = (uint16_t)(w.at.port ^ 1);
    ok(diag_far_end(&other, &client) == DIAG_NOT_HERE, "and from who is not there");
    other = client;
    other.port = (uint16_t)(client.port ^ 1);
    ok(diag_far_end(&w.at, &other) == DIAG_NOT_HERE, "also where somebody listens");
    close(s);
    close(c);
    close(fd);
}

int main(void) {
    local_addresses();
    listening();
    connections();
    far_end();
    return tap_end();
}
