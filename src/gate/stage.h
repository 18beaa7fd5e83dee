/* When a connection is judged and what may come of it: the numbers that records keep, and the words that policies, files and people use. The
 * numbers stand in the flight recorder: append, never insert. */
#ifndef PORTREEVE_GATE_STAGE_H
#define PORTREEVE_GATE_STAGE_H

enum stage { STAGE_PEER, STAGE_HELLO, STAGE_IDENTITY, STAGE_REQUEST, STAGES };
const char *stage_name(enum stage s);  /* "peer", …; "?" = unknown */
enum stage stage_of(const char *name); /* STAGES = unknown */

enum verdict_kind {
    VERDICT_ALLOW,
    VERDICT_REFUSE, /* close without a byte (G14) */
    VERDICT_RESET,  /* the same with a reset */
    VERDICT_ANSWER, /* the session starts (TLS too), gets status and text, and is closed (G15) */
    VERDICTS
};
const char *verdict_name(enum verdict_kind k);  /* "allow", …; "?" = unknown */
enum verdict_kind verdict_of(const char *name); /* VERDICTS = unknown */
#endif
