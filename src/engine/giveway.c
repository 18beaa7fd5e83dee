#include "engine/giveway.h"
#include "base/log.h"
#include "engine/conn_i.h"
#include <stdlib.h>

#define LOOK_MOST 16384u /* connections a worker looks at for one caller */
#define TRIES     3u     /* letters for one caller: another may take the place that was made for him */
#define WAIT_MS   2000   /* a letter is back within a turn of each worker; one that is not is given up */

struct room { /* the letter; owned by whoever has it */
    struct worker_call call;
    struct engine *eng;
    struct conn *conn; /* origin's only: NULL = it has been closed meanwhile */
    enum { ROOM_LOOK, ROOM_CLOSE, ROOM_BACK } phase;
    unsigned origin, seen, nworkers;
    uint16_t listener;
    int best; /* worker with the idlest; -1 = nobody is idle */
    int64_t since_ms;
};

static int64_t idle_since(const struct conn *c) {
    const struct plan_settings *set = conn_settings(c);
    return c->timer.due - (c->requests ? set->idle_ms : set->header_ms);
}

static struct conn *idlest(struct worker *w, uint16_t listener) {
    const struct pset *clients = w->gen ? lists_find(&w->gen->lists, "clients") : NULL;
    struct conn *best = NULL;
    unsigned looked = 0;
    for (struct conn *c = w->conns; c && looked < LOOK_MOST; c = c->next, looked++) {
        if (c->listener->id != listener || !c->ticket.held || !conn_idle(c)) continue;
        if (best && idle_since(c) >= idle_since(best)) continue;
        if (clients && pset_find(clients, &c->remote).in) continue;
        best = c;
    }
    return best;
}

static void post(struct room *r, unsigned worker) {
    if (!worker_post(r->eng->worker[worker], MAIL_CALL, &r->call, 0)) log_error("admission", "out of memory: nobody gives way to a client");
}

static void post_back(struct room *r) {
    r->phase = ROOM_BACK;
    post(r, r->origin);
}

static void look(struct worker *w, struct room *r) {
    struct conn *c = idlest(w, r->listener);
    if (c && (r->best < 0 || idle_since(c) < r->since_ms)) {
        r->best = (int)w->index;
        r->since_ms = idle_since(c);
    }
    if (++r->seen < r->nworkers) {
        post(r, (w->index + 1) % r->nworkers);
    } else if (r->best >= 0) {
        r->phase = ROOM_CLOSE;
        post(r, (unsigned)r->best);
    } else post_back(r);
}

static void close_idlest(struct worker *w, struct room *r) {
    struct conn *c = idlest(w, r->listener);
    if (c) {
        char who[ADDR_TEXT];
        addr_format_ip(&c->remote, who);
        const char *kv[] = {"address", who, "listener", c->listener->plan->name, NULL};
        log_kv(LOG_LVL_NOTICE, "admission", kv, "gave way to a client");
        conn_close(c, "gives way to a client");
    }
    post_back(r);
}

static void judge_again(struct conn *c) {
    c->guest->room = NULL;
    c->w->parked--;
    c->state = CONN_PREFACE; /* parked no more, whatever comes */
    if (conn_judge(c, STAGE_PEER) != JUDGED_IN) return;
    c->w->parked++;
    c->parked = STAGE_PEER;
    conn_unpark(c);
}

static void arrive(struct worker *w, struct worker_call *call) {
    struct room *r = (struct room *)(void *)call;
    if (r->phase == ROOM_LOOK) look(w, r);
    else if (r->phase == ROOM_CLOSE) close_idlest(w, r);
    else {
        struct conn *c = r->conn;
        free(r);
        if (c) judge_again(c);
    }
}

static void drop(struct worker_call *call) {
    free(call); /* its first member; all connections have been closed before */
}

void giveway_forget(struct conn *c) {
    if (c->guest->room) c->guest->room->conn = NULL;
    c->guest->room = NULL;
}

bool giveway_ask(struct conn *c, const struct facts *f, const struct verdict *v) {
    struct worker *w = c->w;
    if (v->refusal != REFUSE_MAXIMUM || v->kind != VERDICT_REFUSE || !f->listener->give_way || c->via) return false;
    const struct pset *clients = lists_find(f->lists, "clients");
    if (!clients || !pset_find(clients, &f->remote).in || !conn_park_room(w)) return false;
    struct guest *g = conn_guest(c);
    if (!g || g->rooms == TRIES) return false;
    struct room *r = calloc(1, sizeof *r);
    if (!r) return false;
    *r = (struct room){.call = {arrive, drop},
                       .eng = w->eng,
                       .conn = c,
                       .origin = w->index,
                       .nworkers = w->eng->nworkers,
                       .listener = f->listener_id,
                       .best = -1};
    ticket_give(&c->ticket, w->eng->live);
    g->rooms++;
    g->room = r;
    w->parked++;
    c->state = CONN_PARKED;
    conn_want(c, 0);
    conn_deadline(c, WAIT_MS);
    post(r, w->index);
    return true;
}
