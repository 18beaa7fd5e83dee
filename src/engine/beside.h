/* A command's files beside the server that runs with the state folder: does that server read these very folders, and whom would its guards find shut
 * out by what these files make (shutout.h)? `check` and `plan --diff` ask. */
#ifndef PORTREEVE_ENGINE_BESIDE_H
#define PORTREEVE_ENGINE_BESIDE_H
#include "engine/bundle_rules.h"
#include "engine/planner.h"
#include "plan/running.h"

/* p has run. Does r, the server that runs, read other folders than p did? One folder may have several names: what counts is device and inode. */
bool beside_others(const struct planner *p, const struct running *r);
/* "/etc/portreeve", "/etc/portreeve and the policies of /srv/policies": the folders that r reads, and those that p has read. */
#define BESIDE_FOLDERS (2 * RUNNING_PATH + 32)
void beside_folders(const struct running *r, char *out, size_t cap);
void beside_own(const struct planner *p, char *out, size_t cap);

enum spared {
    SPARED,   /* nobody is shut out, as far as was asked: *partly is NULL, or says what was not */
    SHUT_OUT, /* e: who, of what, and by which line */
    NOT_ASKED /* e: why. Where the server has gone meanwhile it is SPARED */
};
/* next: the rules that p has made, for p->plan. */
enum spared beside_guards(const struct planner *p, const struct bundle_rules *next, const struct running *r, const char **partly,
                          struct err *e);
#endif
