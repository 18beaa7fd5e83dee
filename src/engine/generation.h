/* A generation: bundle, checked plan, certificates, lists, and one set of Lua hooks per worker. Built on the control thread beside the living
 * one; immutable once committed but for the hooks, each of which belongs to its worker. Freed when the last reference goes. */
#ifndef PORTREEVE_ENGINE_GENERATION_H
#define PORTREEVE_ENGINE_GENERATION_H
#include "engine/backend.h"
#include "engine/engine.h"
#include "net/tls.h"
#include "plan/bundle.h"
#include "plan/wire.h"
#include "script/hooks.h"

struct gen_listener { /* one socket of the plan */
    const struct plan_socket *plan;
    uint16_t port;         /* really bound */
    uint16_t id;           /* of its name, for live counts */
    uint64_t key;          /* of its name, for rates */
    uint8_t asks;          /* bit s: the policy has a rule for this listener at stage s */
    bool counts_in_lua;    /* there is a Lua rule at the peer stage */
    bool asks_tls;         /* a Lua rule may want to know about the TLS of its connections */
    uint64_t inode;        /* of the first worker's socket: tells which listener of another generation is the same */
    unsigned first, count; /* its descriptors in generation.socket; none where it waits for its address */
};
struct acceptor;
struct gen_socket { /* one descriptor for one worker; owned by the generation until the worker takes it */
    uint32_t listener, worker;
    uint64_t inode;
    int fd;                    /* -1 = taken, or closed as a duplicate of one the worker already has */
    struct acceptor *acceptor; /* the worker's own, from when it has adopted this generation until the next one is committed */
};
struct generation {
    _Atomic int refs;
    struct engine *eng;
    struct generation *next_dead;
    uint64_t id;
    int64_t made_ms;
    struct bundle *bundle;
    struct plan plan;
    struct tls_certs *certs;
    struct token_ring *ring; /* STATE/keys/tracker.keys as it was when this generation was made */
    struct lists lists;
    struct routes routes;        /* of its tunnels */
    struct policy_health health; /* of its admission policy */
    struct h1_limits limits;
    struct gen_listener *listener; /* plan.nsockets of them */
    uint32_t *by_inode;            /* hash of the listeners' inodes: place + 1, 0 = free; inode_slots of them, a power of two */
    uint32_t inode_slots;
    struct gen_socket *socket;
    unsigned nsockets, socket_room;
    unsigned nworkers, nhooks;
    struct hooks **hooks; /* by worker */
};

/* Assemble from what came over the wire: fds are the plan and bundle memfds (stay the caller's). */
struct generation *generation_create(struct engine *eng, uint64_t id, int plan_fd, int bundle_fd, unsigned nworkers, struct err *e);
/* The sockets that k names are those of base, the living generation, and stay where they are. */
bool generation_keep(struct generation *g, const struct generation *base, const struct wire_kept *k, struct err *e);
/* Take over n descriptors described by w. On false they are closed. */
bool generation_sockets(struct generation *g, const struct wire_socket *w, const int *fds, unsigned n, struct err *e);
/* Everything that can fail: certificates, lists, policies compiled, hooks for every worker. */
bool generation_prepare(struct generation *g, struct engine *eng, struct err *e);
struct generation *generation_ref(struct generation *g);
/* NULL is legal. The last reference may go on a worker, where closing Lua states would hold up connections: what is dead is only put aside,
 * and generation_bury, on the control thread, frees it. */
void generation_unref(struct generation *g);
void generation_bury(struct engine *eng);
/* The listener of g that is the same socket as one of another generation, or NULL. */
struct gen_listener *generation_same(struct generation *g, const struct gen_listener *old);
#endif
