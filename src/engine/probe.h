/* The self-probe: after the sockets have been bound, proof that they work. Each socket of the plan is called from within the machine, at its own
 * address (a wildcard at the loopback's): did a worker of this process take the call, as the listener planned, and does TLS show the certificate
 * planned? Who else listens there (a stranger in the same SO_REUSEPORT group takes a share of the callers) is asked of the kernel.
 *
 * A thread of its own calls at most PROBE_SLOTS at once, each for at most two seconds. Workers hand over what they accept of it (probe_table.h), so
 * no policy, counter or log sees a probe, and TLS of probes costs no worker anything. What fails is asked again after 1, 2, 4 … 60 s; a proof
 * is kept as long as socket, scheme and certificate stay the same. */
#ifndef PORTREEVE_ENGINE_PROBE_H
#define PORTREEVE_ENGINE_PROBE_H
#include "engine/engine.h"
#include "plan/proof.h"

struct probe;
struct probe *probe_start(struct engine *eng, struct err *e);
void probe_stop(struct probe *p);    /* end the thread, before the workers end; what it found stays to be looked at. NULL is legal */
void probe_destroy(struct probe *p); /* when nobody asks any more; NULL is legal */
/* Control thread. A generation is committed: its sockets are known, and not proved until probe_begin. */
void probe_generation(struct probe *p, struct generation *g);
/* Nobody else takes callers any more (WIRE_PROVE). sockets: "INDEX\n" each, to be called again though they were proved; "" = none. */
void probe_begin(struct probe *p, uint64_t generation, const char *sockets);
void probe_rest(struct probe *p); /* the engine drains: no more calls */
/* Any thread. */
/* Call every socket once more, and wait for the answers (at most 30 s). false: not all have come. Not from a worker or the control thread. */
bool probe_again(struct probe *p);
void probe_look(struct probe *p, const struct generation *g, uint32_t i, struct proof *out); /* i-th socket of g's plan */
/* Is every socket proved that can be? Else lines for people, bounded, go to out. */
bool probe_ready(struct probe *p, struct buf *out);
#endif
