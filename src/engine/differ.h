/* The plan that has just been made beside the running one: collects what plan_diff wants to know of this machine. */
#ifndef PORTREEVE_ENGINE_DIFFER_H
#define PORTREEVE_ENGINE_DIFFER_H
#include "engine/planner.h"
#include "plan/plan_diff.h"

struct differ {
    struct diff_input in;
    struct plan_diff diff;
    char who[80]; /* "generation 3 (pid 4711)" */
    uint16_t *port;
    struct running_file *file;
    struct addr *host;
    struct diff_live *live;
};

/* p has run, with its bundle in bundle_fd; both must outlive the differ. */
bool differ_make(const struct planner *p, int bundle_fd, const struct running *r, struct differ *out, struct err *e);
void differ_finish(struct differ *d);
/* Where the server reads another folder than p does, say so on standard error. */
void differ_note(const struct planner *p, const struct running *r);
#endif
