/* The admission policy of a bundle that is not in force, ready to be asked (`would --conf`, `check`): nobody calls, so nothing is counted.
 */
#ifndef PORTREEVE_ENGINE_BUNDLE_RULES_H
#define PORTREEVE_ENGINE_BUNDLE_RULES_H
#include "script/hooks.h"

struct bundle_rules {
    struct bundle *bundle;
    struct lists lists;
    struct policy_health health;
    struct hooks *hooks;
};
/* fd: as planner_run has written it; plan and luadir must outlive this, and it must not be moved. To be finished even where false came
 * back. */
bool bundle_rules_create(struct bundle_rules *r, int fd, const struct plan *plan, const char *luadir, struct err *e);
void bundle_rules_finish(struct bundle_rules *r);
#endif
