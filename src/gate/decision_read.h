/* A line of decisions.log, read back. */
#ifndef PORTREEVE_GATE_DECISION_READ_H
#define PORTREEVE_GATE_DECISION_READ_H
#include "gate/decision.h"

/* What decision_json has written into a line (NUL-terminated, without the newline). It is cut up: the texts of *out stand in it. What
 * stands in `because` and `tags`, id, generation, limits and rates are left out. false: this is no decision, or not one of this program's.
 */
bool decision_read(char *line, struct decision *out);

/* Is this line whole, with the fields that decision_json always writes, each of its kind? So what a crash has torn, or somebody has been at, spoils
 * nothing that others are put into. */
bool decision_line(const char *line);
#endif
