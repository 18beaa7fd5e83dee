/* App threads: hub, ui, transfer and internal handlers, and their background tasks, in plain blocking Lua with database access. Fed by a bounded
 * queue per service; a full queue is 503. Each thread has its own Lua state per generation. The first of a service is built at prepare time, on
 * the control thread, and proves that the others can be; each thread builds its own when its first job of the generation comes. */
#ifndef PORTREEVE_ENGINE_APP_H
#define PORTREEVE_ENGINE_APP_H
#include "base/buf.h"
#include "engine/engine.h"
#include "engine/generation.h"
#include "proto/exchange.h"

struct conn;
struct worker;
struct job { /* one request on its way through an app thread; owned by exactly one side at a time */
    struct job *next;
    struct mail *letter; /* made with the job, so that its way back cannot fail */
    struct worker *worker;
    struct conn *conn; /* worker's thread only; NULL = the client has gone */
    uint32_t service;
    struct buf text; /* request strings one behind the other */
    struct {
        uint32_t at, n;
    } method, path, query, host, body, address, socket;
    bool has_query;
    struct {
        uint32_t name_at, name_n, value_at, value_n;
    } * field;
    uint16_t nfields, local_port;
    const char *secure;
    char listener[PLAN_NAME];
    int status; /* the answer */
    struct buf fields, reply;
};
struct request_state;
/* Copy what a handler may see. NULL = out of memory. */
struct job *job_make(struct request_state *rq, struct worker *w, struct conn *c, uint16_t local_port);
void job_free(struct job *j); /* NULL is legal */

/* threads: of hub and ui each (AppThreads; fixed for the life of the engine). */
struct app *app_create(struct engine *eng, unsigned threads, struct err *e);
/* Build what generation g needs to be in force; it is not yet. */
struct app_states *app_prepare(struct app *a, struct generation *g, struct err *e);
/* Let go of what app_prepare or app_swap gave; threads that still use it keep it until they have done. NULL is legal. */
void app_states_drop(struct app_states *s);
/* Put s in force: threads change over before their next job, tasks are told to stop and start anew. Returns what was in force. */
struct app_states *app_swap(struct app *a, struct app_states *s);
/* Queue a request; false = queue full or service unknown (the job stays the caller's). Any worker. */
bool app_submit(struct app *a, struct job *j);
void app_stop(struct app *a); /* stop tasks, finish queued jobs, join */
#endif
