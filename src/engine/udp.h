/* Datagrams: read in batches, judged by flow (listener and address), handed to what their socket serves. Nothing is allocated for a datagram
 * before its verdict; a verdict holds for further datagrams of the flow while it stands in a small table of the worker, at most a second. */
#ifndef PORTREEVE_ENGINE_UDP_H
#define PORTREEVE_ENGINE_UDP_H
#include "engine/worker.h"

void udp_ready(struct acceptor *a); /* something is there: a bounded number of datagrams, the rest is announced again */
void udp_empty(struct acceptor *a); /* everything that has been received, before the socket is closed */
void udp_finish(struct worker *w);  /* the worker ends */
#endif
