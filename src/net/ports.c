#include "net/ports.h"
#include "net/diag.h"
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUND_INACTIVE  13 /* bound and nothing else; kernels before 6.8 do not list these */
#define FIRST_ROOM      256
#define UDP_UNCONNECTED TCP_CLOSE

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

bool ports_overlap(const struct addr *a, const struct addr *b) {
    return a->family == b->family && a->udp == b->udp && a->port == b->port && (addr_same_ip(a, b) || addr_is_any(a) || addr_is_any(b));
}

static bool add(struct ports *p, const struct port_use *u) {
    bool full = p->n >= FIRST_ROOM ? (p->n & (p->n - 1)) == 0 : p->n == 0; /* room doubles from FIRST_ROOM on */
    if (p->n >= PORTS_MOST) return true;
    if (full) {
        struct port_use *more = realloc(p->use, (p->n ? 2 * (size_t)p->n : FIRST_ROOM) * sizeof *more);
        if (!more) return false;
        p->use = more;
    }
    p->use[p->n++] = *u;
    return true;
}

/* `family` is the socket's; an address of an IPv6 socket may be an IPv4 one in disguise. */
static struct addr address(bool v6, const void *ip, uint16_t port) {
    struct addr a = {.family = v6 ? 6 : 4, .port = port};
    bool disguised = v6 && memcmp(ip, mapped, sizeof mapped) == 0;
    if (disguised) a.family = 4;
    memcpy(a.ip, disguised ? (const uint8_t *)ip + 12 : ip, a.family == 6 ? 16 : 4);
    return a;
}

/* ---- sock_diag ---- */

struct reading {
    struct ports *into;
    bool udp;
    bool full;
};

static bool take(void *ctx, const struct diag_socket *s) {
    struct reading *r = ctx;
    struct port_use u = {
        .at = s->at, .peer = s->peer, .listening = s->state == TCP_LISTEN, .inode = s->inode, .uid = s->uid, .cgroup = s->cgroup};
    if (r->udp) u.listening = s->state == UDP_UNCONNECTED;
    u.at.udp = u.peer.udp = r->udp;
    u.dual = s->v6 && !s->v6only && s->at.family == 6 && addr_is_any(&s->at);
    r->full = !add(r->into, &u);
    return !r->full;
}

static bool ask_kernel_udp(struct ports *p, uint16_t port, bool all) {
    struct reading r = {.into = p, .udp = true};
    return diag_udp((1u << UDP_UNCONNECTED) | (all ? 1u << TCP_ESTABLISHED : 0), port, take, &r) && !r.full;
}

static bool ask_kernel(struct ports *p, uint16_t port, bool all) {
    uint32_t states = 1u << TCP_LISTEN;
    if (all) states = ((1u << (TCP_CLOSING + 1)) - 2u) & ~(1u << TCP_TIME_WAIT) & ~(1u << TCP_CLOSE);
    if (all) states |= 1u << BOUND_INACTIVE;
    struct reading r = {.into = p};
    return diag_sockets(states, port, take, &r) && !r.full;
}

/* ---- /proc/net, where a sandbox keeps netlink closed: it does not tell dual stack and control group ---- */

/* The kernel prints each 32-bit word of an address as the number it has in memory, so the bytes come out right by copying. */
static bool read_address(const char *hex, bool v6, uint8_t ip[16]) {
    size_t words = strspn(hex, "0123456789ABCDEFabcdef") / 8;
    if (words != (v6 ? 4 : 1)) return false;
    for (size_t i = 0; i < words; i++) {
        char word[9] = "";
        memcpy(word, hex + 8 * i, 8);
        uint32_t v = (uint32_t)strtoul(word, NULL, 16);
        memcpy(ip + 4 * i, &v, 4);
    }
    return true;
}

static bool read_table(struct ports *p, const char *table, bool v6, bool udp, uint16_t port, bool all) {
    FILE *f = fopen(table, "re");
    const unsigned listens = udp ? UDP_UNCONNECTED : TCP_LISTEN;
    char row[512];
    bool good = true;
    if (!f) return v6 && errno == ENOENT; /* no IPv6 here */
    for (bool head = true; good && fgets(row, sizeof row, f); head = false) {
        char here[40], there[40];
        uint8_t ip[16] = {0}, far[16] = {0};
        unsigned at, to, state, uid;
        uintmax_t inode;
        if (head || sscanf(row, " %*u: %39[0-9A-Fa-f]:%x %39[0-9A-Fa-f]:%x %x %*s %*s %*s %u %*u %" SCNuMAX, here, &at, there, &to, &state,
                           &uid, &inode) != 7)
            continue;
        if (!all && udp && state != listens) continue;
        if (!all && state != listens) break; /* listening sockets come first: a busy server's table is not read whole */
        if ((port && at != port) || state == TCP_TIME_WAIT || !read_address(here, v6, ip) || !read_address(there, v6, far)) continue;
        struct port_use u = {.at = address(v6, ip, (uint16_t)at), .listening = state == listens, .inode = (ino_t)inode, .uid = uid};
        if (to) u.peer = address(v6, far, (uint16_t)to);
        u.at.udp = u.peer.udp = udp;
        good = add(p, &u);
    }
    fclose(f);
    return good;
}

/* ---- */

static int by_port(const void *a, const void *b) {
    const struct port_use *x = a, *y = b;
    if (x->at.port != y->at.port) return x->at.port < y->at.port ? -1 : 1;
    return (int)y->listening - (int)x->listening; /* who listens is the likelier culprit */
}

static bool read_tables(struct ports *p, uint16_t port, bool all, bool udp) {
    if (!read_table(p, "/proc/net/tcp", false, false, port, all) || !read_table(p, "/proc/net/tcp6", true, false, port, all)) return false;
    return !udp || (read_table(p, "/proc/net/udp", false, true, port, all) && read_table(p, "/proc/net/udp6", true, true, port, all));
}

bool ports_read(struct ports *p, uint16_t port, bool all, bool udp, struct err *e) {
    *p = (struct ports){0};
    bool good = ask_kernel(p, port, all) && (!udp || ask_kernel_udp(p, port, all));
    if (!good) {
        ports_finish(p);
        good = read_tables(p, port, all, udp);
    }
    if (!good) {
        err_set(e, "the ports in use on this machine cannot be read: %s", strerror(errno));
        ports_finish(p);
        return false;
    }
    if (p->n > 1) qsort(p->use, p->n, sizeof *p->use, by_port);
    return true;
}

void ports_finish(struct ports *p) {
    free(p->use);
    *p = (struct ports){0};
}

void ports_without(struct ports *p, bool (*mine)(const void *ctx, ino_t inode), const void *ctx) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        if (!mine(ctx, p->use[i].inode)) p->use[n++] = p->use[i];
    }
    p->n = n;
}

static uint32_t first_of(const struct ports *p, uint16_t port) {
    uint32_t low = 0, high = p->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (p->use[mid].at.port < port) low = mid + 1;
        else high = mid;
    }
    return low;
}

const struct port_use *ports_taken(const struct ports *p, const struct addr *at) {
    if (at->port == 0) return NULL;
    for (uint32_t i = first_of(p, at->port); i < p->n && p->use[i].at.port == at->port; i++) {
        const struct port_use *u = &p->use[i];
        if (ports_overlap(at, &u->at) || (u->dual && at->family == 4 && at->udp == u->at.udp)) return u;
    }
    return NULL;
}
