/* Listening sockets of a worker: accept, admission, pauses when descriptors run out, adoption and retirement at a change of generation. */
#ifndef PORTREEVE_ENGINE_ACCEPT_H
#define PORTREEVE_ENGINE_ACCEPT_H
#include "engine/worker.h"

/* Take over this worker's sockets of g: a socket it already has keeps its acceptor, new ones start, missing ones are marked retired but go on
 * accepting until accept_retire (the supervisor has closed its duplicates by then). */
void accept_adopt(struct worker *w, struct generation *g);
void accept_ready(struct acceptor *a); /* somebody is waiting there */
/* Nobody but callers to be refused came there, thousands a second: to be woken for each would cost as much as the refusing. So the socket leaves the
 * poll set and is looked at every ACCEPT_REST_US instead, until its callers are fewer or welcome; other connections are served meanwhile. */
#define ACCEPT_REST_US 250
void accept_rested(struct worker *w);
void accept_resume(struct worker *w);               /* a pause is over */
void accept_retire(struct worker *w);               /* empty the queues of retired sockets once more and close them */
void accept_stop(struct worker *w, bool close_fds); /* drain: no more accepts; descriptors stay open unless told */
/* Snapshots live until the last of asker and workers lets go. */
void snapshot_unref(struct snapshot *s);
#endif
