/* The address of the control socket, for both ends: STATE/run/control.sock, however long STATE is. */
#ifndef PORTREEVE_SUPER_CTLPATH_H
#define PORTREEVE_SUPER_CTLPATH_H
#include "base/err.h"

/* Replace what is there (the pid file's lock is ours, so it is stale) and listen, mode 0600. -1 with e. */
int ctlpath_listen(const char *state, struct err *e);
/* Connect; -1 with errno. */
int ctlpath_connect(const char *state);
/* Remove it. */
void ctlpath_unlink(const char *state);
#endif
