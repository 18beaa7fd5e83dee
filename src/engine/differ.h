/* The plan that has just been made beside the running one: collects what plan_diff wants to know of this machine. */
#ifndef PORTREEVE_ENGINE_DIFFER_H
#define PORTREEVE_ENGINE_DIFFER_H
#include "engine/beside.h"
#include "plan/plan_diff.h"

struct differ {
    struct diff_input in;
    struct plan_diff diff;
    bool others;                   /* the server reads other folders than these (beside.h): then it is named by them */
    char who[BESIDE_FOLDERS + 80]; /* "generation 3 (pid 4711)", "generation 3 (pid 4711, which reads /etc/portreeve)" */
    uint16_t *port;
    struct running_file *file;
    struct addr *host;
    struct diff_live *live;
};

/* p has run, with its bundle in bundle_fd; both must outlive the differ. */
bool differ_make(const struct planner *p, int bundle_fd, const struct running *r, struct differ *out, struct err *e);
void differ_finish(struct differ *d);
/* Where the server reads other folders than p does, say so on standard error. */
void differ_note(const struct planner *p, const struct running *r);
#endif
