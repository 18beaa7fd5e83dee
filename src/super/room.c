#include "super/room.h"
#include "super/held.h"
#include <sys/resource.h>

#define BESIDES 256 /* links, control clients, poll sets, databases, Lua files, and some connections */

static uint64_t descriptors(const struct generation *g) {
    uint64_t n = 0;
    for (uint32_t i = 0; g && i < g->plan.nsockets; i++) n += g->held[i] ? g->held[i]->n : 0;
    return n;
}

/* Sockets to be open under g, and how many descriptors of old they keep. */
static uint64_t wanted(const struct generation *g, const struct generation *old, uint64_t *kept) {
    uint64_t n = 0;
    *kept = 0;
    for (uint32_t i = 0; i < g->steps.n && g->steps.step[i].kind <= STEP_JOIN; i++) {
        const struct step *s = &g->steps.step[i];
        n++;
        if (s->kind == STEP_KEEP && old->held[s->old]) *kept += old->held[s->old]->n;
    }
    return n;
}

bool room_enough(const struct generation *g, const struct generation *old, struct err *e) {
    struct rlimit r;
    uint64_t kept, sockets = wanted(g, old, &kept), need = sockets * g->workers + descriptors(old) + BESIDES;
    if (old && old->workers == g->workers) need -= kept; /* else the engine is handed every socket again, beside those it has */
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == RLIM_INFINITY || need <= r.rlim_cur) return true;
    return err_set(
        e,
        "the plan needs %llu file descriptors, and a process here may have %llu: %llu sockets, each once for every worker (%u)%s. Set "
        "LimitNOFILE= in the unit (or `ulimit -n`) to %llu and as many more as there are connections, or lower Workers in portreeve.ini",
        (unsigned long long)need, (unsigned long long)r.rlim_cur, (unsigned long long)sockets, g->workers,
        old ? ", beside those that they replace" : "", (unsigned long long)need);
}
