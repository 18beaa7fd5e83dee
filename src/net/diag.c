#include "net/diag.h"
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define PART 32768 /* what the kernel fills at most in one answer of a dump */

static int open_netlink(int protocol) {
    const struct timeval second = {.tv_sec = 1};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) == 0) return fd;
    close(fd);
    return -1;
}

/* What becomes of each message of an answer. */
enum told { TOLD_MORE, TOLD_ENOUGH };
struct asked {
    enum told (*take)(struct asked *a, const struct nlmsghdr *h);
    void *ctx;
    int error; /* of the kernel's answer: 0, or a positive errno */
};

/* One answer's messages. false: there will be no more. */
static bool take_part(struct asked *a, const char *part, size_t n) {
    const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)part;
    for (; n >= sizeof *h && h->nlmsg_len >= sizeof *h && h->nlmsg_len <= n;) {
        if (h->nlmsg_type == NLMSG_DONE) return false;
        if (h->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *e = NLMSG_DATA(h);
            a->error = h->nlmsg_len >= NLMSG_LENGTH(sizeof *e) ? -e->error : EPROTO;
            return false;
        }
        if (a->take(a, h) == TOLD_ENOUGH || !(h->nlmsg_flags & NLM_F_MULTI)) return false;
        size_t step = NLMSG_ALIGN(h->nlmsg_len);
        if (step >= n) break;
        n -= step;
        h = (const struct nlmsghdr *)(const void *)((const char *)h + step);
    }
    return true;
}

/* Send one question, take the answer. false: the kernel did not answer. */
static bool ask(int protocol, const struct nlmsghdr *question, struct asked *a) {
    _Alignas(struct nlmsghdr) char part[PART];
    int fd = open_netlink(protocol);
    bool more = fd >= 0 && send(fd, question, question->nlmsg_len, 0) == (ssize_t)question->nlmsg_len;
    bool answered = more;
    while (more) {
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) answered = more = false;
        else more = take_part(a, part, (size_t)n);
    }
    if (fd >= 0) close(fd);
    return answered;
}

static void take_ip(struct addr *out, uint8_t family, const void *ip) {
    memset(out, 0, sizeof *out);
    out->family = family == AF_INET ? 4 : 6;
    memcpy(out->ip, ip, family == AF_INET ? 4 : 16);
}

/* ---- routes ---- */

static enum told take_route(struct asked *a, const struct nlmsghdr *h) {
    const struct rtmsg *r = NLMSG_DATA(h);
    if (h->nlmsg_type == RTM_NEWROUTE && h->nlmsg_len >= NLMSG_LENGTH(sizeof *r)) *(int *)a->ctx = r->rtm_type == RTN_LOCAL;
    return TOLD_ENOUGH;
}

static void add_attribute(struct nlmsghdr *h, uint16_t type, const void *data, size_t n) {
    struct rtattr *at = (struct rtattr *)(void *)((char *)h + NLMSG_ALIGN(h->nlmsg_len));
    at->rta_type = type;
    at->rta_len = (uint16_t)RTA_LENGTH(n);
    memcpy(RTA_DATA(at), data, n);
    h->nlmsg_len = NLMSG_ALIGN(h->nlmsg_len) + (uint32_t)RTA_ALIGN(RTA_LENGTH(n));
}

int diag_is_local(const struct addr *a) {
    struct {
        struct nlmsghdr h;
        struct rtmsg r;
        char room[64];
    } q = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof q.r), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST}};
    size_t n = a->family == 4 ? 4 : 16;
    q.r.rtm_family = a->family == 4 ? AF_INET : AF_INET6;
    q.r.rtm_dst_len = (unsigned char)(n * 8);
    add_attribute(&q.h, RTA_DST, a->ip, n);
    if (a->scope) add_attribute(&q.h, RTA_OIF, &a->scope, sizeof a->scope);
    int local = 0;
    struct asked answer = {.take = take_route, .ctx = &local};
    if (!ask(NETLINK_ROUTE, &q.h, &answer)) return -1;
    return answer.error ? 0 : local; /* an error is "no way there" */
}

/* ---- sockets ---- */

struct socket_question {
    struct nlmsghdr h;
    struct inet_diag_req_v2 r;
};

static struct socket_question socket_question(uint8_t family, uint8_t protocol, uint32_t states, uint16_t flags) {
    return (struct socket_question){.h = {.nlmsg_len = sizeof(struct socket_question),
                                          .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                          .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
                                    .r = {.sdiag_family = family,
                                          .sdiag_protocol = protocol,
                                          .idiag_states = states,
                                          .id.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}};
}

struct listing {
    bool (*each)(void *ctx, const struct diag_socket *s);
    void *ctx;
    bool enough;
};

static struct addr address_of(const struct diag_socket *s, const void *ip, uint16_t port, uint32_t interface) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct addr a;
    bool disguised = s->v6 && memcmp(ip, mapped, sizeof mapped) == 0;
    take_ip(&a, s->v6 && !disguised ? AF_INET6 : AF_INET, disguised ? (const uint8_t *)ip + sizeof mapped : ip);
    a.port = ntohs(port);
    if (addr_is_link_local(&a)) a.scope = interface;
    return a;
}

static void take_attributes(const struct nlmsghdr *h, struct diag_socket *s) {
    size_t at = NLMSG_LENGTH(sizeof(struct inet_diag_msg));
    struct nlattr a;
    while (at + sizeof a <= h->nlmsg_len) {
        memcpy(&a, (const char *)h + at, sizeof a);
        if (a.nla_len < sizeof a || at + a.nla_len > h->nlmsg_len) return;
        const char *value = (const char *)h + at + sizeof a;
        size_t n = a.nla_len - sizeof a;
        if (a.nla_type == INET_DIAG_SKV6ONLY && n >= 1) s->v6only = value[0] != 0;
        if (a.nla_type == INET_DIAG_CGROUP_ID && n >= sizeof s->cgroup) memcpy(&s->cgroup, value, sizeof s->cgroup);
        at += (a.nla_len + 3u) & ~3u;
    }
}

static enum told take_socket(struct asked *a, const struct nlmsghdr *h) {
    struct listing *list = a->ctx;
    const struct inet_diag_msg *m = NLMSG_DATA(h);
    if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof *m)) return TOLD_MORE;
    struct diag_socket s = {
        .state = m->idiag_state, .v6 = m->idiag_family == AF_INET6, .inode = m->idiag_inode, .uid = m->idiag_uid, .device = m->id.idiag_if};
    s.at = address_of(&s, m->id.idiag_src, m->id.idiag_sport, m->id.idiag_if);
    if (m->id.idiag_dport) s.peer = address_of(&s, m->id.idiag_dst, m->id.idiag_dport, m->id.idiag_if);
    take_attributes(h, &s);
    list->enough = !list->each(list->ctx, &s);
    return list->enough ? TOLD_ENOUGH : TOLD_MORE;
}

static bool dump(uint8_t protocol, uint32_t states, uint16_t port, bool (*each)(void *ctx, const struct diag_socket *s), void *ctx) {
    struct listing list = {.each = each, .ctx = ctx};
    bool fine = true;
    for (int i = 0; fine && !list.enough && i < 2; i++) {
        struct socket_question q = socket_question(i ? AF_INET6 : AF_INET, protocol, states, NLM_F_DUMP);
        struct asked a = {.take = take_socket, .ctx = &list};
        q.r.id.idiag_sport = htons(port);
        fine = ask(NETLINK_SOCK_DIAG, &q.h, &a) && (a.error == 0 || (i == 1 && a.error == ENOENT)); /* no IPv6 here */
    }
    return fine;
}

bool diag_sockets(uint32_t states, uint16_t port, bool (*each)(void *ctx, const struct diag_socket *s), void *ctx) {
    return dump(IPPROTO_TCP, states, port, each, ctx);
}

bool diag_udp(uint32_t states, uint16_t port, bool (*each)(void *ctx, const struct diag_socket *s), void *ctx) {
    return dump(IPPROTO_UDP, states, port, each, ctx);
}

bool diag_listeners(bool (*each)(void *ctx, const struct diag_socket *s), void *ctx) {
    return diag_sockets(1u << TCP_LISTEN, 0, each, ctx);
}

struct ends {
    void (*each)(void *ctx, const struct addr *local);
    void *ctx;
};

static bool take_local(void *ctx, const struct diag_socket *s) {
    const struct ends *ends = ctx;
    ends->each(ends->ctx, &s->at);
    return true;
}

bool diag_connections(void (*each)(void *ctx, const struct addr *local), void *ctx) {
    struct ends ends = {.each = each, .ctx = ctx};
    return diag_sockets(1u << TCP_ESTABLISHED, 0, take_local, &ends);
}

static enum told take_end(struct asked *a, const struct nlmsghdr *h) {
    const struct inet_diag_msg *m = NLMSG_DATA(h);
    enum diag_end *end = a->ctx;
    if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof *m)) return TOLD_ENOUGH;
    if (m->idiag_state == TCP_LISTEN) *end = DIAG_NOT_HERE; /* the kernel offers the listener where there is no connection */
    else *end = m->idiag_inode || m->idiag_state != TCP_ESTABLISHED ? DIAG_ACCEPTED : DIAG_QUEUED;
    return TOLD_ENOUGH;
}

enum diag_end diag_far_end(const struct addr *server, const struct addr *client) {
    struct socket_question q = socket_question(server->family == 4 ? AF_INET : AF_INET6, IPPROTO_TCP, UINT32_MAX, 0);
    size_t n = server->family == 4 ? 4 : 16;
    q.r.id.idiag_sport = htons(server->port);
    q.r.id.idiag_dport = htons(client->port);
    memcpy(q.r.id.idiag_src, server->ip, n);
    memcpy(q.r.id.idiag_dst, client->ip, n);
    q.r.id.idiag_if = server->scope;
    enum diag_end end = DIAG_UNKNOWN;
    struct asked a = {.take = take_end, .ctx = &end};
    if (!ask(NETLINK_SOCK_DIAG, &q.h, &a)) return DIAG_UNKNOWN;
    return a.error == ENOENT ? DIAG_NOT_HERE : a.error ? DIAG_UNKNOWN : end;
}
