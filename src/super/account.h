/* The user that planner and engine run as, and the capabilities that stay with whom. */
#ifndef PORTREEVE_SUPER_ACCOUNT_H
#define PORTREEVE_SUPER_ACCOUNT_H
#include "base/err.h"
#include <sys/types.h>

struct account {
    char name[64]; /* "" = as we are */
    uid_t uid;
    gid_t gid;
};

/* Look NAME up. Refuses another user than our own where we are not root. */
bool account_find(const char *name, struct account *out, struct err *e);
/* In a forked child: become that user for good. false with errno. */
bool account_become(const struct account *a);

/* Root only: nothing started from here on can get more than what the children of a supervisor need: to become another user
 * (with_user), to read files as root does (as_root). Both until it is known whether a user is configured. */
void caps_bound(bool with_user, bool as_root);
/* Supervisor, once the first sockets are bound: CAP_NET_BIND_SERVICE stays; with_user also what it takes to start and end the engine. */
void caps_drop_self(bool with_user);
/* In a forked child: nothing ambient is handed on. */
void caps_drop_child(void);
#endif
