/* The machine: its addresses as facts for bind.lua, and the preflight that asks the kernel about each address of the plan. */
#include "engine/planner.h"
#include "engine/supervisor.h"
#include "net/owner.h"
#include "net/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST_ADDRESSES 65536u
#define HELD_MAX       (8u << 20)

/* ---- facts ---- */

/* Flags of IPv6 addresses, which getifaddrs does not tell: lines "address32hex index prefix scope flags name". */
static void read_flags(FILE *f, struct host_address *a) {
    char hex[33], line[160];
    for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", a->at.ip[i]);
    rewind(f);
    while (fgets(line, sizeof line, f)) {
        unsigned at, prefix, scope, flags;
        if (strncmp(line, hex, 32) != 0 || sscanf(line + 32, " %x %x %x %x", &at, &prefix, &scope, &flags) != 4 || at != a->scope) continue;
        a->duplicate = flags & 0x08;                                              /* IFA_F_DADFAILED */
        a->tentative = !a->duplicate && (flags & 0x40) != 0 && (flags & 0x04) == 0; /* IFA_F_TENTATIVE, and not IFA_F_OPTIMISTIC */
        return;
    }
}

/* Can an IPv6 socket be bound at all? False with ipv6.disable=1, and with net.ipv6.conf.all.disable_ipv6=1, where no address is left. */
static bool ipv6_works(void) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    int on = 1;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    bool good = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0;
    close(fd);
    return good;
}

bool host_read(struct host *h, struct err *e) {
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0) return err_set(e, "the addresses of this machine cannot be read: %s", strerror(errno));
    FILE *flags = fopen("/proc/net/if_inet6", "re");
    unsigned n = 0;
    for (struct ifaddrs *i = list; i; i = i->ifa_next) n++;
    h->address = calloc(n ? n : 1, sizeof *h->address);
    for (struct ifaddrs *i = list; h->address && i && h->n < MOST_ADDRESSES; i = i->ifa_next) {
        if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6)) continue;
        struct host_address *a = &h->address[h->n++];
        addr_from_sockaddr(i->ifa_addr, &a->at);
        a->scope = if_nametoindex(i->ifa_name);
        snprintf(a->interface, sizeof a->interface, "%s", i->ifa_name);
        if (a->at.family == 6 && flags) read_flags(flags, a);
    }
    if (flags) fclose(flags);
    freeifaddrs(list);
    h->ipv6 = ipv6_works();
    return h->address ? true : err_set(e, "out of memory");
}

void host_finish(struct host *h) {
    free(h->address);
    memset(h, 0, sizeof *h);
}

/* ---- addresses that are not here ---- */

/* The kernel has the last word: no list of addresses shows all of 127.0.0.0/8, or what a local route makes ours. An address that is still
 * tentative comes by itself, so it may wait whatever its entry says. */
void planner_settle(struct planner *p) {
    for (uint32_t i = 0; i < p->plan.nsockets; i++) {
        struct plan_socket *s = &p->plan.socket[i];
        if (s->zone[0] || s->when_missing == MISSING_FREEBIND || addr_is_any(&s->at)) continue;
        if (s->when_missing == MISSING_WAIT || s->waiting) s->waiting = !sock_here(&s->at);
    }
}

/* ---- preflight ---- */

/* Would the supervisor's own sockets be in the way of `at`? It takes them over or closes them itself, so they are no fault. */
static bool held_by_us(const struct buf *held, const struct addr *at) {
    const char *line = held->n ? held->p : NULL;
    while (line && *line) {
        struct addr a;
        if (addr_parse_hostport(line, strcspn(line, " \n"), true, &a, NULL) && a.family == at->family && a.port == at->port &&
            (addr_is_any(&a) || addr_is_any(at) || addr_same_ip(&a, at)))
            return true;
        line = strchr(line, '\n');
        if (line) line++;
    }
    return false;
}

static void name_taker(const struct addr *at, struct err *e) {
    struct ports used;
    if (!ports_read(&used, at->port, true, NULL)) return;
    const struct port_use *u = ports_taken(&used, at);
    if (u) owner_refuse(at, u, e);
    ports_finish(&used);
}

void planner_preflight(struct planner *p) {
    struct buf held = {0};
    if (supervisor_ask(p->state, "sockets\n", HELD_MAX, &held, NULL) != ASKED_GOOD) buf_clear(&held); /* none runs */
    for (uint32_t i = 0; i < p->plan.nsockets; i++) {
        const struct plan_socket *s = &p->plan.socket[i];
        struct err e;
        uint16_t port;
        if (s->waiting || held_by_us(&held, &s->at)) continue;
        int fd = sock_bind(&s->at, SOCK_EXCLUSIVE | (s->when_missing == MISSING_FREEBIND ? SOCK_FREEBIND : 0), &port, &e);
        if (fd >= 0) {
            close(fd);
            continue;
        }
        if (errno == EADDRINUSE) name_taker(&s->at, &e);
        if (s->because.file[0] && s->because.line)
            planner_error(p, "%s:%" PRIu32 ": %s: %s", s->because.file, s->because.line, s->because.entry, e.text);
        else
            planner_error(p, "%s%s%s: listener %s: %s", s->because.file[0] ? s->because.file : "built-in default",
                          s->because.entry[0] ? ": " : "", s->because.entry, s->name, e.text);
    }
    buf_free(&held);
}
