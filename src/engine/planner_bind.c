/* The machine: its addresses as facts for bind.lua, and the preflight that asks the kernel about each address of the plan. */
#include "engine/planner.h"
#include "engine/supervisor.h"
#include "net/owner.h"
#include "net/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define HELD_MAX       (8u << 20)

/* ---- addresses that are not here ---- */

/* bind() takes the broadcast address of a network here, though nobody can ever connect to it; the route to it says what it is. */
static bool is_broadcast(int udp, const struct addr *at) {
    struct addr there = *at;
    struct sockaddr_storage sa;
    there.port = 9;
    socklen_t n = addr_to_sockaddr(&there, &sa);
    return connect(udp, (struct sockaddr *)&sa, n) != 0 && errno == EACCES;
}

static void refuse_broadcasts(struct planner *p) {
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct addr *last = NULL;
    char text[ADDR_TEXT];
    for (uint32_t i = 0; udp >= 0 && i < p->plan.nsockets; i++) {
        const struct plan_socket *s = &p->plan.socket[i];
        if (s->at.family != 4 || addr_is_any(&s->at) || (last && addr_same_ip(last, &s->at))) continue;
        last = &s->at;
        if (!is_broadcast(udp, &s->at)) continue;
        addr_format(&s->at, text);
        planner_error(p, "%s:%" PRIu32 ": %s: cannot bind %s: this is the broadcast address of a network here, nobody can connect to it",
                      s->because.file, s->because.line, s->because.entry, text);
    }
    if (udp >= 0) close(udp);
}

/* The kernel has the last word: no list of addresses shows all of 127.0.0.0/8, or what a local route makes ours. An address that is still
 * tentative comes by itself, so it may wait whatever its entry says. */
void planner_settle(struct planner *p) {
    for (uint32_t i = 0; i < p->plan.nsockets; i++) {
        struct plan_socket *s = &p->plan.socket[i];
        if (s->zone[0] || s->when_missing == MISSING_FREEBIND || addr_is_any(&s->at)) continue;
        if (s->when_missing == MISSING_WAIT || s->waiting) s->waiting = !sock_here(&s->at);
    }
    refuse_broadcasts(p);
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
