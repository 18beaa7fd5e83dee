#include "super/held.h"
#include "base/log.h"
#include "net/sock.h"
#include "super/ports.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_ours(void *ctx, ino_t inode) {
    const struct held_others *o = ctx;
    for (int set = 0; set < 2; set++) {
        struct held *const *h = set ? o->now : o->old;
        for (uint32_t i = 0; i < (set ? o->nnow : o->nold); i++) {
            for (unsigned k = 0; h[i] && k < h[i]->n; k++) {
                if (h[i]->fd[k].inode == inode) return true;
            }
        }
    }
    for (unsigned i = 0; i < RETIRED; i++) {
        if (o->retired->s[i].inode == inode) return true;
    }
    return false;
}

static bool overlaps_retired(const struct addr *at, const struct held_others *o) {
    for (unsigned i = 0; at->port && i < RETIRED; i++) {
        if (o->retired->s[i].inode && ports_overlap(at, &o->retired->s[i].at)) return true;
    }
    return false;
}

static bool overlaps_ours(const struct addr *at, const struct held_others *o) {
    for (uint32_t i = 0; at->port && i < o->nold; i++) {
        if (o->old[i] && ports_overlap(at, &o->old[i]->at)) return true;
    }
    return false;
}

/* The kernel has said EADDRINUSE, or would not say it (SO_REUSEPORT on both sides): name the holder if he can be seen. */
static bool say_taken(const struct addr *at, const struct port_holder *h, struct err *e) {
    char holder[128];
    ports_holder_text(h, holder, sizeof holder);
    sock_errno_text(EADDRINUSE, at, e);
    if (holder[0]) {
        char first[512];
        snprintf(first, sizeof first, "%.500s", e->text);
        err_set(e, "%s: %s; end that program or change the port", first, holder);
    }
    return false;
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

/* Join a SO_REUSEPORT group that we know to be ours: the kernel would let a stranger's socket in just as well, so look. */
static int open_beside(struct held *h, const struct held_others *others, struct port_holder *foreign, uint16_t *port, struct err *e) {
    struct held_others copy = *others;
    h->late = true;
    *foreign = ports_foreign(&h->at, false, is_ours, &copy);
    errno = EADDRINUSE;
    return foreign->inode ? -1 : sock_bind(&h->at, how_of(h), port, e);
}

/* The fd of the first socket, or -1 with e. */
static int open_first(struct held *h, const struct held_others *others, bool *taken, struct err *e) {
    struct held_others copy = *others;
    struct port_holder foreign = {0};
    uint16_t port = h->at.port;
    bool beside = overlaps_ours(&h->at, others);
    int fd = beside ? open_beside(h, others, &foreign, &port, e) : sock_listen(&h->at, SOCK_EXCLUSIVE | how_of(h), h->backlog, &port, e);
    if (fd < 0 && errno == EADDRINUSE && !beside && overlaps_retired(&h->at, others)) fd = open_beside(h, others, &foreign, &port, e);
    if (fd < 0 && errno == EADDRINUSE) {
        *taken = true;
        if (!foreign.inode) foreign = ports_foreign(&h->at, true, is_ours, &copy);
        say_taken(&h->at, &foreign, e);
    }
    h->at.port = port;
    return fd;
}

struct held *held_open(const struct addr *at, int backlog, bool freebind, const struct held_others *others, struct adopted *a, bool *taken, struct err *e) {
    struct held *h = calloc(1, sizeof *h);
    if (!h) {
        err_set(e, "out of memory for a socket");
        return NULL;
    }
    h->refs = 1;
    h->at = *at;
    h->freebind = freebind;
    h->backlog = backlog;
    int fd = adopted_take(a, at);
    h->adopted = fd >= 0;
    if (fd < 0) fd = open_first(h, others, taken, e);
    if (fd >= 0 && add_fd(h, fd, h->adopted || !h->late)) return h;
    if (fd >= 0) {
        err_set(e, "out of memory for a socket");
        close(fd);
    }
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
        int fd = wait ? sock_bind(&h->at, how, &port, e) : sock_listen(&h->at, how, h->backlog, &port, e);
        if (fd < 0 && h->adopted && errno == EADDRINUSE) return true;
        if (fd < 0) return false;
        if (!add_fd(h, fd, !wait)) {
            close(fd);
            return err_set(e, "out of memory for a socket");
        }
    }
    return true;
}

bool held_listen(struct held *h, int backlog, struct err *e) {
    for (unsigned i = 0; i < h->n; i++) {
        if (h->fd[i].listening && backlog == h->backlog) continue;
        if (!sock_start(h->fd[i].fd, backlog) && !h->fd[i].listening) return sock_errno_text(errno, &h->at, e);
        h->fd[i].listening = true;
    }
    h->backlog = backlog;
    return true;
}

void held_retire(struct held *h, struct held_retired *r) {
    for (unsigned i = 0; i < h->n; i++) {
        if (!sock_deafen(h->fd[i].fd)) log_warn("holder", "a socket is closed while callers may wait in its queue: %s", strerror(errno));
        r->s[r->next].at = h->at;
        r->s[r->next].inode = h->fd[i].inode;
        r->next = (r->next + 1) % RETIRED;
    }
}

void held_commit(struct held *h) {
    h->kept = h->n;
    h->late = false;
}

void held_revert(struct held *h) {
    close_from(h, h->kept);
}
