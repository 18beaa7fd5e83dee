#include "engine/differ.h"
#include "net/diag.h"
#include "plan/plan_check.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 65536u /* local addresses and ports that are counted; beyond it numbers are left out */

static bool read_host(struct differ *d) {
    struct host h = {0};
    struct err e;
    if (!host_read(&h, &e)) return true; /* wildcards are then explained without addresses */
    d->host = calloc(h.list.naddresses + 1, sizeof *d->host);
    for (uint32_t i = 0; d->host && i < h.list.naddresses; i++)
        if (!h.list.address[i].tentative && !h.list.address[i].duplicate) d->host[d->in.nhost++] = h.list.address[i].at;
    d->in.host = d->host;
    host_finish(&h);
    return d->host != NULL;
}

/* ---- connections by local address and port ---- */

struct counting {
    uint64_t port[65536 / 64]; /* those the running server has bound */
    struct diff_live *live;
    uint32_t n, cap;
    bool full;
};

static int live_order(const void *a, const void *b) {
    return plan_by_place(&((const struct diff_live *)a)->at, &((const struct diff_live *)b)->at);
}

/* Equal places become one. */
static void fold(struct counting *c) {
    uint32_t out = 0;
    qsort(c->live, c->n, sizeof *c->live, live_order);
    for (uint32_t i = 0; i < c->n; i++) {
        if (out && plan_by_place(&c->live[out - 1].at, &c->live[i].at) == 0) c->live[out - 1].n += c->live[i].n;
        else c->live[out++] = c->live[i];
    }
    c->n = out;
}

static void count(void *ctx, const struct addr *local) {
    struct counting *c = ctx;
    if (!(c->port[local->port / 64] >> local->port % 64 & 1) || c->full) return;
    if (c->n == c->cap) fold(c);
    if (c->n > c->cap / 2) { /* folding has not helped much */
        uint32_t more = c->cap ? c->cap * 2 : 1024;
        struct diff_live *l = more <= 2 * PLACES ? reallocarray(c->live, more, sizeof *l) : NULL;
        c->full = !l;
        if (!l) return;
        c->live = l;
        c->cap = more;
    }
    c->live[c->n++] = (struct diff_live){.at = *local, .n = 1};
}

static void read_live(struct differ *d, const struct running *r) {
    struct counting *c = calloc(1, sizeof *c);
    if (!c) return;
    c->live = calloc(1024, sizeof *c->live);
    c->cap = c->live ? 1024 : 0;
    for (uint32_t i = 0; i < r->plan.nsockets; i++) c->port[r->socket[i].port / 64] |= 1ull << r->socket[i].port % 64;
    bool good = c->live && diag_connections(count, c) && !c->full;
    if (good) fold(c);
    d->live = c->live;
    d->in.live = c->live;
    d->in.nlive = good ? c->n : 0;
    d->in.live_known = good;
    free(c);
}

static void name_server(struct differ *d, const struct planner *p, const struct running *r) {
    char reads[BESIDE_FOLDERS] = "";
    d->others = beside_others(p, r);
    if (d->others) beside_folders(r, reads, sizeof reads);
    snprintf(d->who, sizeof d->who, "generation %" PRIu64 " (pid %" PRId64 "%s%s)", r->generation, r->pid,
             d->others ? ", which reads " : "", reads);
}

bool differ_make(const struct planner *p, int bundle_fd, const struct running *r, struct differ *out, struct err *e) {
    memset(out, 0, sizeof *out);
    struct bundle *b = bundle_map(bundle_fd, e);
    if (!b) return false;
    out->in.old = (struct diff_side){.plan = &r->plan, .file = r->file, .nfiles = r->nfiles};
    out->in.now = (struct diff_side){.plan = &p->plan};
    out->port = calloc(r->plan.nsockets ? r->plan.nsockets : 1, sizeof *out->port);
    for (uint32_t i = 0; out->port && i < r->plan.nsockets; i++) out->port[i] = r->socket[i].port;
    out->in.old.port = out->port;
    bool good = out->port && running_files(b, &out->file, &out->in.now.nfiles) && read_host(out);
    bundle_unmap(b);
    out->in.now.file = out->file;
    if (good) {
        read_live(out, r);
        name_server(out, p, r);
        good = plan_diff_make(&out->in, &out->diff, e);
    } else {
        err_set(e, "out of memory for comparing two plans");
    }
    if (!good) differ_finish(out);
    return good;
}

void differ_note(const struct planner *p, const struct running *r) {
    char here[BESIDE_FOLDERS], there[BESIDE_FOLDERS];
    if (!beside_others(p, r)) return;
    beside_own(p, here, sizeof here);
    beside_folders(r, there, sizeof there);
    fprintf(stderr, "note: this is %s; the server that runs (pid %" PRId64 ") reads %s\n", here, r->pid, there);
}

void differ_finish(struct differ *d) {
    plan_diff_finish(&d->diff);
    free(d->port);
    free(d->file);
    free(d->host);
    free(d->live);
    memset(d, 0, sizeof *d);
}
