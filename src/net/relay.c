#include "net/relay.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void relay_init(struct relay *r, const struct stream_ops *ops0, void *stream0, int fd0, const struct stream_ops *ops1, void *stream1,
                int fd1) {
    *r = (struct relay){.end = {{.ops = ops0, .stream = stream0, .fd = fd0, .reads = RELAY_READABLE, .writes = RELAY_WRITABLE},
                                {.ops = ops1, .stream = stream1, .fd = fd1, .reads = RELAY_READABLE, .writes = RELAY_WRITABLE}}};
}

void relay_finish(struct relay *r) {
    for (unsigned i = 0; i < 2; i++) {
        free(r->way[i].held);
        r->way[i].held = NULL;
    }
}

static bool hold(struct relay_way *w, const char *p, size_t n) {
    w->held = malloc(n);
    if (!w->held) return false;
    memcpy(w->held, p, n);
    w->n = n;
    w->at = 0;
    return true;
}

bool relay_first(struct relay *r, const void *p, size_t n) {
    if (r->way[0].held || !hold(&r->way[0], p, n)) return false;
    r->way[0].bytes -= n; /* wraps, until they have left */
    return true;
}

uint64_t relay_bytes(const struct relay *r, unsigned way) {
    return (int64_t)r->way[way].bytes > 0 ? r->way[way].bytes : 0;
}

/* A call that could not go on: what it waits for, noted in *wait and no longer ready. false: it did not want, it failed. */
static bool wants(struct relay_end *e, ssize_t got, uint8_t *wait) {
    if (got != STREAM_WANT_READ && got != STREAM_WANT_WRITE) return false;
    *wait = got == STREAM_WANT_READ ? RELAY_READABLE : RELAY_WRITABLE;
    e->ready &= (uint8_t) ~*wait;
    return true;
}

/* Write p[0..n); *left = what was not taken, 0 where nothing ever will be: then the way is dead. */
static void put(struct relay *r, unsigned i, const char *p, size_t n, size_t *left) {
    struct relay_end *to = &r->end[1 - i];
    struct relay_way *w = &r->way[i];
    w->blocked = false;
    for (*left = n; *left > 0;) {
        ssize_t k = to->ops->write(to->stream, to->fd, p + (n - *left), *left, false);
        if (k > 0) {
            *left -= (size_t)k;
            w->bytes += (uint64_t)k;
            to->writes = RELAY_WRITABLE;
            continue;
        }
        w->blocked = wants(to, k, &to->writes);
        if (w->blocked) return;
        *left = 0;
        w->dead = true;
    }
}

static enum relay_result put_held(struct relay *r, unsigned i) {
    struct relay_way *w = &r->way[i];
    size_t left;
    if (!(r->end[1 - i].ready & r->end[1 - i].writes)) return RELAY_WAIT;
    put(r, i, w->held + w->at, w->n - w->at, &left);
    w->at = w->n - left;
    if (left) return RELAY_WAIT;
    free(w->held);
    w->held = NULL;
    return RELAY_MORE;
}

static enum relay_result pass_end(struct relay *r, unsigned i) {
    struct relay_end *to = &r->end[1 - i];
    int k = to->ops->shutdown ? to->ops->shutdown(to->stream, to->fd) : shutdown(to->fd, SHUT_WR);
    r->way[i].blocked = k == STREAM_WANT_WRITE && wants(to, k, &to->writes);
    if (r->way[i].blocked) return RELAY_WAIT;
    to->shut = true;
    return RELAY_DONE;
}

/* One way, as far as it goes. DONE: it has ended. */
static enum relay_result one_way(struct relay *r, unsigned i, char *buffer, size_t n, size_t budget) {
    struct relay_end *from = &r->end[i], *to = &r->end[1 - i];
    struct relay_way *w = &r->way[i];
    for (uint64_t most = w->bytes + budget; (int64_t)(most - w->bytes) > 0;) {
        if (to->shut || w->dead) return RELAY_DONE;
        if (w->held) {
            enum relay_result h = put_held(r, i);
            if (h != RELAY_MORE) return h;
        }
        if (from->ended) return pass_end(r, i);
        if (!(from->ready & from->reads)) return RELAY_WAIT;
        ssize_t k = from->ops->read(from->stream, from->fd, buffer, n);
        if (k == 0) {
            from->ended = true;
            continue;
        }
        if (k < 0) {
            if (!wants(from, k, &from->reads)) return RELAY_BROKEN;
            continue;
        }
        from->reads = RELAY_READABLE;
        if ((size_t)k < n && !from->stream && !from->hung)
            from->ready &= (uint8_t)~RELAY_READABLE; /* emptied: the next byte is a new edge */
        size_t left;
        put(r, i, buffer, (size_t)k, &left);
        if (left && !hold(w, buffer + ((size_t)k - left), left)) return RELAY_BROKEN;
    }
    return RELAY_MORE;
}

enum relay_result relay_run(struct relay *r, char *buffer, size_t n, size_t budget) {
    enum relay_result a = one_way(r, 0, buffer, n, budget);
    if (a == RELAY_BROKEN) return a;
    enum relay_result b = one_way(r, 1, buffer, n, budget);
    if (b == RELAY_BROKEN) return b;
    if (a == RELAY_MORE || b == RELAY_MORE) return RELAY_MORE;
    return a == RELAY_DONE && b == RELAY_DONE ? RELAY_DONE : RELAY_WAIT;
}

uint8_t relay_wants(const struct relay *r, unsigned end) {
    const struct relay_end *e = &r->end[end];
    const struct relay_way *out = &r->way[end], *in = &r->way[1 - end];
    uint8_t want = 0;
    if (!e->ended && !out->held && !out->dead) want |= e->reads;
    if (in->held || in->blocked) want |= e->writes;
    return want;
}
