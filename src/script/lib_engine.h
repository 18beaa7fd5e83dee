/* portreeve.engine: the running engine, for trusted code (hub, ui, console). The engine gives a table of functions that answer in JSON text; the Lua
 * module decodes it, so that floor 7 knows nothing of floor 8. */
#ifndef PORTREEVE_SCRIPT_LIB_ENGINE_H
#define PORTREEVE_SCRIPT_LIB_ENGINE_H
#include "base/buf.h"
#include "gate/decision_query.h"
#include "gate/question.h"
#include "script/lib.h"

struct ban_request {
    const char *range, *reason, *who; /* each one line */
    int64_t ms;                       /* 0 = until it is taken back */
    bool force;                       /* whoever it shuts out */
};
struct engine_api {
    void *ctx;
    const char *state_dir;
    bool (*status)(void *ctx, struct buf *out);                                    /* JSON object */
    bool (*connections)(void *ctx, unsigned limit, struct buf *out);               /* JSON array */
    bool (*decisions)(void *ctx, const struct decision_query *q, struct buf *out); /* {"room":, "oldest_ms":, "list": [newest first]} */
    bool (*rules)(void *ctx, struct buf *out);                                     /* JSON array */
    bool (*logs)(void *ctx, unsigned limit, struct buf *out);                      /* JSON array: messages of the remote log */
    bool (*would)(void *ctx, const struct question *q, struct buf *out, struct err *e); /* JSON object; blocks for some milliseconds */
    bool (*plan)(void *ctx, struct buf *out);                                           /* JSON array */
    bool (*stats)(void *ctx, struct buf *out);                                          /* JSON object */
    bool (*lists)(void *ctx, const char *name, struct buf *out);                        /* engine/lists_show.h; name "" = all */
    /* In force for whoever is judged after the return; living connections stay (reap). false: text says why not. */
    bool (*ban)(void *ctx, const struct ban_request *q, struct buf *text);
    bool (*unban)(void *ctx, const char *range, const char *who, struct buf *text); /* the ban of exactly this range; else false and text */
    bool (*bans)(void *ctx, struct buf *out);                                       /* JSON array; those that end first come first */
    bool (*reap)(void *ctx, bool dry, const char *who, struct buf *out);            /* engine/reap.h; JSON object */
    void (*administrator)(void *ctx, const char *address);                          /* has used the hub with a session just now */
    bool (*reload)(void *ctx, bool force, struct buf *text);                        /* blocks; true = in force */
    bool (*probe)(void *ctx);                                                 /* blocks; true = every socket has been called once more */
    bool (*edit)(void *ctx, const char *request, size_t n, struct buf *text); /* the same; request: WIRE_EDIT from "dry" on (plan/wire.h) */
};
/* The api must outlive the vm. */
void lib_engine_set(lua_State *L, const struct engine_api *api);
#endif
