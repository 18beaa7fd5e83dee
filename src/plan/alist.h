/* Address lists (L1–L6): text to prefix set. Pure but for the callback that fetches an included list. */
#ifndef PORTREEVE_PLAN_ALIST_H
#define PORTREEVE_PLAN_ALIST_H
#include "base/pset.h"

/* Fetch the text of list `name` ("clients" for `#clients`): false = no such list. The text stays the callee's. */
typedef bool alist_fetch(void *ctx, const char *name, const char **text, size_t *n, const char **display);

/* Parse the list `name` and everything it includes. NULL with e filled ("clients.list:7: …"; a cycle names the way round). */
struct pset *alist_load(const char *name, alist_fetch *fetch, void *ctx, struct err *e);
#endif
