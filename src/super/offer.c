/* What leaves a generation: the offer to an engine, and the words about its sockets. */
#include "base/fdlink.h"
#include "plan/wire.h"
#include "super/held.h"
#include "super/holder.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEND_MS 3000

struct batch {
    int link;
    unsigned n;
    struct wire_socket socket[FDLINK_FDS];
    int fd[FDLINK_FDS];
};

/* One entry for every socket, and one for every worker where they share sockets. */
static unsigned entries(const struct generation *g, uint32_t i) {
    const struct held *h = g->held[i];
    if (!h || (g->plan.socket[i].services & SVC_SHUTDOWN)) return 0; /* waits for its address; is ours */
    return h->n > g->workers ? h->n : g->workers;
}

static bool flush(struct batch *b, struct err *e) {
    bool good = b->n == 0 || fdlink_send(b->link, WIRE_GEN_SOCKETS, b->socket, b->n * sizeof *b->socket, b->fd, b->n, SEND_MS, e);
    b->n = 0;
    return good;
}

/* Does an engine that serves base have every descriptor of this socket, each with the worker that is to have it? */
static bool is_kept(const struct generation *g, const struct generation *base, uint32_t i) {
    const struct held *h = g->held[i];
    return base && entries(g, i) && base->workers == g->workers && h->mark == base->number && h->kept == h->n;
}

static bool send_kept(const struct generation *g, const struct generation *base, int link, struct err *e) {
    struct wire_kept run[FDLINK_DATA / sizeof(struct wire_kept)];
    const unsigned most = sizeof run / sizeof *run;
    unsigned n = 0;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        if (!is_kept(g, base, i)) continue;
        uint32_t old = g->held[i]->marked;
        if (n && run[n - 1].index + run[n - 1].count == i && run[n - 1].old + run[n - 1].count == old) {
            run[n - 1].count++;
            continue;
        }
        if (n == most && !fdlink_send(link, WIRE_GEN_KEPT, run, n * sizeof *run, NULL, 0, SEND_MS, e)) return false;
        if (n == most) n = 0;
        run[n++] = (struct wire_kept){.index = i, .old = old, .count = 1};
    }
    return n == 0 || fdlink_send(link, WIRE_GEN_KEPT, run, n * sizeof *run, NULL, 0, SEND_MS, e);
}

static bool send_sockets(const struct generation *g, const struct generation *base, int link, struct err *e) {
    struct batch b = {.link = link};
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        const struct held *h = g->held[i];
        if (is_kept(g, base, i)) continue;
        for (unsigned k = 0; k < entries(g, i); k++) {
            b.socket[b.n] = (struct wire_socket){.index = i, .worker = k % g->workers, .port = h->at.port};
            b.fd[b.n++] = h->fd[k % h->n].fd;
            if (b.n == FDLINK_FDS && !flush(&b, e)) return false;
        }
    }
    return flush(&b, e);
}

bool generation_offer(const struct generation *g, const struct generation *base, int link, struct err *e) {
    char text[180], of[32] = "";
    int fds[2] = {g->plan_fd, g->bundle_fd};
    uint64_t total = 0;
    if (base) generation_mark(base);
    if (base) snprintf(of, sizeof of, "base %" PRIu64 "\n", base->number);
    for (uint32_t i = 0; i < g->plan.nsockets; i++) total += is_kept(g, base, i) ? 0 : entries(g, i);
    int n = snprintf(text, sizeof text, "generation %" PRIu64 "\nsockets %" PRIu64 "\nworkers %u\n%s%s", g->number, total, g->workers, of,
                     g->forced ? "force 1\n" : "");
    if (!fdlink_send(link, WIRE_GEN_BEGIN, text, (size_t)n, fds, 2, SEND_MS, e)) return false;
    if (!send_kept(g, base, link, e) || !send_sockets(g, base, link, e)) return false;
    n = snprintf(text, sizeof text, "generation %" PRIu64 "\n", g->number);
    return fdlink_send(link, WIRE_GEN_END, text, (size_t)n, NULL, 0, SEND_MS, e);
}

static bool change_line(const char *verb, const struct generation *g, uint32_t i, struct buf *out) {
    char at[ADDR_TEXT], line[16] = "";
    const struct plan_socket *s = &g->plan.socket[i];
    const struct plan_because *b = &s->because;
    plan_at_text(s, g->held[i] ? g->held[i]->at.port : 0, at);
    if (b->line) snprintf(line, sizeof line, ":%" PRIu32, b->line);
    return buf_fmt(out, "%s %s (%s, listener %s): %s%s%s%s%s%s\n", verb, at, plan_scheme_text(s), s->name,
                   b->file[0] ? b->file : "built-in default", line, b->entry[0] ? " " : "", b->entry, b->row[0] ? ", row " : "", b->row);
}

static uint32_t held_count(const struct generation *g) {
    uint32_t n = 0;
    for (uint32_t i = 0; g && i < g->plan.nsockets; i++) n += g->held[i] != NULL;
    return n;
}

/* Lines for the groups of `of` that `than` has not; *same counts the others. */
static bool list_others(const char *verb, const struct generation *of, const struct generation *than, struct buf *out, uint32_t *same) {
    bool good = true;
    generation_mark(than);
    for (uint32_t i = 0; good && i < of->plan.nsockets; i++) {
        if (!of->held[i]) continue;
        if (of->held[i]->mark == than->number) ++*same;
        else good = change_line(verb, of, i, out);
    }
    return good;
}

bool generation_changes(const struct generation *g, const struct generation *old, struct buf *out) {
    uint32_t kept = 0, stays = 0, held = held_count(g), waiting = g->plan.nsockets - held;
    struct buf lines = {0};
    char waits[48] = "";
    if (waiting) snprintf(waits, sizeof waits, ", %u waiting for %s", (unsigned)waiting, waiting == 1 ? "its address" : "their addresses");
    bool good = !old || (list_others("opened", g, old, &lines, &kept) && list_others("closed", old, g, &lines, &stays));
    good = good && buf_fmt(out, "%u socket%s kept, %u opened, %u closed%s\n", (unsigned)kept, kept == 1 ? "" : "s", (unsigned)(held - kept),
                           (unsigned)(held_count(old) - stays), waits);
    good = good && buf_add(out, lines.p, lines.n);
    buf_free(&lines);
    return good;
}

bool generation_sockets(const struct generation *g, struct buf *out) {
    bool good = true;
    for (uint32_t i = 0; good && i < g->plan.nsockets; i++) {
        const struct held *h = g->held[i];
        char at[ADDR_TEXT];
        if (!h) continue;
        addr_format(&h->at, at);
        if (g->plan.socket[i].services & SVC_SHUTDOWN)
            good = buf_fmt(out, "%s %s supervisor inode %ju\n", at, g->plan.socket[i].name, (uintmax_t)h->fd[0].inode);
        for (unsigned k = 0; good && k < entries(g, i); k++) {
            good = buf_fmt(out, "%s %s worker %u inode %ju%s%s\n", at, g->plan.socket[i].name, k % g->workers,
                           (uintmax_t)h->fd[k % h->n].inode, h->adopted ? " adopted" : "", h->at.udp ? " udp" : "");
        }
    }
    return good;
}
