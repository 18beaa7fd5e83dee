#include "engine/generation.h"
#include "base/clock.h"
#include "base/log.h"
#include "gate/hash.h"
#include "plan/plan_check.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t inode_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static bool read_plan(struct generation *g, int fd, struct err *e) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size <= 0) return err_set(e, "the plan cannot be read");
    char *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED) return err_set(e, "the plan cannot be mapped");
    bool fine = plan_decode(text, (size_t)st.st_size, &g->plan, e) && plan_check(&g->plan, e);
    munmap(text, (size_t)st.st_size);
    return fine;
}

struct generation *generation_create(struct engine *eng, uint64_t id, int plan_fd, int bundle_fd, unsigned nworkers, struct err *e) {
    struct generation *g = calloc(1, sizeof *g);
    if (!g) return (void)err_set(e, "out of memory"), NULL;
    g->refs = 1;
    g->eng = eng;
    g->id = id;
    g->made_ms = clock_real_ms();
    g->nworkers = nworkers;
    bool fine = read_plan(g, plan_fd, e) && (g->bundle = bundle_map(bundle_fd, e));
    if (fine) {
        g->listener = calloc(g->plan.nsockets ? g->plan.nsockets : 1, sizeof *g->listener);
        fine = g->listener || err_set(e, "out of memory");
    }
    if (!fine) {
        generation_unref(g);
        return NULL;
    }
    for (uint32_t i = 0; i < g->plan.nsockets; i++) g->listener[i].plan = &g->plan.socket[i];
    const struct plan_settings *s = &g->plan.set;
    g->limits = (struct h1_limits){.max_line = (uint32_t)s->max_line,
                                   .max_head = (uint32_t)s->max_head,
                                   .max_fields = (uint32_t)s->max_fields,
                                   .max_body = s->max_body};
    return g;
}

static bool make_room(struct generation *g, unsigned n, struct err *e) {
    unsigned room = g->socket_room ? g->socket_room : g->plan.nsockets;
    while (room < g->nsockets + n) room *= 2;
    struct gen_socket *more = room == g->socket_room ? g->socket : reallocarray(g->socket, room, sizeof *more);
    if (!more) return err_set(e, "out of memory for %u sockets", room);
    g->socket = more;
    g->socket_room = room;
    return true;
}

/* All descriptors of a listener come one behind the other. */
static bool add_socket(struct generation *g, struct gen_socket s) {
    struct gen_listener *l = &g->listener[s.listener];
    if (!l->count) l->first = g->nsockets;
    if (l->first + l->count != g->nsockets) return false;
    l->count++;
    if (!l->inode) l->inode = s.inode;
    g->socket[g->nsockets++] = s;
    return true;
}

bool generation_sockets(struct generation *g, const struct wire_socket *w, const int *fds, unsigned n, struct err *e) {
    bool fine = make_room(g, n, e);
    for (unsigned i = 0; i < n; i++) {
        struct gen_socket s = {.listener = w[i].index, .worker = w[i].worker, .fd = fds[i]};
        bool known = fine && s.listener < g->plan.nsockets && s.worker < g->nworkers;
        if (known) {
            g->listener[s.listener].port = w[i].port;
            s.inode = inode_of(s.fd);
            known = add_socket(g, s);
        }
        if (!known) close(s.fd);
        if (fine && !known) fine = err_set(e, "the supervisor sent sockets that the plan does not hold");
    }
    return fine;
}

static bool keep_one(struct generation *g, uint32_t index, const struct gen_listener *old, const struct gen_socket *socket) {
    struct gen_listener *l = &g->listener[index];
    if (l->count || !old->count) return false;
    l->port = old->port;
    for (unsigned i = 0; i < old->count; i++) {
        struct gen_socket s = socket[old->first + i];
        s.listener = index;
        s.fd = -1;
        if (s.worker >= g->nworkers || !s.acceptor || !add_socket(g, s)) return false;
    }
    l->inode = old->inode;
    return true;
}

bool generation_keep(struct generation *g, const struct generation *base, const struct wire_kept *k, struct err *e) {
    bool fine = k->index < g->plan.nsockets && k->count <= g->plan.nsockets - k->index && k->old < base->plan.nsockets &&
                k->count <= base->plan.nsockets - k->old;
    for (uint32_t i = 0; fine && i < k->count; i++) {
        const struct gen_listener *old = &base->listener[k->old + i];
        if (!make_room(g, old->count, e)) return false;
        fine = keep_one(g, k->index + i, old, base->socket);
    }
    return fine || err_set(e, "the supervisor counts on sockets that this engine does not hold: restart it");
}

static uint32_t slot_of(const struct generation *g, uint64_t inode) {
    return (uint32_t)((inode * 0x9e3779b97f4a7c15u) >> 32) & (g->inode_slots - 1);
}

static bool index_inodes(struct generation *g, struct err *e) {
    g->inode_slots = 16;
    while (g->inode_slots < g->plan.nsockets * 2) g->inode_slots *= 2;
    g->by_inode = calloc(g->inode_slots, sizeof *g->by_inode);
    if (!g->by_inode) return err_set(e, "out of memory");
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        if (!g->listener[i].inode) continue;
        uint32_t at = slot_of(g, g->listener[i].inode);
        while (g->by_inode[at]) at = (at + 1) & (g->inode_slots - 1);
        g->by_inode[at] = i + 1;
    }
    return true;
}

/* The sets lie in the bundle and are shared as they are; nothing is read here. */
static bool load_lists(struct generation *g, struct err *e) {
    for (unsigned i = 0; i < bundle_count(g->bundle); i++) {
        const struct bundle_file *f = bundle_at(g->bundle, i);
        if (strncmp(f->path, "sets/", 5) != 0) continue;
        const struct pset *set = pset_check(bundle_text(g->bundle, f), f->size, f->display, e);
        if (!set || !lists_add(&g->lists, f->path + 5, set, e)) return false;
    }
    static const char *const always[] = {"denied", "clients", "cluster", "admin",
                                         "components"}; /* policies may ask for them without looking */
    for (unsigned i = 0; i < sizeof always / sizeof *always; i++)
        if (!lists_find(&g->lists, always[i])) return err_set(e, "the bundle holds no address list \"%s\"", always[i]);
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        const struct plan_socket *s = &g->plan.socket[i];
        if (s->restriction != RESTRICT_NONE && !lists_find(&g->lists, s->list))
            return err_at(e, s->because.file, s->because.line, "%s: there is no address list '%s'", s->because.entry, s->list);
        if (s->proxy && !lists_find(&g->lists, s->proxy_from))
            return err_at(e, s->because.file, s->because.line, "%s: there is no address list '%s' (ProxyFrom)", s->because.entry,
                          s->proxy_from);
    }
    struct generation *before = engine_current(g->eng);
    if (before) lists_carry(&g->lists, &before->lists);
    generation_unref(before);
    return true;
}

static void warn(void *ctx, const char *text) {
    (void)ctx;
    log_warn("certificate", "%s", text);
}

/* A ring is made at the very first start. Later a fresh one would be the end of every link that was ever sent: a reload is refused, and so is an
 * engine that is to take over from one which has the old; an engine that has nothing else says it as loudly as it can. */
static bool load_keys(struct generation *g, struct engine *eng, struct err *e) {
    char keys[512];
    enum token_ring_is is = token_ring_at(eng->state_dir, keys, sizeof keys);
    struct generation *before = engine_current(eng);
    bool first = before == NULL && !eng->beside;
    generation_unref(before);
    if (is != RING_THERE && !first)
        return err_set(
            e,
            "%s: the file with the tracking keys is gone; put it back from the backup, for without it every link that was sent is "
            "dead. Those that were read before are in use until the engine ends",
            keys);
    if (is == RING_GONE)
        log_error(
            "keys",
            "%s WAS MISSING though this server has been in use, and has been made anew: no link that was sent before is known any more. Put "
            "the old file back from the backup, then `portreeve reload`",
            keys);
    g->ring = token_ring_load(keys, first, e);
    return g->ring != NULL;
}

bool generation_prepare(struct generation *g, struct engine *eng, struct err *e) {
    for (uint32_t i = 0; i < g->plan.nsockets; i++) {
        int id = engine_listener_id(eng, g->plan.socket[i].name);
        if (id < 0) return err_set(e, "more than %u listener names since the engine started: restart it", LIVE_LISTENERS);
        g->listener[i].id = (uint16_t)id;
        g->listener[i].key = hash_text(eng->counters->hash_key, g->plan.socket[i].name);
    }
    if (!index_inodes(g, e) || !load_lists(g, e)) return false;
    g->certs = tls_certs_load(&g->plan, g->bundle, warn, NULL, e);
    if (!g->certs) return false;
    if (!load_keys(g, eng, e) || !routes_make(&g->routes, &eng->backends, &g->plan, e)) return false;
    struct hooks_config cfg = {
        .bundle = g->bundle, .plan = &g->plan, .lists = &g->lists, .ring = g->ring, .luadir = eng->luadir, .health = &g->health};
    /* A generation with fewer workers than the engine runs: the others keep their connections, so they need its policies too. */
    g->nhooks = g->nworkers > eng->nworkers ? g->nworkers : eng->nworkers;
    g->hooks = calloc(g->nhooks, sizeof(struct hooks *));
    if (!g->hooks) return err_set(e, "out of memory");
    for (unsigned i = 0; i < g->nhooks; i++)
        if (!(g->hooks[i] = hooks_create(&cfg, e))) return false;
    for (uint32_t i = 0; g->nhooks && i < g->plan.nsockets; i++) {
        g->listener[i].asks = rules_asks(hooks_rules(g->hooks[0]), &g->plan.socket[i], false);
        g->listener[i].counts_in_lua = rules_asks(hooks_rules(g->hooks[0]), &g->plan.socket[i], true) & 1u << STAGE_PEER;
        g->listener[i].asks_tls = rules_asks(hooks_rules(g->hooks[0]), &g->plan.socket[i], true) >> STAGE_HELLO != 0;
    }
    return true;
}

struct generation *generation_ref(struct generation *g) {
    if (g) atomic_fetch_add(&g->refs, 1);
    return g;
}

void generation_unref(struct generation *g) {
    if (!g || atomic_fetch_sub(&g->refs, 1) != 1) return;
    pthread_mutex_lock(&g->eng->lock);
    g->next_dead = g->eng->dead;
    g->eng->dead = g;
    pthread_mutex_unlock(&g->eng->lock);
}

static void destroy(struct generation *g) {
    for (unsigned i = 0; i < g->nsockets; i++)
        if (g->socket[i].fd >= 0) close(g->socket[i].fd);
    for (unsigned i = 0; g->hooks && i < g->nhooks; i++) hooks_destroy(g->hooks[i]);
    free(g->hooks);
    free(g->socket);
    free(g->by_inode);
    free(g->listener);
    routes_finish(&g->routes, &g->eng->backends);
    lists_finish(&g->lists);
    tls_certs_free(g->certs);
    token_ring_free(g->ring);
    plan_finish(&g->plan);
    bundle_unmap(g->bundle);
    free(g);
}

void generation_bury(struct engine *eng) {
    pthread_mutex_lock(&eng->lock);
    struct generation *g = eng->dead;
    eng->dead = NULL;
    pthread_mutex_unlock(&eng->lock);
    while (g) {
        struct generation *next = g->next_dead;
        destroy(g);
        g = next;
    }
}

struct gen_listener *generation_same(struct generation *g, const struct gen_listener *old) {
    if (!old->inode) return NULL;
    for (uint32_t at = slot_of(g, old->inode); g->by_inode[at]; at = (at + 1) & (g->inode_slots - 1))
        if (g->listener[g->by_inode[at] - 1].inode == old->inode) return &g->listener[g->by_inode[at] - 1];
    return NULL;
}
