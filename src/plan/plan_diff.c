#include "plan/plan_diff.h"
#include "plan/plan_check.h"
#include <stdlib.h>
#include <string.h>

/* ---- one socket against another ---- */

static int by_path(const void *key, const void *file) {
    return strcmp(key, ((const struct running_file *)file)->path);
}

/* Nobody's file is equal to nobody's file. */
static bool same_file(const struct diff_input *in, const char *a, const char *b) {
    const struct running_file *x = in->old.nfiles ? bsearch(a, in->old.file, in->old.nfiles, sizeof *x, by_path) : NULL;
    const struct running_file *y = in->now.nfiles ? bsearch(b, in->now.file, in->now.nfiles, sizeof *y, by_path) : NULL;
    if (!x || !y) return !x == !y;
    return memcmp(x->hash, y->hash, sizeof x->hash) == 0;
}

static const struct plan_cert *cert_named(const struct plan *p, const char *name) {
    for (uint32_t i = 0; i < p->ncerts; i++)
        if (strcmp(p->cert[i].name, name) == 0) return &p->cert[i];
    return NULL;
}

static bool renewed(const struct diff_input *in, const char *name) {
    const struct plan_cert *a = cert_named(in->old.plan, name), *b = cert_named(in->now.plan, name);
    return a && b && (!same_file(in, a->chain, b->chain) || !same_file(in, a->key, b->key) || strcmp(a->names, b->names) != 0);
}

static bool list_differs(const struct diff_input *in, const char *name) {
    char path[BUNDLE_PATH] = "sets/"; /* its number stands for all the texts that it is made of */
    strncat(path, name, PLAN_NAME);
    return !same_file(in, path, path);
}

/* Sockets of one listener stand together and mostly share certificate and list: the last answers are remembered. */
struct memory {
    const char *cert, *list;
    bool renewed, differs;
};

static uint32_t compare(const struct diff_input *in, struct memory *m, const struct plan_socket *a, const struct plan_socket *b) {
    uint32_t f = 0;
    if (a->scheme != b->scheme) f |= DIFF_SCHEME;
    if (a->external_tls != b->external_tls) f |= DIFF_TLS_FRONT;
    if (a->scheme == SCHEME_HTTPS && b->scheme == SCHEME_HTTPS) {
        if (strcmp(a->certificate, b->certificate) != 0) f |= DIFF_CERTIFICATE;
        if (!m->cert || strcmp(m->cert, b->certificate) != 0) m->renewed = renewed(in, m->cert = b->certificate);
        if (!(f & DIFF_CERTIFICATE) && m->renewed) f |= DIFF_RENEWED;
    }
    if (a->services != b->services) f |= DIFF_SERVICES;
    bool list = strcmp(a->list, b->list) != 0 && (a->restriction != RESTRICT_NONE || b->restriction != RESTRICT_NONE);
    if (a->restriction != b->restriction || list) f |= DIFF_RESTRICTION;
    if (!(f & DIFF_RESTRICTION) && b->restriction != RESTRICT_NONE) {
        if (!m->list || strcmp(m->list, b->list) != 0) m->differs = list_differs(in, m->list = b->list);
        if (m->differs) f |= DIFF_LIST;
    }
    if (plan_limits_differ(a, b)) f |= DIFF_LIMITS;
    if (a->backlog != b->backlog) f |= DIFF_BACKLOG;
    if (strcmp(a->name, b->name) != 0) f |= DIFF_LISTENER;
    if (a->proxy_out != b->proxy_out || !plan_same_backends(in->old.plan, a->backends, in->now.plan, b->backends)) f |= DIFF_BACKENDS;
    if (a->proxy != b->proxy || a->proxy_inside != b->proxy_inside || strcmp(a->proxy_from, b->proxy_from) != 0) f |= DIFF_PROXY;
    if (a->client != b->client || (b->client != CLIENT_OFF && !same_file(in, a->client_ca, b->client_ca))) f |= DIFF_CLIENT;
    return f;
}

/* ---- live connections ---- */

/* First entry that is not before (family, port, ip) in the order of plan_by_place. */
static uint32_t live_from(const struct diff_input *in, const struct addr *at) {
    uint32_t lo = 0, hi = in->nlive;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (plan_by_place(&in->live[mid].at, at) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Connections of one address; of all addresses of the port where it is the wildcard. Scopes are not compared: an address that needs one and
 * stands on two interfaces is counted for both. */
static uint32_t live_at(const struct diff_input *in, const struct addr *at, uint16_t port) {
    struct addr from = *at;
    uint32_t n = 0;
    bool any = addr_is_any(at);
    from.port = port;
    from.scope = 0;
    for (uint32_t i = live_from(in, &from); i < in->nlive; i++) {
        const struct addr *a = &in->live[i].at;
        if (a->family != at->family || a->port != port || (!any && memcmp(a->ip, at->ip, sizeof a->ip) != 0)) break;
        n += in->live[i].n;
    }
    return n;
}

static uint16_t port_of(const struct diff_side *s, int32_t i) {
    return s->port && s->port[i] ? s->port[i] : s->plan->socket[i].at.port;
}

/* ---- items ---- */

static struct addr place_of(const struct diff_input *in, const struct diff_item *i) {
    const struct diff_side *s = i->now >= 0 ? &in->now : &in->old;
    int32_t k = i->now >= 0 ? i->now : i->old;
    struct addr at = s->plan->socket[k].at;
    at.port = i->old >= 0 ? port_of(&in->old, i->old) : port_of(s, k);
    return at;
}

struct sorted {
    struct addr at;
    struct diff_item item;
};

static int in_order(const void *a, const void *b) {
    const struct sorted *x = a, *y = b;
    int c = plan_by_place(&x->at, &y->at);
    if (c) return c;
    if (x->item.old != y->item.old) return x->item.old < y->item.old ? -1 : 1;
    return x->item.now < y->item.now ? -1 : x->item.now > y->item.now;
}

static void add_item(const struct diff_input *in, struct sorted *s, uint32_t *n, int32_t old, int32_t now, struct memory *m) {
    const struct plan_socket *a = old >= 0 ? &in->old.plan->socket[old] : NULL, *b = now >= 0 ? &in->now.plan->socket[now] : NULL;
    struct diff_item *i = &s[*n].item;
    *i = (struct diff_item){.old = old, .now = now, .swap = -1};
    if (a && b) {
        i->fields = compare(in, m, a, b);
        i->kind = i->fields ? DIFF_CHANGED : DIFF_KEPT;
    } else if (a) {
        i->kind = a->waiting ? DIFF_UNWAITS : DIFF_CLOSED;
    } else {
        i->kind = b->waiting ? DIFF_WAITS : DIFF_OPENED;
    }
    if (a && !a->waiting) i->live = live_at(in, &a->at, port_of(&in->old, old));
    s[*n].at = place_of(in, i);
    ++*n;
}

/* A socket whose address came or went is one change, not two: its neighbours in order of place are an old item and a new one. */
static void pair_waiting(const struct diff_input *in, struct sorted *s, uint32_t *n) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < *n; i++) {
        struct diff_item *x = &s[i].item, *y = i + 1 < *n ? &s[i + 1].item : NULL;
        bool pair = y && ((x->old >= 0) != (y->old >= 0)) && (x->now >= 0) != (y->now >= 0) && plan_by_place(&s[i].at, &s[i + 1].at) == 0;
        if (pair) {
            struct diff_item both = {.old = x->old >= 0 ? x->old : y->old, .now = x->now >= 0 ? x->now : y->now, .swap = -1};
            both.kind = in->now.plan->socket[both.now].waiting ? DIFF_CLOSED : DIFF_OPENED;
            both.live = x->live + y->live;
            s[out] = s[i++];
            s[out++].item = both;
        } else {
            s[out++] = s[i];
        }
    }
    *n = out;
}

static bool make_items(const struct diff_input *in, struct plan_diff *d, const int32_t *keep, const bool *used) {
    uint32_t n = 0;
    struct sorted *s = calloc((size_t)in->old.plan->nsockets + in->now.plan->nsockets + 1, sizeof *s);
    struct memory m = {0};
    if (!s) return false;
    for (uint32_t i = 0; i < in->now.plan->nsockets; i++) add_item(in, s, &n, keep[i], (int32_t)i, &m);
    for (uint32_t i = 0; i < in->old.plan->nsockets; i++)
        if (!used[i]) add_item(in, s, &n, (int32_t)i, -1, &m);
    qsort(s, n, sizeof *s, in_order);
    pair_waiting(in, s, &n);
    d->item = calloc(n ? n : 1, sizeof *d->item);
    for (uint32_t i = 0; d->item && i < n; i++) {
        d->item[i] = s[i].item;
        d->count[s[i].item.kind]++;
        d->n++;
    }
    free(s);
    return d->item != NULL;
}

/* ---- wildcards and the addresses they stand for ---- */

static struct diff_reach *add_reach(struct plan_diff *d, uint32_t *cap) {
    if (d->nreach == *cap) {
        uint32_t more = *cap ? *cap * 2 : 64;
        struct diff_reach *r = reallocarray(d->reach, more, sizeof *r);
        if (!r) return NULL;
        d->reach = r;
        *cap = more;
    }
    return &d->reach[d->nreach++];
}

static int reach_order(const void *a, const void *b) {
    const struct diff_reach *x = a, *y = b;
    return plan_by_place(&x->at, &y->at);
}

/* Sort and make one of what is there twice; a side that one of them knows is known. */
static void unite(struct plan_diff *d, struct diff_swap *s) {
    uint32_t out = s->first;
    qsort(d->reach + s->first, d->nreach - s->first, sizeof *d->reach, reach_order);
    for (uint32_t i = s->first; i < d->nreach; i++) {
        struct diff_reach *r = &d->reach[i], *last = out > s->first ? &d->reach[out - 1] : NULL;
        if (last && plan_by_place(&last->at, &r->at) == 0) {
            if (r->old >= 0) last->old = r->old;
            if (r->now >= 0) last->now = r->now;
        } else {
            d->reach[out++] = *r;
        }
    }
    d->nreach = out;
    s->n = out - s->first;
}

/* The items first … last share family and port; `wild` is the wildcard among them. */
static bool make_swap(const struct diff_input *in, struct plan_diff *d, uint32_t first, uint32_t last, uint32_t wild, uint32_t *cap) {
    const struct diff_item *w = &d->item[wild];
    struct addr at = place_of(in, w);
    bool opens = w->kind == DIFF_OPENED;
    struct diff_swap *more = reallocarray(d->swap, d->nswaps + 1, sizeof *more), *s;
    struct memory m = {0};
    if (!more) return false;
    d->swap = more;
    s = &more[d->nswaps++];
    *s = (struct diff_swap){.family = at.family, .udp = at.udp, .to_wildcard = opens, .port = at.port, .first = d->nreach};
    for (uint32_t i = first; i <= last; i++) {
        struct diff_item *x = &d->item[i];
        if (x->kind != DIFF_OPENED && x->kind != DIFF_CLOSED) continue;
        x->swap = (int32_t)d->nswaps - 1;
        struct diff_reach *r = i == wild ? NULL : add_reach(d, cap);
        if (i != wild && !r) return false;
        if (r)
            *r = (struct diff_reach){
                .at = place_of(in, x), .old = x->kind == DIFF_CLOSED ? x->old : -1, .now = x->kind == DIFF_OPENED ? x->now : -1};
    }
    for (uint32_t i = 0; i < in->nhost; i++) {
        if (in->host[i].family != at.family) continue;
        struct diff_reach *r = add_reach(d, cap);
        if (!r) return false;
        *r = (struct diff_reach){.at = in->host[i], .old = -1, .now = -1};
        r->at.port = at.port;
        r->at.udp = at.udp;
    }
    unite(d, s);
    for (uint32_t i = s->first; i < s->first + s->n; i++) {
        struct diff_reach *r = &d->reach[i];
        if (opens) r->now = w->now;
        else r->old = w->old;
        r->live = r->old >= 0 ? live_at(in, &r->at, r->at.port) : 0;
        if (r->old >= 0 && r->now >= 0) r->fields = compare(in, &m, &in->old.plan->socket[r->old], &in->now.plan->socket[r->now]);
    }
    return true;
}

static bool make_swaps(const struct diff_input *in, struct plan_diff *d) {
    uint32_t cap = 0;
    bool good = true;
    for (uint32_t i = 0, last; good && i < d->n; i = last + 1) {
        struct addr at = place_of(in, &d->item[i]);
        uint32_t opened = 0, closed = 0, wild = UINT32_MAX;
        for (last = i; last < d->n; last++) {
            struct addr x = place_of(in, &d->item[last]);
            if (x.family != at.family || x.udp != at.udp || x.port != at.port) break;
            enum diff_kind k = d->item[last].kind;
            if (k != DIFF_OPENED && k != DIFF_CLOSED) continue;
            if (addr_is_any(&x)) wild = last;
            else if (k == DIFF_OPENED) opened++;
            else closed++;
        }
        last--;
        if (at.port == 0 || wild == UINT32_MAX) continue;
        bool opens = d->item[wild].kind == DIFF_OPENED;
        if ((opens && closed) || (!opens && opened)) good = make_swap(in, d, i, last, wild, &cap);
    }
    return good;
}

static uint32_t services_of(const struct plan *p) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (!p->socket[i].waiting) all |= p->socket[i].services;
    return all;
}

bool plan_diff_make(const struct diff_input *in, struct plan_diff *out, struct err *e) {
    uint32_t nold = in->old.plan->nsockets, nnow = in->now.plan->nsockets;
    int32_t *keep = calloc(nnow ? nnow : 1, sizeof *keep);
    bool *used = calloc(nold ? nold : 1, sizeof *used);
    memset(out, 0, sizeof *out);
    bool good = keep && used && plan_match(in->old.plan, in->old.port, in->now.plan, keep, used) && make_items(in, out, keep, used) &&
                make_swaps(in, out);
    free(keep);
    free(used);
    if (good) {
        uint32_t before = services_of(in->old.plan), after = services_of(in->now.plan);
        out->lost = before & ~after;
        out->gained = after & ~before;
        return true;
    }
    plan_diff_finish(out);
    return err_set(e, "out of memory for comparing two plans");
}

void plan_diff_finish(struct plan_diff *d) {
    free(d->item);
    free(d->swap);
    free(d->reach);
    memset(d, 0, sizeof *d);
}

/* ---- what differs beside the sockets ---- */

bool plan_diff_setting(const struct diff_input *in, uint32_t *at, struct diff_setting *out) {
    struct plan_settings a = in->old.plan->set, b = in->now.plan->set;
    for (; plan_setting_defs[*at].field; ++*at) {
        const struct plan_setting_def *d = &plan_setting_defs[*at];
        *out = (struct diff_setting){.def = d, .old = *plan_setting(&a, d->field), .now = *plan_setting(&b, d->field)};
        if (out->old == out->now) continue;
        ++*at;
        return true;
    }
    return false;
}

bool plan_diff_file(const struct diff_input *in, uint32_t at[2], const char **path, const char **what) {
    while (at[0] < in->old.nfiles || at[1] < in->now.nfiles) {
        const struct running_file *x = at[0] < in->old.nfiles ? &in->old.file[at[0]] : NULL;
        const struct running_file *y = at[1] < in->now.nfiles ? &in->now.file[at[1]] : NULL;
        int c = !x ? 1 : !y ? -1 : strcmp(x->path, y->path);
        if (c <= 0) at[0]++;
        if (c >= 0) at[1]++;
        if (c == 0 && memcmp(x->hash, y->hash, sizeof x->hash) == 0) continue;
        if (strncmp(c <= 0 ? x->path : y->path, "sets/", 5) == 0) continue; /* made of files that are compared themselves */
        *path = c <= 0 ? x->path : y->path;
        *what = c == 0 ? "changed" : c < 0 ? "gone" : "new";
        return true;
    }
    return false;
}

bool plan_diff_same(const struct diff_input *in, const struct plan_diff *d) {
    uint32_t at = 0, files[2] = {0, 0};
    struct diff_setting s;
    const char *path, *what;
    return d->count[DIFF_KEPT] == d->n && !plan_diff_setting(in, &at, &s) && !plan_diff_file(in, files, &path, &what) &&
           strcmp(in->old.plan->components, in->now.plan->components) == 0;
}
