/* A generation as the supervisor holds it: bundle and plan bytes, and the listening sockets. Sockets of one address form a `held`
 * group that generations share; what a new generation adds to a shared group belongs to it alone until it is committed. */
#ifndef PORTREEVE_SUPER_HOLDER_H
#define PORTREEVE_SUPER_HOLDER_H
#include "plan/plan.h"
#include "plan/proof.h"
#include "plan/steps.h"
#include "super/adopt.h"

struct held;
struct held_retired;
struct generation {
    uint64_t number;
    int bundle_fd, plan_fd; /* sealed memfds */
    struct plan plan;
    unsigned workers;
    struct held **held;  /* one per plan socket; NULL where it waits for its address */
    struct proof *proof; /* one per plan socket: what the engine's self-probe found */
    struct steps steps;  /* from the generation before to this one, until it is committed */
    bool committed;
    bool forced; /* whomever it shuts out: the engine's guards are not asked */
};

/* Decode and check the plan again (the planner ran policies; its word is not taken). Takes both fds on success only. */
struct generation *generation_create(int bundle_fd, int plan_fd, struct err *e);
/* Plan the steps from `old` (NULL = none) and take those before the offer: keep, adopt, bind. false with e: "FILE:LINE: ENTRY: cannot
 * bind …". The caller then destroys g, and old is as before: nothing new has taken a caller. *taken: the refusal was a taken port. */
bool generation_bind(struct generation *g, const struct generation *old, struct adopted *a, const struct held_retired *retired, bool *taken,
                     struct err *e);
/* After a refusal: was it an address that the planner saw, and that has gone (again) since? */
bool generation_gone(const struct generation *g);
/* The steps right before COMMIT: let the new sockets take callers. */
bool generation_listen(struct generation *g, struct err *e);
/* Send GEN_BEGIN, GEN_KEPT…, GEN_SOCKETS…, GEN_END. base: what the engine serves, NULL = nothing; of it only what is new is sent. */
bool generation_offer(const struct generation *g, const struct generation *base, int link, struct err *e);
/* Mark g's groups with its number and their places: afterwards a group is g's exactly if its mark is that number. */
void generation_mark(const struct generation *g);
/* The steps after COMMITTED: `old` is replaced by g; its sockets that g has not kept take no new callers from now on. */
void generation_retire(struct generation *old, const struct generation *g, struct held_retired *retired);
void generation_commit(struct generation *g);  /* from now on its additions stay when it goes */
void generation_destroy(struct generation *g); /* NULL is legal; closes what no other generation holds */
/* Ports really bound, one per plan socket; malloc'ed, NULL on ENOMEM. */
uint16_t *generation_ports(const struct generation *g);
/* Text for people: "3 sockets kept, 1 opened, 1 closed", then a line for each opened and closed one. old may be NULL. */
bool generation_changes(const struct generation *g, const struct generation *old, struct buf *out);
/* One line per held socket (control command `sockets`). */
bool generation_sockets(const struct generation *g, struct buf *out);
#endif
