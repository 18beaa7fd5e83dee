#include "super/held.h"
#include "base/log.h"
#include "net/owner.h"
#include "net/sock.h"
#include "super/foreign.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool overlaps_retired(const struct addr *at, const struct held_others *o) {
    for (uint32_t i = 0; at->port && i < o->retired->n; i++) {
        if (ports_overlap(at, &o->retired->s[i].at)) return true;
    }
    return false;
}

/* The kernel has said that the port is taken: by whom? Not only who listens can be in the way. */
static void name_taker(const struct addr *at, const struct held_others *o, struct err *e) {
    struct ports now;
    foreign_read(&now, at->port, true, &(struct mine){.old = o->old, .now = o->now, .retired = o->retired, .udp = at->udp});
    owner_refuse(at, ports_taken(&now, at), e);
    ports_finish(&now);
}

bool held_alone(const struct held *h, const struct held_others *others, struct err *e) {
    const struct port_use *u = ports_taken(others->foreign, &h->at);
    return !u || owner_refuse(&h->at, u, e);
}

static bool add_fd(struct held *h, int fd, bool listening) {
    struct stat st;
    struct held_fd *more = fstat(fd, &st) == 0 ? realloc(h->fd, (h->n + 1) * sizeof *more) : NULL;
    if (!more) return false;
    h->fd = more;
    h->fd[h->n++] = (struct held_fd){.fd = fd, .listening = listening, .inode = st.st_ino};
    return true;
}

static unsigned how_of(const struct held *h) {
    return h->freebind ? SOCK_FREEBIND : 0;
}

/* Bind alone, so that the kernel refuses if anybody has the port, and see to it that nobody else can have it any more: by listening at
 * once, or, where the change may still be given up, by a claim. */
static int open_alone(struct held *h, bool quiet, uint16_t *port, struct err *e) {
    int fd = sock_bind(&h->at, SOCK_EXCLUSIVE | how_of(h), port, e);
    if (fd < 0 || h->at.udp) return fd;
    if (quiet ? sock_claim(fd) : sock_start(fd, h->backlog)) return fd;
    int why = errno;
    close(fd);
    sock_errno_text(why, &h->at, e);
    errno = why;
    return -1;
}

/* A UDP socket takes datagrams from the moment it is bound, also those of a living socket that it overlaps: bound only at the commit. */
static int open_beside(const struct held *h, uint16_t *port, struct err *e) {
    return h->at.udp ? sock_unbound(&h->at, how_of(h), e) : sock_bind(&h->at, how_of(h), port, e);
}

static bool open_first(struct held *h, const struct held_wish *w, const struct held_others *others, bool *taken, struct err *e) {
    const bool alone = !w->beside;
    uint16_t port = h->at.port;
    *taken = !held_alone(h, others, e);
    if (*taken) return false;
    h->late =
        w->beside ||
        (w->quiet && !h->at.udp); /* what nobody had before may queue datagrams: they are lost with a refusal, as they would have been */
    int fd = alone ? open_alone(h, w->quiet, &port, e) : open_beside(h, &port, e);
    if (fd < 0 && errno == EADDRINUSE && alone && overlaps_retired(&h->at, others)) { /* an engine has not closed it yet */
        h->late = true;
        fd = open_beside(h, &port, e);
    }
    *taken = fd < 0 && errno == EADDRINUSE;
    if (*taken) name_taker(&h->at, others, e);
    if (fd < 0) return false;
    h->at.port = port;
    if (add_fd(h, fd, !h->late)) return true;
    close(fd);
    return err_set(e, "out of memory for a socket");
}

struct held *held_open(const struct held_wish *w, const struct held_others *others, struct adopted *a, bool *taken, struct err *e) {
    struct held *h = calloc(1, sizeof *h);
    if (!h) {
        err_set(e, "out of memory for a socket");
        return NULL;
    }
    *h = (struct held){.refs = 1, .at = w->at, .freebind = w->freebind, .backlog = w->backlog};
    int fd = adopted_take(a, &w->at);
    h->adopted = fd >= 0;
    if (h->adopted ? add_fd(h, fd, true) : open_first(h, w, others, taken, e)) return h;
    if (h->adopted) {
        err_set(e, "out of memory for a socket");
        close(fd);
    }
    free(h->fd);
    free(h);
    return NULL;
}

struct held *held_ref(struct held *h) {
    h->refs++;
    return h;
}

static void close_from(struct held *h, unsigned first) {
    for (unsigned i = first; i < h->n; i++) close(h->fd[i].fd);
    h->n = first;
}

void held_unref(struct held *h) {
    if (!h || --h->refs > 0) return;
    close_from(h, 0);
    free(h->fd);
    free(h);
}

bool held_widen(struct held *h, unsigned workers, struct err *e) {
    bool wait = h->late || h->kept > 0; /* callers of a living address must not be queued where nobody may ever accept */
    while (h->n < workers) {
        uint16_t port;
        /* A kept group may grow while its address is away: its first socket is there already. */
        unsigned how = how_of(h) | (h->kept > 0 ? SOCK_FREEBIND : 0);
        int fd = !wait       ? sock_listen(&h->at, how, h->backlog, &port, e)
                 : h->at.udp ? sock_unbound(&h->at, how, e)
                             : sock_bind(&h->at, how, &port, e);
        if (fd < 0 && h->adopted && errno == EADDRINUSE) return true;
        if (fd < 0) return false;
        if (!add_fd(h, fd, !wait)) {
            close(fd);
            return err_set(e, "out of memory for a socket");
        }
    }
    return true;
}

/* Idempotent: a second engine may be offered the same generation. */
static bool start_one(const struct held *h, const struct held_fd *f, int backlog) {
    if (h->at.udp) return f->listening || sock_bind_late(f->fd, &h->at);
    return sock_start(f->fd, backlog);
}

bool held_listen(struct held *h, int backlog, struct err *e) {
    for (unsigned i = 0; i < h->n; i++) {
        struct held_fd *f = &h->fd[i];
        if (f->listening && backlog == h->backlog) continue;
        if (!start_one(h, f, backlog) && !f->listening) return sock_errno_text(errno, &h->at, e);
        f->listening = true;
    }
    h->backlog = backlog;
    return true;
}

static void remember(struct held_retired *r, const struct addr *at, ino_t inode) {
    if (r->n < RETIRED_MOST) {
        struct held_gone *more = (r->n & (r->n - 1)) == 0 ? realloc(r->s, (r->n ? 2 * (size_t)r->n : 1) * sizeof *more) : r->s;
        if (more) r->s = more;
        if (more) r->next = r->n++;
    }
    if (r->n == 0) return;
    r->s[r->next] = (struct held_gone){.at = *at, .inode = inode};
    r->next = (r->next + 1) % r->n;
}

void held_retire(struct held *h, struct held_retired *r) {
    for (unsigned i = 0; i < h->n; i++) {
        if (!sock_deafen(h->fd[i].fd) && sock_here(&h->at))
            log_warn("holder", "a socket is closed while callers may wait in its queue: %s", strerror(errno));
        remember(r, &h->at, h->fd[i].inode);
    }
}

void held_commit(struct held *h) {
    h->kept = h->n;
    h->late = false;
}

void held_revert(struct held *h) {
    close_from(h, h->kept);
}
