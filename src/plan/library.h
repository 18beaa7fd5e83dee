/* The Lua library (lua/portreeve) as one sealed image, read once: program and library are of one version, so the supervisor keeps both, and what
 * lies on disk after an upgrade meets neither an older engine nor an older planner. Where no image is opened (commands) it is read from disk. */
#ifndef PORTREEVE_PLAN_LIBRARY_H
#define PORTREEVE_PLAN_LIBRARY_H
#include "base/err.h"

#define LIBRARY_FILE (1u << 20) /* bytes of one file */

int library_take(const char *dir, struct err *e); /* a memfd (CLOEXEC, sealed) of all files below dir; -1 with e */
/* For the life of this process; before any other thread runs. The descriptor stays the caller's. */
bool library_open(int fd, struct err *e);
bool library_held(void);
bool library_dir(char *out, size_t cap, struct err *e); /* where it is read from; "" where it is held, and need not be on disk */
const char *library_text(const char *path, size_t *n);  /* "portreeve/rules.lua", not NUL-terminated; NULL = not in it */
#endif
