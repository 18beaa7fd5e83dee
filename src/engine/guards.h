/* Guards: a ban or a reload that would shut out the machine itself (127.0.0.1, ::1), a recent administrator of the hub or a member of
 * lists/cluster.list is refused unless it is forced; the words name who would be shut out, and by which line (shutout.h). */
#ifndef PORTREEVE_ENGINE_GUARDS_H
#define PORTREEVE_ENGINE_GUARDS_H
#include "engine/generation.h"

/* Whom a ban of lo..hi would shut out. true: nobody of these. Any thread. */
bool guards_ban(struct engine *eng, const struct addr *lo, const struct addr *hi, struct err *e);

/* Control: g has been prepared and its hooks belong to no worker yet. Whom g would shut out that old lets in is refused. */
bool guards_reload(struct engine *eng, struct generation *g, const struct generation *old, struct err *e);

/* Control: the same about a generation of which there is no more than plan and bundle (their descriptors stay the caller's), beside the one in force.
 * Returns whether guards_reload would refuse it. *words: why, in its words; else lines of warnings for people, or "". forced: whom it shuts out is
 * such a warning. */
bool guards_rehearse(struct engine *eng, int plan_fd, int bundle_fd, bool forced, struct err *words);
#endif
