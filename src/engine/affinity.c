#include "engine/affinity.h"
#include "base/log.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Those the main thread may use: the workers change their own set only. */
static int nth_processor(unsigned i, cpu_set_t *all) {
    if (sched_getaffinity(getpid(), sizeof *all, all) != 0) return -1;
    unsigned n = (unsigned)CPU_COUNT(all), at = 0;
    for (int cpu = 0; n > 0 && cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, all) && at++ == i % n) return cpu;
    return -1;
}

static bool move(struct worker *w, int cpu, const cpu_set_t *all) {
    cpu_set_t one;
    CPU_ZERO(&one);
    if (cpu >= 0) CPU_SET((size_t)cpu, &one);
    int rc = pthread_setaffinity_np(pthread_self(), sizeof one, cpu >= 0 ? &one : all);
    if (rc != 0)
        log_error("worker", "WorkerAffinity: worker %u cannot be put on processor %d: %s: it goes where the kernel sends it", w->index, cpu,
                  strerrordesc_np(rc));
    return rc == 0;
}

void affinity_adopt(struct worker *w) {
    cpu_set_t all;
    int cpu = nth_processor(w->index, &all);
    if (!w->gen->plan.set.affinity || cpu < 0) cpu = -1;
    if (cpu != w->cpu && move(w, cpu, &all)) w->cpu = cpu;
    if (cpu != w->cpu) cpu = -1; /* calls must not follow a worker that could not move */
    for (struct acceptor *a = w->acceptors; a; a = a->next) {
        if (a->cpu == cpu) continue;
        /* In a SO_REUSEPORT group the kernel prefers the socket of the processor that handles the packet (Linux 6.2); an older one ignores it. */
        if (setsockopt(a->fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, sizeof cpu) != 0)
            log_error("worker", "WorkerAffinity: a socket of listener %s cannot be bound to processor %d: %s", a->listener->plan->name, cpu,
                      strerrordesc_np(errno));
        a->cpu = cpu;
    }
}
