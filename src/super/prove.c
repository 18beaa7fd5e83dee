/* The self-probe as the supervisor sees it: the engine calls every socket, but only when no callers can go to anybody else by right (a draining
 * engine that shares the sockets, a retired socket whose queue is still emptied); what it found is kept with the generation and shown. */
#include "base/log.h"
#include "plan/wire.h"
#include "super/super.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PART 16384 /* of a long list, in one message */

static bool takes_callers(const struct engine *en) {
    return en->phase != ENGINE_NONE && en->serving && !en->quiet;
}

static void say(struct super *s, const char *sockets, size_t n) {
    struct engine *en = s->live >= 0 ? &s->engine[s->live] : NULL;
    if (!en || !s->gen || en->phase != ENGINE_LIVE || s->stopping || s->reload.phase == RELOAD_SETTLING) return;
    if (takes_callers(&s->engine[!en->instance])) return;
    struct buf text = {0};
    bool good = buf_fmt(&text, "generation %" PRIu64 "\n%s", s->gen->number, n ? "\n" : "") && buf_add(&text, sockets, n);
    if (!good) log_warn("engine", "engine %ld is not asked to prove its sockets: out of memory", (long)en->pid);
    else (void)engine_send(en, WIRE_PROVE, text.p, text.n);
    buf_free(&text);
}

void prove_ask(struct super *s) {
    say(s, "", 0);
}

void prove_moved(struct super *s, const struct buf *sockets) {
    const char *p = sockets->p, *end = p + sockets->n;
    while (p && p < end) {
        size_t n = (size_t)(end - p) < PART ? (size_t)(end - p) : PART;
        while (p[n - 1] != '\n') n--;
        say(s, p, n);
        p += n;
    }
}

void prove_heard(struct super *s, const struct engine *en) {
    uint64_t number = 0;
    if (s->live != (int)en->instance || !s->gen || !wire_number(s->msg.data, "generation", &number) || number != s->gen->number) return;
    const char *at = wire_body(s->msg.data);
    uint32_t i;
    struct proof p;
    while (*at) {
        if (!proof_take(&at, &i, &p) || i >= s->gen->plan.nsockets) {
            log_warn("engine", "engine %ld told of its sockets in a way that is not understood", (long)en->pid);
            return;
        }
        s->gen->proof[i] = p;
    }
}

void prove_forget(struct super *s) {
    if (s->gen) memset(s->gen->proof, 0, s->gen->plan.nsockets * sizeof *s->gen->proof);
}

void prove_inherit(struct generation *g, const struct generation *old) {
    generation_mark(old);
    for (uint32_t i = 0; i < g->plan.nsockets; i++)
        if (g->held[i] && g->held[i]->mark == old->number) g->proof[i] = old->proof[g->held[i]->marked];
}
