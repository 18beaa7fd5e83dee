/* What the engine gives up once it has its descriptors and before it has threads: its user, privileges, files, system calls.
 * Everything is asked of the kernel at run time; what a kernel lacks is logged once and shown by harden_json, never a reason not to serve.
 * Builds with sanitizers or coverage keep what their run-time libraries need; their measures say so.
 * Source: reliability.md, "Posture". */
#ifndef PORTREEVE_ENGINE_HARDEN_H
#define PORTREEVE_ENGINE_HARDEN_H
#include "base/buf.h"
#include "base/err.h"

/* user: name to become when started as root; NULL or "" = stay. state_dir: read and write below it; luadir: read below it, "" = none.
 * Call once, while there is one thread. False only where going on would be wrong: unknown user, a user that cannot write to state_dir. */
bool harden_engine(const char *user, const char *state_dir, const char *luadir, struct err *e);
/* A JSON array of {"name":…,"state":"on"|"part"|"off","how":…}, one for each measure. Any thread, after harden_engine. */
bool harden_json(struct buf *out);
#endif
