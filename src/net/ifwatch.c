#include "net/iftable.h"
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_A_CALL 512
#define RECEIVE         65536 /* bytes; no message of the kernel is longer */
#define QUEUE_BYTES     (1 << 20)
#define FIRST_READ_MS   2000
#define DUMP_TRIES      20

enum reading { READING_NONE, READING_LINKS, READING_ADDRESSES };

struct ifwatch {
    int fd;
    struct iftable table;
    enum reading reading; /* of everything */
    bool again, gaps;     /* the reading was disturbed; it was to the end, and some of it is missing */
    bool first;           /* the first reading is no news */
    unsigned tries;
    uint32_t round, seq;
    void (*tell)(void *ctx, const struct ifchange *c);
    void *ctx;
    _Alignas(struct nlmsghdr) char in[RECEIVE];
};

/* ---- what is told ---- */

static void tell(struct ifwatch *w, enum ifchange_what what, const struct addr *at, uint32_t index, const char *was) {
    struct ifchange c = {.what = what};
    const struct known_link *l = iftable_link(&w->table, index);
    if (w->first || !w->tell) return;
    if (at) c.at = *at;
    if (l) memcpy(c.name, l->name, sizeof c.name);
    else snprintf(c.name, sizeof c.name, "%u", (unsigned)index);
    if (was) snprintf(c.was, sizeof c.was, "%s", was);
    w->tell(w->ctx, &c);
}

static void address_is(struct ifwatch *w, const struct addr *at, uint32_t index, uint32_t flags) {
    struct known_address *k = iftable_address(&w->table, at, index);
    struct known_address now = {.at = *at, .index = index, .round = w->round};
    now.duplicate = flags & IFA_F_DADFAILED;
    /* An optimistic address can be bound while it is being checked. */
    now.tentative = !now.duplicate && (flags & IFA_F_TENTATIVE) && !(flags & IFA_F_OPTIMISTIC);
    enum ifchange_what what = now.duplicate ? IF_ADDRESS_DUPLICATE : now.tentative ? IF_ADDRESS_TENTATIVE : IF_ADDRESS_NEW;
    if (!k) {
        tell(w, iftable_add(&w->table, &now) ? what : IF_UNKNOWN, at, index, NULL);
        return;
    }
    bool news = k->duplicate != now.duplicate || k->tentative != now.tentative;
    if (what == IF_ADDRESS_NEW) what = IF_ADDRESS_READY;
    now.order = k->order;
    *k = now;
    if (news) tell(w, what, at, index, NULL);
}

static void address_gone(struct ifwatch *w, struct known_address *k) {
    struct addr at = k->at;
    uint32_t index = k->index;
    iftable_remove(&w->table, k);
    tell(w, IF_ADDRESS_GONE, &at, index, NULL);
}

static void link_is(struct ifwatch *w, uint32_t index, const char *name, bool up) {
    struct known_link *l = iftable_link(&w->table, index);
    bool fresh = !l, changed = l && l->up != up;
    char was[IFWATCH_NAME] = "";
    if (fresh) l = iftable_add_link(&w->table, index);
    if (!l) {
        tell(w, IF_UNKNOWN, NULL, index, NULL);
        return;
    }
    if (name[0] && strcmp(l->name, name) != 0) {
        memcpy(was, l->name, sizeof was);
        snprintf(l->name, sizeof l->name, "%s", name);
    }
    l->up = up;
    l->round = w->round;
    if (fresh) tell(w, IF_LINK_NEW, NULL, index, NULL);
    else if (was[0]) tell(w, IF_LINK_RENAMED, NULL, index, was);
    if (changed) tell(w, up ? IF_LINK_UP : IF_LINK_DOWN, NULL, index, NULL);
}

static void link_gone(struct ifwatch *w, struct known_link *l) {
    tell(w, IF_LINK_GONE, NULL, l->index, NULL);
    iftable_remove_link(&w->table, l);
}

/* ---- messages ---- */

static const struct rtattr *next(const struct rtattr *a, size_t *left) {
    size_t n = RTA_ALIGN(a->rta_len);
    *left = n < *left ? *left - n : 0;
    return (const void *)((const char *)a + n);
}

static void take_address(struct ifwatch *w, const struct nlmsghdr *h) {
    const struct ifaddrmsg *m = NLMSG_DATA(h);
    const void *local = NULL, *address = NULL;
    uint32_t flags = m->ifa_flags;
    size_t size = m->ifa_family == AF_INET ? 4 : 16;
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof *m) || (m->ifa_family != AF_INET && m->ifa_family != AF_INET6)) return;
    size_t left = IFA_PAYLOAD(h);
    for (const struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = next(a, &left)) {
        if (a->rta_type == IFA_LOCAL && RTA_PAYLOAD(a) >= size) local = RTA_DATA(a);
        if (a->rta_type == IFA_ADDRESS && RTA_PAYLOAD(a) >= size) address = RTA_DATA(a);
        if (a->rta_type == IFA_FLAGS && RTA_PAYLOAD(a) >= sizeof flags) memcpy(&flags, RTA_DATA(a), sizeof flags);
    }
    if (!local && !address) return;
    struct addr at = {.family = m->ifa_family == AF_INET ? 4 : 6};
    memcpy(at.ip, local ? local : address, size); /* on a point-to-point link the other one is the peer's */
    if (addr_is_link_local(&at)) at.scope = m->ifa_index;
    struct known_address *k = iftable_address(&w->table, &at, m->ifa_index);
    if (h->nlmsg_type == RTM_NEWADDR) address_is(w, &at, m->ifa_index, flags);
    else if (k) address_gone(w, k);
    else if (w->table.naddresses == IFWATCH_ADDRESSES) tell(w, IF_UNKNOWN, &at, m->ifa_index, NULL);
}

static void take_link(struct ifwatch *w, const struct nlmsghdr *h) {
    const struct ifinfomsg *m = NLMSG_DATA(h);
    char name[IFWATCH_NAME] = "";
    /* Bridges tell about their ports in messages of the same type: those are no interfaces that come or go. */
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof *m) || m->ifi_family != AF_UNSPEC || m->ifi_index <= 0) return;
    size_t left = IFLA_PAYLOAD(h);
    for (const struct rtattr *a = IFLA_RTA(m); RTA_OK(a, left); a = next(a, &left))
        if (a->rta_type == IFLA_IFNAME) snprintf(name, sizeof name, "%.*s", (int)RTA_PAYLOAD(a), (const char *)RTA_DATA(a));
    struct known_link *l = iftable_link(&w->table, (uint32_t)m->ifi_index);
    if (h->nlmsg_type == RTM_NEWLINK) link_is(w, (uint32_t)m->ifi_index, name, m->ifi_flags & IFF_UP);
    else if (l) link_gone(w, l);
}

/* ---- reading everything ---- */

static bool ask(struct ifwatch *w, enum reading what) {
    struct {
        struct nlmsghdr h;
        struct rtgenmsg g;
    } m = {.h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
                 .nlmsg_type = what == READING_LINKS ? RTM_GETLINK : RTM_GETADDR,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                 .nlmsg_seq = ++w->seq},
           .g = {.rtgen_family = AF_UNSPEC}};
    w->reading = what;
    ssize_t n;
    do n = send(w->fd, &m, m.h.nlmsg_len, 0);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)m.h.nlmsg_len;
}

/* Messages were lost, or the table may be wrong: compare it with a new reading. One that runs must end first. */
static bool read_again(struct ifwatch *w) {
    w->again = w->reading != READING_NONE;
    if (w->again) return true;
    w->round++;
    return ask(w, READING_LINKS);
}

/* What the reading has not found is not there any more. */
static void sweep(struct ifwatch *w) {
    for (uint32_t i = 0; i < w->table.cap;) {
        struct known_address *k = &w->table.address[i];
        if (k->at.family && k->round != w->round) address_gone(w, k); /* another may have moved here */
        else i++;
    }
    for (uint32_t i = 0; i < w->table.nlinks;) {
        if (w->table.link[i].round != w->round) link_gone(w, &w->table.link[i]);
        else i++;
    }
}

/* One of the two parts of a reading has ended. An interface can only be told from a gone one when both are known. */
static bool part_ended(struct ifwatch *w, bool failed) {
    bool disturbed = w->again || failed;
    enum reading part = w->reading;
    w->reading = READING_NONE;
    w->again = false;
    if (disturbed && w->tries++ < DUMP_TRIES) return read_again(w);
    if (disturbed) w->gaps = true;
    if (part == READING_LINKS) return ask(w, READING_ADDRESSES);
    if (!w->gaps) sweep(w);
    w->gaps = false;
    w->tries = 0;
    w->first = false;
    return true;
}

static bool take(struct ifwatch *w, const struct nlmsghdr *h) {
    bool answer = w->reading != READING_NONE && h->nlmsg_seq == w->seq && (h->nlmsg_flags & NLM_F_MULTI);
    if (answer && (h->nlmsg_flags & NLM_F_DUMP_INTR)) w->again = true;
    switch (h->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR: take_address(w, h); return true;
    case RTM_NEWLINK:
    case RTM_DELLINK: take_link(w, h); return true;
    case NLMSG_DONE: return w->reading == READING_NONE || h->nlmsg_seq != w->seq || part_ended(w, false);
    case NLMSG_ERROR: return w->reading == READING_NONE || h->nlmsg_seq != w->seq || part_ended(w, true);
    default: return true;
    }
}

/* 1 = taken, 0 = nothing there, -1 = errno. */
static int receive(struct ifwatch *w) {
    struct sockaddr_nl from = {0};
    struct iovec part = {w->in, sizeof w->in};
    struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    ssize_t n = recvmsg(w->fd, &m, 0);
    if (n < 0 && errno == EINTR) return 1;
    if (n < 0 && errno == EAGAIN) return 0;
    if (n < 0 && errno == ENOBUFS) return read_again(w) ? 1 : -1;
    if (n < 0) return -1;
    if (from.nl_pid != 0) return 1; /* not from the kernel */
    if (m.msg_flags & MSG_TRUNC) return read_again(w) ? 1 : -1;
    size_t left = (size_t)n;
    for (const struct nlmsghdr *h = (const void *)w->in; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
        if (!take(w, h)) return -1;
    return 1;
}

bool ifwatch_read(struct ifwatch *w, void (*told)(void *ctx, const struct ifchange *c), void *ctx, struct err *e) {
    int r = 1;
    w->tell = told;
    w->ctx = ctx;
    for (int i = 0; r > 0 && i < MESSAGES_A_CALL; i++) r = receive(w);
    w->tell = NULL;
    return r >= 0 || err_set(e, "the addresses of this machine cannot be watched any longer: %s", strerror(errno));
}

/* ---- the ends ---- */

static bool subscribe(struct ifwatch *w) {
    struct sockaddr_nl me = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    int bytes = QUEUE_BYTES;
    w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (w->fd < 0) return false;
    (void)setsockopt(w->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    return bind(w->fd, (struct sockaddr *)&me, sizeof me) == 0;
}

/* Subscribed first, then read: what changes between is told twice at worst. */
static bool read_first(struct ifwatch *w) {
    w->first = true;
    w->round = 1;
    if (!ask(w, READING_LINKS)) return false;
    while (w->reading != READING_NONE) {
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        int r = receive(w);
        if (r < 0) return false;
        if (r > 0) continue;
        r = poll(&p, 1, FIRST_READ_MS);
        if (r == 0) errno = ETIMEDOUT;
        if (r == 0 || (r < 0 && errno != EINTR)) return false;
    }
    return true;
}

struct ifwatch *ifwatch_create(struct err *e) {
    struct ifwatch *w = calloc(1, sizeof *w);
    if (!w) {
        err_set(e, "out of memory for watching the addresses of this machine");
        return NULL;
    }
    w->fd = -1;
    if (subscribe(w) && read_first(w)) return w;
    err_set(e, "the addresses of this machine cannot be watched: %s", strerror(errno));
    ifwatch_destroy(w);
    return NULL;
}

void ifwatch_destroy(struct ifwatch *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    iftable_finish(&w->table);
    free(w);
}

int ifwatch_fd(const struct ifwatch *w) {
    return w->fd;
}

const struct iftable *ifwatch_table(const struct ifwatch *w) {
    return &w->table;
}

bool ifwatch_has(const struct ifwatch *w, const struct addr *at) {
    return iftable_has(&w->table, at);
}

void ifchange_text(const struct ifchange *c, char *out, size_t cap) {
    char ip[ADDR_TEXT];
    struct addr bare = c->at; /* the interface is named behind it */
    bare.scope = 0;
    addr_format_ip(&bare, ip);
    switch (c->what) {
    case IF_ADDRESS_NEW: snprintf(out, cap, "%s appeared on %s", ip, c->name); break;
    case IF_ADDRESS_TENTATIVE: snprintf(out, cap, "%s on %s is being checked for duplicates (DAD)", ip, c->name); break;
    case IF_ADDRESS_READY: snprintf(out, cap, "%s on %s has passed the check for duplicates (DAD)", ip, c->name); break;
    case IF_ADDRESS_DUPLICATE: snprintf(out, cap, "%s on %s is used by another machine too (DAD failed)", ip, c->name); break;
    case IF_ADDRESS_GONE: snprintf(out, cap, "%s has gone from %s", ip, c->name); break;
    case IF_LINK_NEW: snprintf(out, cap, "interface %s appeared", c->name); break;
    case IF_LINK_UP: snprintf(out, cap, "interface %s came up", c->name); break;
    case IF_LINK_DOWN: snprintf(out, cap, "interface %s went down", c->name); break;
    case IF_LINK_RENAMED: snprintf(out, cap, "interface %s is called %s now", c->was, c->name); break;
    case IF_LINK_GONE: snprintf(out, cap, "interface %s has gone", c->name); break;
    case IF_UNKNOWN: snprintf(out, cap, "something changed on %s", c->name); break;
    }
}
