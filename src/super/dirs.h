/* The state folder and its rooms. */
#ifndef PORTREEVE_SUPER_DIRS_H
#define PORTREEVE_SUPER_DIRS_H
#include "super/account.h"

/* Make STATE (with parents) and run, keys, spool, db, log in it, each 0700. As root they, and the files of root in them, are given to
 * `owner` (name "" = ourselves). Symbolic links in the place of a room are refused. */
bool dirs_prepare(const char *state, const struct account *owner, struct err *e);
#endif
