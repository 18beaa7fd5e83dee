#include "engine/backend.h"
#include "base/log.h"
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY_MS 1000

void backends_init(struct backends *b) {
    pthread_mutex_init(&b->lock, NULL);
    b->first = NULL;
}

/* Free what nobody names. */
static void sweep(struct backends *b) {
    pthread_mutex_lock(&b->lock);
    for (struct backend **at = &b->first; *at;) {
        struct backend *one = *at;
        if (atomic_load(&one->refs) > 0) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one);
    }
    pthread_mutex_unlock(&b->lock);
}

struct backend *backend_ref(struct backend *b) {
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void backend_drop(struct backend *b) {
    if (b) atomic_fetch_sub(&b->refs, 1);
}

static void set_place(struct backend *b, const struct plan_to *to) {
    plan_to_text(to, b->text, sizeof b->text);
    if (to->at.family) {
        b->size = addr_to_sockaddr(&to->at, &b->at.ip);
        return;
    }
    b->at.path.sun_family = AF_UNIX;
    memcpy(b->at.path.sun_path, to->path, strlen(to->path) + 1);
    b->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(to->path) + 1);
}

/* The entry for (listener, address), referenced; made where there is none. Only the control thread makes and frees them. */
static struct backend *take(struct backends *b, const char *listener, const struct plan_to *to) {
    struct backend fresh = {0};
    set_place(&fresh, to);
    snprintf(fresh.listener, sizeof fresh.listener, "%.*s", (int)strcspn(listener, "."), listener);
    pthread_mutex_lock(&b->lock);
    struct backend *one = b->first;
    while (one && (one->size != fresh.size || memcmp(&one->at, &fresh.at, one->size) != 0 || strcmp(one->listener, fresh.listener) != 0))
        one = one->next;
    if (!one && (one = malloc(sizeof *one))) {
        *one = fresh;
        one->next = b->first;
        b->first = one;
    }
    if (one) backend_ref(one);
    pthread_mutex_unlock(&b->lock);
    return one;
}

static int by_name(const void *a, const void *b) {
    const struct route *x = a, *y = b;
    int c = strcmp(x->plan->set, y->plan->set);
    return c ? c : strcmp(x->plan->sni, y->plan->sni);
}

bool routes_make(struct routes *r, struct backends *b, const struct plan *p, struct err *e) {
    struct plan_to to[PLAN_TO_MOST];
    unsigned n;
    sweep(b);
    if (!p->nbackends) return true;
    r->route = calloc(p->nbackends, sizeof *r->route);
    if (!r->route) return err_set(e, "out of memory for the backends");
    for (r->n = 0; r->n < p->nbackends;) {
        struct route *one = &r->route[r->n];
        one->plan = &p->backend[r->n++];
        if (!plan_to_parse(one->plan->to, to, &n, e)) return false;
        for (unsigned i = 0; i < n; i++, one->n++)
            if (!(one->to[i] = take(b, one->plan->set, &to[i]))) return err_set(e, "out of memory for the backends");
    }
    qsort(r->route, r->n, sizeof *r->route, by_name);
    return true;
}

void routes_finish(struct routes *r, struct backends *b) {
    for (uint32_t i = 0; i < r->n; i++)
        for (unsigned k = 0; k < r->route[i].n; k++) backend_drop(r->route[i].to[k]);
    free(r->route);
    *r = (struct routes){0};
    sweep(b);
}

static const struct route *find(const struct routes *r, const char *set, const char *sni) {
    for (uint32_t lo = 0, hi = r->n; lo < hi;) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(set, r->route[mid].plan->set);
        if (c == 0) c = strcmp(sni, r->route[mid].plan->sni);
        if (c == 0) return &r->route[mid];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

const struct route *routes_find(const struct routes *r, const char *set, const char *sni) {
    const struct route *found = sni[0] ? find(r, set, sni) : NULL;
    const char *parent = found ? NULL : strchr(sni, '.');
    if (parent && strlen(parent) < PLAN_SNI - 1) {
        char wild[PLAN_SNI + 1] = "*";
        strcat(wild, parent);
        found = find(r, set, wild);
    }
    return found ? found : find(r, set, "");
}

bool backend_rested(struct backend *b, int64_t now_ms) {
    int64_t until = atomic_load(&b->rest_ms);
    if (!until) return true;
    return now_ms >= until && atomic_compare_exchange_strong(&b->rest_ms, &until, now_ms + BACKEND_REST_MS);
}

void backend_reached(struct backend *b, int64_t now_ms) {
    (void)now_ms;
    atomic_fetch_add_explicit(&b->connects, 1, memory_order_relaxed);
    if (atomic_load_explicit(&b->rest_ms, memory_order_relaxed) && atomic_exchange(&b->rest_ms, 0))
        log_notice("tunnel", "backend %s of listener %s can be reached again", b->text, b->listener);
}

void backend_failed(struct backend *b, const struct plan_because *because, const char *why, int64_t now_ms) {
    atomic_fetch_add_explicit(&b->failures, 1, memory_order_relaxed);
    atomic_store(&b->rest_ms, now_ms + BACKEND_REST_MS);
    int64_t said = atomic_load(&b->said_ms);
    if ((said && now_ms - said < SAY_MS) || !atomic_compare_exchange_strong(&b->said_ms, &said, now_ms)) {
        atomic_fetch_add_explicit(&b->unsaid, 1, memory_order_relaxed);
        return;
    }
    char more[64] = "";
    uint32_t unsaid = atomic_exchange(&b->unsaid, 0);
    if (unsaid) snprintf(more, sizeof more, " (and %" PRIu32 " times more since this was last said)", unsaid);
    log_warn("tunnel", "%s:%" PRIu32 ": %s: backend %s of listener %s cannot be reached: %s%s", because->file, because->line,
             because->entry, b->text, b->listener, why, more);
}

static const struct {
    const char *name, *type, *help;
    size_t at;
} numbers[] = {
    {"backend_connects_total", "counter", "tunnels opened to a backend", offsetof(struct backend, connects)},
    {"backend_failures_total", "counter", "times a backend could not be reached", offsetof(struct backend, failures)},
    {"backend_sent_bytes_total", "counter", "bytes from callers to a backend, of tunnels that have ended",
     offsetof(struct backend, bytes_in)},
    {"backend_received_bytes_total", "counter", "bytes from a backend to callers, of tunnels that have ended",
     offsetof(struct backend, bytes_out)},
};

void backends_metrics(struct backends *b, struct buf *out) {
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; b->first && i < sizeof numbers / sizeof *numbers; i++) {
        buf_fmt(out, "# HELP portreeve_%s %s\n# TYPE portreeve_%s %s\n", numbers[i].name, numbers[i].help, numbers[i].name,
                numbers[i].type);
        for (const struct backend *one = b->first; one; one = one->next) {
            const _Atomic uint64_t *v = (const _Atomic uint64_t *)(const void *)((const char *)one + numbers[i].at);
            buf_fmt(out, "portreeve_%s{listener=\"%s\",backend=\"%s\"} %" PRIu64 "\n", numbers[i].name, one->listener, one->text,
                    atomic_load(v));
        }
    }
    if (b->first)
        buf_str(out, "# HELP portreeve_backend_up 0 where a backend could not be reached last time\n# TYPE portreeve_backend_up gauge\n");
    for (const struct backend *one = b->first; one; one = one->next)
        buf_fmt(out, "portreeve_backend_up{listener=\"%s\",backend=\"%s\"} %d\n", one->listener, one->text,
                atomic_load(&one->rest_ms) == 0);
    if (b->first) buf_str(out, "# HELP portreeve_backend_tunnels live tunnels to a backend\n# TYPE portreeve_backend_tunnels gauge\n");
    for (const struct backend *one = b->first; one; one = one->next)
        buf_fmt(out, "portreeve_backend_tunnels{listener=\"%s\",backend=\"%s\"} %u\n", one->listener, one->text, atomic_load(&one->active));
    pthread_mutex_unlock(&b->lock);
}

bool backends_json(struct backends *b, struct buf *out) {
    bool fine = buf_str(out, "[");
    pthread_mutex_lock(&b->lock);
    for (const struct backend *one = b->first; one && fine; one = one->next)
        fine = buf_fmt(out, "%s{\"listener\":\"%s\"", one == b->first ? "" : ",", one->listener) && buf_member(out, "backend", one->text) &&
               buf_fmt(out,
                       ",\"state\":\"%s\",\"active\":%u,\"connects\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"in\":%" PRIu64
                       ",\"out\":%" PRIu64 "}",
                       atomic_load(&one->rest_ms)    ? "down"
                       : atomic_load(&one->connects) ? "up"
                                                     : "unknown",
                       atomic_load(&one->active), atomic_load(&one->connects), atomic_load(&one->failures), atomic_load(&one->bytes_in),
                       atomic_load(&one->bytes_out));
    pthread_mutex_unlock(&b->lock);
    return fine && buf_str(out, "]");
}
