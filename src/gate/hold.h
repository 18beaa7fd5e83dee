/* Locks in memory that outlives engines. Each says which engine holds it, by a number that is never given twice in a run: an engine that was
 * killed inside holds nothing once the supervisor has reaped it. What a lock guards must be sound after every single store.
 * Held for some dozen instructions; whoever waits spins, then gives the processor away. */
#ifndef PORTREEVE_GATE_HOLD_H
#define PORTREEVE_GATE_HOLD_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hold_roll {              /* of living engines; in the same memory as the locks */
    _Atomic uint32_t numbered;  /* engines so far */
    _Atomic uint32_t living[2]; /* by instance; 0 = none */
};
struct hold {
    _Atomic uint32_t by; /* 0 = free */
};
/* An engine's way to the locks: its own number, and who lives. */
struct holder_id {
    const struct hold_roll *roll;
    uint32_t me; /* not 0 */
};

void hold_take(struct hold *h, struct holder_id id);
void hold_give(struct hold *h);
/* Supervisor: an engine is about to be started in this slot; its number. And: the one in it is reaped. */
uint32_t hold_begins(struct hold_roll *r, unsigned instance);
void hold_ended(struct hold_roll *r, unsigned instance);
#endif
