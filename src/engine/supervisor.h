/* Commands that ask the running supervisor over STATE/run/control.sock. */
#ifndef PORTREEVE_ENGINE_SUPERVISOR_H
#define PORTREEVE_ENGINE_SUPERVISOR_H
#include "base/buf.h"
#include "gate/counters.h"
#include "gate/recorder.h"
#include "plan/running.h"

enum asked {
    ASKED_GOOD,
    ASKED_NOBODY, /* none runs with this state folder */
    ASKED_FAILED  /* one runs but would not, or could not, answer: e says why */
};
/* One request line with its LF; the answer without its `ok` line, NUL-terminated behind n. state NULL = nobody. e may be NULL. */
enum asked supervisor_ask(const char *state, const char *request, size_t most, struct buf *out, struct err *e);
/* The flight recorder's memory of the server that runs, to be read only (recorder_unmap). The engine need not live. */
enum asked supervisor_decisions(const char *state, struct recorder **out, struct err *e);
/* The bundle of the rules in force, and who has used the hub lately. *bundle_fd is the caller's to close. */
enum asked supervisor_rules(const char *state, int *bundle_fd, struct admins *admins, struct err *e);
/* The bans that hold, as they are at this moment. *out: ban_set_unref. */
enum asked supervisor_bans(const char *state, struct ban_set **out, struct err *e);
enum asked supervisor_plan(const char *state, struct running *out, struct err *e);
#endif
