/* What the self-probe found of one socket of the plan: made by the engine, kept and shown by the supervisor, so both speak this form. */
#ifndef PORTREEVE_PLAN_PROOF_H
#define PORTREEVE_PLAN_PROOF_H
#include "base/buf.h"
#include <stdint.h>

#define PROOF_TEXT  200
#define PROOF_WORDS (PROOF_TEXT + 64)

enum proof_state {
    PROOF_PROBING, /* not asked yet, or the answer is awaited */
    PROOF_PROVED,  /* this process answered, with the scheme and certificate planned */
    PROOF_FAILED,  /* it did not; text says why; asked again with growing pauses */
    PROOF_WAITING, /* nobody can call it now: its address is not on this machine */
    PROOF_NONE,    /* not the engine's to prove */
    PROOF_STATES
};
struct proof {
    enum proof_state state;
    uint32_t us;           /* how long the answer took */
    int64_t at_ms;         /* real time of the last answer; 0 = none yet */
    char text[PROOF_TEXT]; /* one line: why it failed, or what answered */
};

const char *proof_name(enum proof_state s); /* "probing" "proved" "failed" "waiting" "none" */
/* "proved in 0.41 ms (https, TLSv1.3, certificate default)", "not proved: refused". */
void proof_words(const struct proof *p, char out[PROOF_WORDS]);
/* "probe":"proved","probe_us":412,"probe_at_ms":…,"probe_text":"…" (no braces). */
bool proof_json(const struct proof *p, struct buf *out);
/* Payload of WIRE_PROOFS, below its blank line: one line a socket. */
bool proof_put(struct buf *out, uint32_t index, const struct proof *p);
/* Read the line at *at and move on to the next. false: there is none, or it is not understood (then *at is NULL). */
bool proof_take(const char **at, uint32_t *index, struct proof *out);
#endif
