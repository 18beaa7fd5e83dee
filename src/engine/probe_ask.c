/* One call of the self-probe: connect, see which worker claims it, and with TLS play both ends of a handshake over the real connection: the
 * server's with exactly what the worker would have used. */
#include "engine/probe_i.h"
#include "net/diag.h"
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SHAKES          16 /* turns of a handshake before the poll set is asked */
#define SAME_PORT_TRIES 8

/* ---- whom to call ---- */

static bool own_address(uint8_t family, struct addr *out) {
    struct ifaddrs *all;
    bool found = false;
    if (getifaddrs(&all) != 0) return false;
    for (struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != (family == 4 ? AF_INET : AF_INET6)) continue;
        addr_from_sockaddr(i->ifa_addr, out);
        found = diag_is_local(out) == 1;
    }
    freeifaddrs(all);
    return found;
}

/* A wildcard is called at the loopback's address or, where that is down, at any other; a specific address at itself. Only ever within this machine. */
static bool where_to(struct probe *p, struct target *t, struct addr *to) {
    char ip[ADDR_TEXT];
    *to = t->at;
    if (addr_is_any(&t->at)) {
        if (t->at.family == 4) memcpy(to->ip, (const uint8_t[]){127, 0, 0, 1}, 4);
        else to->ip[15] = 1;
        if (diag_is_local(to) == 1 || own_address(t->at.family, to)) {
            to->port = t->at.port;
            return true;
        }
        probe_answer(p, t, PROOF_WAITING, 0, "this machine has no IPv%u address", t->at.family);
        return false;
    }
    if (diag_is_local(to) == 1) return true;
    addr_format_ip(to, ip);
    bool known = t->plan->when_missing == MISSING_FREEBIND;
    probe_answer(p, t, known ? PROOF_WAITING : PROOF_FAILED, 0, "%s is %s on this machine", ip, known ? "not" : "no longer");
    return false;
}

/* ---- the way of a call ---- */

/* No TIME_WAIT on either end: the next call may need the port. */
static void reset(int fd) {
    const struct linger at_once = {.l_onoff = 1};
    if (fd < 0) return;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

static void release(struct probe_claim *c) {
    close(c->fd);
    generation_unref(c->gen);
}

static void close_call(struct probe *p, struct slot *s) {
    struct probe_claim late;
    tls_ask_close(s->ask);
    if (s->server) stream_tls.free(s->server);
    s->ask = NULL;
    s->server = NULL;
    reset(s->fd);
    s->fd = -1;
    if (probe_table_close(p->table, (unsigned)(s - p->slot), &late)) release(&late);
    if (s->claimed) release(&s->claim);
    s->connected = s->claimed = s->shaken = false;
}

void probe_hang_up(struct probe *p, struct slot *s) {
    if (!s->busy) return;
    close_call(p, s);
    s->busy = false;
    p->target[s->target].busy = false;
}

static void end_call(struct probe *p, struct slot *s, enum proof_state state, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void end_call(struct probe *p, struct slot *s, enum proof_state state, const char *fmt, ...) {
    char text[PROOF_TEXT];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    probe_hang_up(p, s);
    probe_answer(p, &p->target[s->target], state, state == PROOF_PROVED ? s->us : 0, "%s", text);
}

static bool watch(struct probe *p, const struct slot *s, int fd) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = (uint32_t)(s - p->slot)};
    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

/* A socket that cannot leave the neighbourhood: should the address go between the look and the call, the first router drops the packet. */
static int client_socket(uint8_t family) {
    const int one = 1;
    int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (family == 4) setsockopt(fd, IPPROTO_IP, IP_TTL, &one, sizeof one);
    else setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &one, sizeof one);
    return fd;
}

/* errno of the attempt, 0 = under way. */
static int dial(struct probe *p, struct slot *s) {
    int why = EADDRINUSE;
    for (int i = 0; why == EADDRINUSE && i < SAME_PORT_TRIES; i++) {
        reset(s->fd);
        s->fd = client_socket(s->to.family);
        if (s->fd < 0) return errno;
        why = probe_table_connect(p->table, (unsigned)(s - p->slot), s->fd, &s->to, &s->client);
    }
    if (why == 0 && !watch(p, s, s->fd)) why = errno;
    return why;
}

static const char *plain_reason(int error) {
    switch (error) {
    case ECONNREFUSED: return "refused: nobody listens there";
    case EMFILE:
    case ENFILE: return "not asked: out of file descriptors (raise LimitNOFILE)";
    case EPERM: return "a packet filter forbids it (see `nft list ruleset`)";
    default: return strerrordesc_np(error);
    }
}

/* Call (again, for another name) from the beginning. */
static void begin_call(struct probe *p, struct slot *s) {
    s->began_us = probe_now_us();
    s->deadline = s->began_us / 1000 + PROBE_MS;
    int why = dial(p, s);
    if (why) end_call(p, s, PROOF_FAILED, "%s", plain_reason(why));
    else probe_step(p, s);
}

void probe_call(struct probe *p, struct slot *s, uint32_t target) {
    struct target *t = &p->target[target];
    struct addr to;
    if (!where_to(p, t, &to)) return;
    if (t->at.udp) {
        probe_datagrams(p, t);
        return;
    }
    *s = (struct slot){.busy = true, .target = target, .fd = -1, .to = to, .name = t->names};
    t->busy = true;
    begin_call(p, s);
}

/* The next name to ask for; false: there is none. "*.example.org" is asked for by a name below it. Addresses are no names. */
static bool next_name(struct slot *s) {
    while (*s->name && s->names < PROBE_NAMES) {
        size_t n = strcspn(s->name, ", \t");
        const char *name = s->name;
        struct addr a;
        struct err e;
        s->name += n;
        s->name += strspn(s->name, ", \t");
        if (n == 0 || n + 16 >= sizeof s->asked || addr_parse_ip(name, n, &a, &e)) continue;
        s->names++;
        bool wild = n > 2 && name[0] == '*' && name[1] == '.';
        snprintf(s->asked, sizeof s->asked, "%s%.*s", wild ? "self-probe" : "", (int)(wild ? n - 1 : n), wild ? name + 1 : name);
        return true;
    }
    return false;
}

/* ---- what happens on it ---- */

static bool is_connected(struct probe *p, struct slot *s) {
    int error = 0;
    socklen_t n = sizeof error;
    struct sockaddr_storage sa;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) {
        end_call(p, s, PROOF_FAILED, "%s", plain_reason(error));
        return false;
    }
    n = sizeof sa;
    s->connected = getpeername(s->fd, (struct sockaddr *)&sa, &n) == 0;
    return s->connected;
}

/* A worker of ours took the call: was it meant for this socket? */
static bool as_planned(struct probe *p, struct slot *s) {
    struct target *t = &p->target[s->target];
    if (s->claim.gen != p->gen) { /* a change is under way: it will be asked again */
        probe_hang_up(p, s);
        t->due = probe_now_us() / 1000 + 50;
        if (t->due < p->next_due) p->next_due = t->due;
        return false;
    }
    if (s->claim.listener != s->target) {
        char at[ADDR_TEXT];
        const struct gen_listener *l = &p->gen->listener[s->claim.listener];
        plan_at_text(l->plan, l->port, at);
        end_call(p, s, PROOF_FAILED, "the call arrived at %s (listener %s): a packet filter redirects it (see `nft list ruleset`)", at,
                 l->plan->name);
        return false;
    }
    return true;
}

/* Connected, but no worker has it: whoever talks or hangs up now is somebody else. Our workers claim before they do anything. */
static bool is_claimed(struct probe *p, struct slot *s) {
    char c;
    ssize_t n = recv(s->fd, &c, 1, MSG_PEEK);
    bool silent = n < 0 && errno == EAGAIN;
    s->claimed = probe_table_take(p->table, (unsigned)(s - p->slot), &s->claim);
    if (s->claimed) return as_planned(p, s);
    if (!silent) end_call(p, s, PROOF_FAILED, "answered by another process%s", n > 0 ? "" : ", which hung up");
    return false;
}

static void proved(struct probe *p, struct slot *s, const char *version) {
    const struct target *t = &p->target[s->target];
    if (!s->us) {
        int64_t us = probe_now_us() - s->began_us;
        s->us = us < 1 ? 1 : (uint32_t)us;
    }
    if (!t->tls) {
        end_call(p, s, PROOF_PROVED, "worker %u, %s", s->claim.worker, plan_scheme_text(t->plan));
        return;
    }
    char text[PROOF_TEXT];
    snprintf(text, sizeof text, "worker %u, %s, %s, certificate %s", s->claim.worker, plan_scheme_text(t->plan), version,
             t->plan->certificate);
    close_call(p, s);
    if (next_name(s)) begin_call(p, s);
    else end_call(p, s, PROOF_PROVED, "%s", text);
}

static bool take_roles(struct probe *p, struct slot *s) {
    s->server = tls_accept(p->gen->certs, p->target[s->target].plan->certificate, s->claim.fd);
    s->ask = tls_ask_open(p->asker, s->fd, s->asked);
    return s->server && s->ask && watch(p, s, s->claim.fd);
}

static void shake(struct probe *p, struct slot *s) {
    if (!s->server && !take_roles(p, s)) {
        end_call(p, s, PROOF_FAILED, "TLS cannot be tried: out of memory");
        return;
    }
    for (int i = 0; i < SHAKES; i++) {
        int client = tls_ask_step(s->ask), server = s->shaken ? 1 : stream_tls.handshake(s->server, s->claim.fd);
        s->shaken = server == 1;
        const char *asking = s->asked[0] ? ", asked for " : "";
        if (client == STREAM_ERROR || server == STREAM_ERROR) {
            const char *why = client == STREAM_ERROR ? tls_ask_why(s->ask) : tls_why(s->server);
            end_call(p, s, PROOF_FAILED, "TLS failed%s%.60s: %s", asking, s->asked, why);
            return;
        }
        if (client != 1 || server != 1) continue;
        if (tls_ask_saw(s->ask, &p->target[s->target].print)) proved(p, s, tls_ask_version(s->ask));
        else end_call(p, s, PROOF_FAILED, "not the certificate planned%s%.60s: %s", asking, s->asked, tls_ask_why(s->ask));
        return;
    }
}

void probe_step(struct probe *p, struct slot *s) {
    if (!s->busy || (!s->connected && !is_connected(p, s)) || (!s->claimed && !is_claimed(p, s))) return;
    if (p->target[s->target].tls) shake(p, s);
    else proved(p, s, "");
}

void probe_expire(struct probe *p, struct slot *s) {
    const unsigned seconds = PROBE_MS / 1000;
    if (s->claimed) {
        end_call(p, s, PROOF_FAILED, "the TLS handshake did not end within %u s", seconds);
        return;
    }
    if (!s->connected) {
        end_call(p, s, PROOF_FAILED, "no answer within %u s: does a packet filter drop it? (see `nft list ruleset`)", seconds);
        return;
    }
    switch (diag_far_end(&s->to, &s->client)) {
    case DIAG_NOT_HERE:
        end_call(p, s, PROOF_FAILED, "answered by another process: a packet filter redirects its callers (see `nft list ruleset`)");
        break;
    case DIAG_QUEUED: end_call(p, s, PROOF_FAILED, "no worker took the call within %u s", seconds); break;
    default: end_call(p, s, PROOF_FAILED, "answered by another process"); break;
    }
}
