/* The pid file: its lock decides who runs, its number is only for people. */
#ifndef PORTREEVE_SUPER_PIDFILE_H
#define PORTREEVE_SUPER_PIDFILE_H
#include "base/err.h"
#include <sys/types.h>

/* Lock STATE/run/portreeve.pid and write our pid. Returns the fd (keep it open), or -1 with e naming the holder. *unclean: the one
 * before us did not end in order. */
int pidfile_take(const char *state, bool *unclean, struct err *e);
/* Leave an empty line and let go. It is never unlinked: a lock on an unlinked file would guard nothing. */
void pidfile_drop(int fd);
/* Is somebody holding it? The holder's pid, 0 = nobody, -1 = there is no such file or it may not be read (errno). */
pid_t pidfile_holder(const char *state);
#endif
