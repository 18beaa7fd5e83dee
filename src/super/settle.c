#include "super/settle.h"
#include "base/log.h"
#include "net/diag.h"
#include "net/ports.h"
#include "super/held.h"
#include "super/holder.h"
#include <netinet/tcp.h>
#include <stdlib.h>

void settle_begin(struct settle *s, const struct generation *old, const struct generation *now, int64_t ms) {
    settle_finish(s);
    *s = (struct settle){.until = ms + SETTLE_MOST_MS, .next = ms + SETTLE_FIRST_MS};
    s->gone = calloc(now->steps.n ? now->steps.n : 1, sizeof *s->gone);
    for (uint32_t i = 0; s->gone && i < now->steps.n; i++) {
        const struct step *t = &now->steps.step[i];
        if (t->kind == STEP_DEAFEN && old->held[t->old] && !old->held[t->old]->at.udp) s->gone[s->ngone++] = old->held[t->old]->at;
    }
    if (s->ngone > 0) s->caller = calloc(SETTLE_CALLERS, sizeof *s->caller);
    if (!s->caller) settle_finish(s); /* nothing to wait for, or no memory to wait with */
}

void settle_finish(struct settle *s) {
    free(s->gone);
    free(s->caller);
    *s = (struct settle){0};
}

static bool was_for_gone(const struct settle *s, const struct addr *at) {
    for (uint32_t i = 0; i < s->ngone; i++) {
        if (ports_overlap(&s->gone[i], at)) return true;
    }
    return false;
}

static bool same(const struct addr *a, const struct addr *b) {
    return a->port == b->port && addr_same_ip(a, b);
}

/* The first list: everybody on an address of a retired socket. Some of them may have found its successor; they too are soon through. */
static bool note(void *ctx, const struct diag_socket *d) {
    struct settle *s = ctx;
    if (!was_for_gone(s, &d->at)) return true;
    if (s->n == SETTLE_CALLERS) s->more++;
    else s->caller[s->n++] = (struct settle_caller){.at = d->at, .peer = d->peer, .still = true};
    return true;
}

static bool seen_again(void *ctx, const struct diag_socket *d) {
    struct settle *s = ctx;
    for (uint32_t i = 0; i < s->n; i++) {
        if (!same(&s->caller[i].at, &d->at) || !same(&s->caller[i].peer, &d->peer)) continue;
        s->caller[i].still = true;
        break;
    }
    return true;
}

static void forget_the_others(struct settle *s) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->caller[i].still) s->caller[n++] = s->caller[i];
    }
    s->n = n;
}

/* Whom do we still wait for? False where the kernel does not tell. */
static bool look(struct settle *s) {
    const uint32_t handshakes = 1u << TCP_SYN_RECV;
    if (!s->listed) {
        s->listed = true;
        return diag_sockets(handshakes, 0, note, s);
    }
    for (uint32_t i = 0; i < s->n; i++) s->caller[i].still = false;
    bool told = diag_sockets(handshakes, 0, seen_again, s);
    forget_the_others(s);
    return told;
}

bool settle_over(struct settle *s, int64_t now) {
    if (!s->caller) return true;
    if (now < s->next) return false;
    bool late = now >= s->until, told = s->more || look(s);
    s->next = s->more ? s->until : now + SETTLE_TICK_MS;
    if (told && !late && s->n + s->more > 0) return false;
    if (told && late && s->n + s->more > 0)
        log_info("transition", "%u callers of addresses that were given up have not finished their handshake: they are not waited for",
                 (unsigned)(s->n + s->more));
    settle_finish(s);
    return true;
}
