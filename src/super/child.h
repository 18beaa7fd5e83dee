/* Starting a child: its descriptors, its user, its limits. */
#ifndef PORTREEVE_SUPER_CHILD_H
#define PORTREEVE_SUPER_CHILD_H
#include "super/account.h"

struct child_spec {
    int program;      /* O_PATH descriptor of what is executed */
    const char *path; /* where it lay, for messages */
    char *const *argv;
    int out, err; /* become 1 and 2 (same number: inherited); 0 is always /dev/null */
    int fd[4];    /* become 3, 4, 5, 6 */
    unsigned nfds;
    bool planner_limits;      /* processor time, address space, no core: ARCHITECTURE.md */
    const struct account *as; /* become this user before exec; NULL = stay */
};

/* Fork and exec; a failed exec is reported here, not as a dead child. Returns the pid or -1 with e. */
pid_t child_spawn(const struct child_spec *s, struct err *e);
/* "exit status 3", "signal 9 (Killed)". */
void child_status_text(int status, char *out, size_t cap);
#endif
