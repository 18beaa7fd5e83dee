#include "plan/steps.h"
#include "base/sort.h"
#include "plan/plan_check.h"
#include <stdlib.h>

/* The open sockets of one plan in order of family, transport, port and address: the wildcard, all zero, leads each port. */
struct place {
    struct addr at;
    int32_t index;
};

struct places {
    struct place *p;
    uint32_t n;
};

static int by_place(const void *a, const void *b) {
    return plan_by_place(&((const struct place *)a)->at, &((const struct place *)b)->at);
}

static bool places_make(const struct plan *p, const uint16_t *port, struct places *out) {
    out->n = 0;
    out->p = calloc(p && p->nsockets ? p->nsockets : 1, sizeof *out->p);
    if (!out->p) return false;
    for (uint32_t i = 0; p && i < p->nsockets; i++) {
        struct place at = {.at = p->socket[i].at, .index = (int32_t)i};
        if (port) at.at.port = port[i];
        if (at.at.port && (port || !p->socket[i].waiting)) out->p[out->n++] = at;
    }
    sort_runs(out->p, out->n, sizeof *out->p, by_place);
    return true;
}

/* The first place that is not before `at`. */
static uint32_t from(const struct places *in, const struct addr *at) {
    uint32_t low = 0, high = in->n;
    const struct place key = {.at = *at};
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (by_place(&in->p[mid], &key) < 0) low = mid + 1;
        else high = mid;
    }
    return low;
}

static int32_t exactly(const struct places *in, const struct addr *at) {
    uint32_t i = from(in, at);
    return i < in->n && plan_by_place(&in->p[i].at, at) == 0 ? in->p[i].index : -1;
}

/* One that holds `at` or a part of it: the same address, the wildcard, or, for the wildcard, any of its port. -1 = none. */
static int32_t overlapping(const struct places *in, const struct addr *at) {
    struct addr first = {.family = at->family, .udp = at->udp, .port = at->port};
    uint32_t i = from(in, &first);
    bool there = i < in->n && in->p[i].at.family == at->family && in->p[i].at.udp == at->udp && in->p[i].at.port == at->port;
    if (!there) return -1;
    if (addr_is_any(at) || addr_is_any(&in->p[i].at)) return in->p[i].index;
    return exactly(in, at);
}

struct making {
    const struct plan *old, *now;
    const uint16_t *old_port;
    struct places olds, news;
    int32_t *keep; /* of each new socket: the old one that stays, or -1 */
    bool *kept;    /* of each old socket */
    struct steps *out;
};

static void add(struct making *m, enum step_kind kind, int32_t now, int32_t old, const char *why) {
    m->out->step[m->out->n++] = (struct step){.kind = kind, .now = now, .old = old, .why = why};
}

static bool is_open(const struct making *m, int32_t old) {
    return m->old_port[old] != 0;
}

/* What matches but is not open (it waits for its address) cannot be kept. */
static bool match(struct making *m) {
    if (!m->old) return true;
    if (!plan_match(m->old, m->old_port, m->now, m->keep, m->kept)) return false;
    for (uint32_t i = 0; i < m->now->nsockets; i++) {
        if (m->keep[i] < 0 || is_open(m, m->keep[i])) continue;
        m->kept[m->keep[i]] = false;
        m->keep[i] = -1;
    }
    return true;
}

static const char *why_keep(const struct plan_socket *old, const struct plan_socket *now) {
    if (now->at.udp) return "both plans have it: no datagram is lost";
    if (old->scheme == now->scheme) return "both plans have it: nobody notices anything";
    return now->scheme == SCHEME_HTTPS ? "both plans have it: https from the commit on, who is in its queue by then is answered in http"
                                       : "both plans have it: http from the commit on, who is in its queue by then is answered in https";
}

static void before_commit(struct making *m) {
    for (uint32_t i = 0; i < m->now->nsockets; i++) {
        if (m->keep[i] >= 0) add(m, STEP_KEEP, (int32_t)i, m->keep[i], why_keep(&m->old->socket[m->keep[i]], &m->now->socket[i]));
    }
    for (uint32_t i = 0; i < m->now->nsockets; i++) {
        const struct plan_socket *s = &m->now->socket[i];
        if (m->keep[i] >= 0 || s->waiting) continue;
        int32_t beside = s->at.port ? overlapping(&m->olds, &s->at) : -1;
        if (beside >= 0) add(m, STEP_JOIN, (int32_t)i, beside, "serves until the commit");
        else
            add(m, STEP_OPEN, (int32_t)i, -1,
                m->old && !s->at.udp ? "nobody has it; it takes callers when all else is ready" : "nobody has it");
    }
    uint32_t bound = m->out->n;
    for (uint32_t k = 0; k < bound; k++) {
        const struct step s = m->out->step[k];
        if (s.kind != STEP_KEEP) add(m, STEP_LISTEN, s.now, -1, "the engine is ready for its callers");
    }
}

static const char *why_deafen(const struct making *m, const struct addr *at) {
    int32_t next = overlapping(&m->news, at);
    if (at->udp) return next < 0 ? "the new plan has it no more: further datagrams are refused" : "further datagrams find the new socket";
    if (next < 0) return "the new plan has it no more: new callers are refused";
    if (!addr_is_any(at)) return "new callers find the wildcard";
    return "new callers find the addresses that the new plan names, and are refused on all others";
}

static void after_commit(struct making *m) {
    add(m, STEP_COMMIT, -1, -1, "each worker takes up the new plan at a turn of its loop");
    for (uint32_t j = 0; m->old && j < m->old->nsockets; j++) {
        struct addr at = m->old->socket[j].at;
        at.port = m->old_port[j];
        if (!m->kept[j] && at.port) add(m, STEP_DEAFEN, -1, (int32_t)j, why_deafen(m, &at));
    }
    for (uint32_t j = 0; m->old && j < m->old->nsockets; j++) {
        if (!m->kept[j] && is_open(m, (int32_t)j))
            add(m, STEP_CLOSE, -1, (int32_t)j,
                m->old->socket[j].at.udp ? "when what it has received has been read"
                                         : "when its queue is empty and handshakes under way have ended");
    }
}

bool steps_make(const struct plan *old, const uint16_t *old_port, const struct plan *now, struct steps *out) {
    uint32_t nold = old ? old->nsockets : 0, nnow = now->nsockets;
    struct making m = {.old = old, .now = now, .old_port = old_port, .out = out};
    *out = (struct steps){.step = calloc(2 * (size_t)nnow + 2 * (size_t)nold + 1, sizeof *out->step)};
    m.keep = malloc((nnow + 1) * sizeof *m.keep);
    m.kept = calloc(nold + 1, sizeof *m.kept);
    bool good = out->step && m.keep && m.kept && places_make(old, old_port, &m.olds) && places_make(now, NULL, &m.news);
    for (uint32_t i = 0; good && i < nnow; i++) m.keep[i] = -1;
    good = good && match(&m);
    if (good) {
        before_commit(&m);
        after_commit(&m);
    } else {
        steps_finish(out);
    }
    free(m.olds.p);
    free(m.news.p);
    free(m.keep);
    free(m.kept);
    return good;
}

void steps_finish(struct steps *s) {
    free(s->step);
    *s = (struct steps){0};
}

const char *step_name(enum step_kind kind) {
    static const char *const names[] = {"keep", "open", "join", "listen", "commit", "deafen", "close"};
    return names[kind];
}

bool step_text(const struct step *s, const struct plan *old, const uint16_t *old_port, const struct plan *now, struct buf *out) {
    char at[ADDR_TEXT], beside[ADDR_TEXT];
    if (s->kind == STEP_COMMIT) return buf_fmt(out, "commit: %s", s->why);
    bool mine = s->now >= 0;
    const struct plan_socket *p = mine ? &now->socket[s->now] : &old->socket[s->old];
    struct addr where = p->at;
    if (!where.port && s->old >= 0 && s->kind != STEP_JOIN) where.port = old_port[s->old];
    addr_format(&where, at);
    if (!buf_fmt(out, "%s %s (%s): ", step_name(s->kind), at, plan_scheme_text(p))) return false;
    if (s->kind != STEP_JOIN) return buf_str(out, s->why);
    where = old->socket[s->old].at;
    where.port = old_port[s->old];
    addr_format(&where, beside);
    return buf_fmt(out, "beside %s, which %s", beside, s->why);
}

bool steps_text(const struct steps *s, const struct plan *old, const uint16_t *old_port, const struct plan *now, struct buf *out) {
    bool good = true;
    for (uint32_t i = 0; good && i < s->n; i++) {
        good = buf_fmt(out, "%u. ", (unsigned)i + 1) && step_text(&s->step[i], old, old_port, now, out) && buf_str(out, "\n");
    }
    return good;
}
