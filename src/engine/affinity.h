/* WorkerAffinity=on: each worker runs on a processor of its own, and of every listener takes the calls whose packets that processor has handled. A
 * flood that comes in by one queue of the network card then stays on one processor, and who comes in by another does not notice. */
#ifndef PORTREEVE_ENGINE_AFFINITY_H
#define PORTREEVE_ENGINE_AFFINITY_H
#include "engine/worker.h"

/* On the worker, when it has adopted a generation: does what that generation's settings say, or undoes it. */
void affinity_adopt(struct worker *w);
#endif
