/* The machine: its addresses as facts for bind.lua, and the preflight that asks the kernel about each address of the plan. */
#include "base/sort.h"
#include "engine/planner.h"
#include "engine/supervisor.h"
#include "net/owner.h"
#include "net/sock.h"
#include "plan/plan_check.h"
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

#define HELD_MAX (8u << 20)

/* ---- addresses that are not here ---- */

/* bind() takes the broadcast address of a network here, though nobody can ever connect to it; the route to it says what it is. */
static bool is_broadcast(int udp, const struct addr *at) {
    struct addr there = *at;
    struct sockaddr_storage sa;
    there.port = 9;
    socklen_t n = addr_to_sockaddr(&there, &sa);
    return connect(udp, (struct sockaddr *)&sa, n) != 0 && errno == EACCES;
}

static int by_place(const void *a, const void *b) {
    return plan_by_place(a, b);
}

/* Addresses, sorted by plan_by_place. */
struct places {
    struct addr *at;
    size_t n;
};

static bool has(const struct places *l, struct addr at) {
    return l->n && bsearch(&at, l->at, l->n, sizeof at, by_place);
}

/* The same where who asks goes through the addresses in their order, as long lists mostly do: *next is where the answer may stand. */
static bool has_next(const struct places *l, struct addr at, size_t *next) {
    if (*next < l->n && by_place(&at, &l->at[*next]) == 0) {
        ++*next;
        return true;
    }
    const struct addr *found = l->n ? bsearch(&at, l->at, l->n, sizeof at, by_place) : NULL;
    if (found) *next = (size_t)(found - l->at) + 1;
    return found != NULL;
}

/* The IPv4 addresses on interfaces: none of them is a broadcast address, and to ask the kernel about thousands takes its time. */
static struct places on_interfaces(const struct host *h) {
    struct places l = {.at = calloc(h->list.naddresses ? h->list.naddresses : 1, sizeof *l.at)};
    for (uint32_t i = 0; l.at && i < h->list.naddresses; i++)
        if (h->list.address[i].at.family == 4) l.at[l.n++] = h->list.address[i].at;
    sort_runs(l.at, l.n, sizeof *l.at, by_place);
    return l;
}

static void refuse_broadcasts(struct planner *p, const struct host *h) {
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct places known = on_interfaces(h);
    char text[ADDR_TEXT];
    size_t next = 0;
    for (uint32_t i = 0; udp >= 0 && i < p->plan.nsockets; i++) {
        const struct plan_socket *s = &p->plan.socket[i];
        struct addr bare = s->at;
        bare.port = 0;
        if (s->at.family != 4 || addr_is_any(&s->at) || has_next(&known, bare, &next) || !is_broadcast(udp, &s->at)) continue;
        addr_format(&s->at, text);
        planner_error(p, "%s:%" PRIu32 ": %s: cannot bind %s: this is the broadcast address of a network here, nobody can connect to it",
                      s->because.file, s->because.line, s->because.entry, text);
    }
    free(known.at);
    if (udp >= 0) close(udp);
}

static bool is_here(void *ctx, const struct addr *a) {
    (void)ctx;
    return sock_here(a);
}

/* The kernel has the last word: no list of addresses shows all of 127.0.0.0/8, or what a local route makes ours. An address that is still
 * tentative comes by itself, so it may wait whatever its entry says. */
void planner_settle(struct planner *p, const struct host *h) {
    for (uint32_t i = 0; i < p->plan.nsockets; i++) {
        struct plan_socket *s = &p->plan.socket[i];
        if (s->zone[0] || s->when_missing == MISSING_FREEBIND || addr_is_any(&s->at)) continue;
        if (s->when_missing == MISSING_WAIT || s->waiting) s->waiting = !sock_here(&s->at);
    }
    refuse_broadcasts(p, h);
    struct err e;
    if (!plan_check_loops(&p->plan, is_here, NULL, &e)) planner_error(p, "%s", e.text);
}

/* ---- preflight ---- */

/* What our own running supervisor holds, as it says itself: lines "ADDRESS:PORT name …". */
static struct places held_now(const char *state) {
    struct buf text = {0};
    struct places l = {0};
    if (supervisor_ask(state, "sockets\n", HELD_MAX, &text, NULL) != ASKED_GOOD) buf_clear(&text); /* none runs */
    size_t lines = 1;
    for (size_t i = 0; i < text.n; i++) lines += text.p[i] == '\n';
    l.at = calloc(lines, sizeof *l.at);
    for (const char *line = text.n ? text.p : NULL; l.at && line && *line; line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
        size_t n = strcspn(line, "\n");
        if (!addr_parse_hostport(line, strcspn(line, " \n"), true, &l.at[l.n], NULL)) continue;
        l.at[l.n++].udp = n > 4 && memcmp(line + n - 4, " udp", 4) == 0;
    }
    sort_runs(l.at, l.n, sizeof *l.at, by_place);
    buf_free(&text);
    return l;
}

/* Would the supervisor's own sockets be in the way of `at`? It takes them over or closes them itself, so they are no fault. */
static bool held_by_us(const struct places *held, const struct addr *at) {
    struct addr any = {.family = at->family, .udp = at->udp, .port = at->port};
    if (has(held, *at) || has(held, any)) return true;
    for (size_t i = 0; i < held->n && addr_is_any(at); i++)
        if (held->at[i].family == at->family && held->at[i].udp == at->udp && held->at[i].port == at->port) return true;
    return false;
}

static void name_taker(struct ports *used, const struct addr *at, bool udp, struct err *e) {
    if (!used->use && !ports_read(used, 0, true, udp, NULL)) return;
    const struct port_use *u = ports_taken(used, at);
    if (u) owner_refuse(at, u, e);
}

void planner_preflight(struct planner *p) {
    struct places held = held_now(p->state);
    struct ports used = {0};
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
        if (errno == EADDRINUSE) name_taker(&used, &s->at, plan_has_udp(&p->plan), &e);
        if (s->because.file[0] && s->because.line)
            planner_error(p, "%s:%" PRIu32 ": %s: %s", s->because.file, s->because.line, s->because.entry, e.text);
        else
            planner_error(p, "%s%s%s: listener %s: %s", s->because.file[0] ? s->because.file : "built-in default",
                          s->because.entry[0] ? ": " : "", s->because.entry, s->name, e.text);
    }
    ports_finish(&used);
    free(held.at);
}
