#include "super/foreign.h"
#include "base/clock.h"
#include "base/log.h"
#include "super/held.h"
#include "super/holder.h"
#include <stdlib.h>
#include <sys/stat.h>

struct inodes {
    ino_t *ino;
    size_t n, cap;
};

static void note(struct inodes *s, ino_t ino) {
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        ino_t *more = realloc(s->ino, cap * sizeof *more);
        if (!more) return; /* then a socket of ours looks foreign and the change is refused, which harms nobody */
        s->ino = more;
        s->cap = cap;
    }
    s->ino[s->n++] = ino;
}

static void note_generation(struct inodes *s, const struct generation *g) {
    for (uint32_t i = 0; g && i < g->plan.nsockets; i++) {
        const struct held *h = g->held[i];
        for (unsigned k = 0; h && k < h->n; k++) note(s, h->fd[k].inode);
    }
}

static int by_inode(const void *a, const void *b) {
    ino_t x = *(const ino_t *)a, y = *(const ino_t *)b;
    return x == y ? 0 : x < y ? -1 : 1;
}

static bool is_mine(const void *ctx, ino_t inode) {
    const struct inodes *s = ctx;
    return s->n > 0 && bsearch(&inode, s->ino, s->n, sizeof inode, by_inode);
}

#define FRESH_MS 1000
static struct {
    struct ports ports;
    const struct generation *old; /* NULL: nothing has been read */
    bool udp;
    int64_t at_ms;
} ahead;

void foreign_ahead(const struct mine *m) {
    ports_finish(&ahead.ports);
    ahead.old = NULL; /* or the reading would be this one */
    struct mine all = *m;
    all.udp = ahead.udp = plan_has_udp(&m->old->plan);
    foreign_read(&ahead.ports, 0, false, &all);
    ahead.old = m->old;
    ahead.at_ms = clock_mono_ms();
}

static bool take_ahead(struct ports *out, const struct mine *m) {
    if (!m->old || ahead.old != m->old || (m->udp && !ahead.udp) || clock_mono_ms() - ahead.at_ms > FRESH_MS) return false;
    *out = ahead.ports;
    ahead.ports = (struct ports){0};
    ahead.old = NULL;
    return true;
}

void foreign_read(struct ports *out, uint16_t port, bool all, const struct mine *m) {
    struct inodes ours = {0};
    struct stat st;
    struct err e;
    if (port == 0 && !all && take_ahead(out, m)) return;
    if (!ports_read(out, port, all, m->udp, &e)) {
        log_warn("holder", "%s: another program that shares a port of ours would not be seen", e.text);
        return;
    }
    note_generation(&ours, m->old);
    note_generation(&ours, m->now);
    for (uint32_t i = 0; m->retired && i < m->retired->n; i++) note(&ours, m->retired->s[i].inode);
    for (unsigned i = 0; m->adopted && i < m->adopted->n; i++) {
        if (m->adopted->fd[i].fd >= 0 && fstat(m->adopted->fd[i].fd, &st) == 0) note(&ours, st.st_ino);
    }
    if (ours.n > 1) qsort(ours.ino, ours.n, sizeof *ours.ino, by_inode);
    ports_without(out, is_mine, &ours);
    free(ours.ino);
}
