/* The typed doors from a worker into its Lua state: admit and serve. One `struct hooks` per worker and generation, built on the control
 * thread, then used by that worker only. Everything Lua returns is read strictly; what is not understood is an error, and the caller
 * fails closed. */
#ifndef PORTREEVE_SCRIPT_HOOKS_H
#define PORTREEVE_SCRIPT_HOOKS_H
#include "base/buf.h"
#include "gate/rules.h"
#include "plan/bundle.h"
#include "proto/exchange.h"
#include "proto/h1.h"
#include "script/health.h"
#include "script/vm.h"
#include "svc/spool.h"

struct hooks;
struct hooks_config {
    const struct bundle *bundle;
    const struct plan *plan;
    const struct lists *lists;
    const struct token_ring *ring;
    const char *luadir;
    struct policy_health *health; /* of the generation, shared by its workers */
};
struct hooks *hooks_create(const struct hooks_config *cfg, struct err *e);
void hooks_destroy(struct hooks *h); /* NULL is legal */

/* Judge at f->stage (admit.c). Rules in C are walked without entering Lua. false: a Lua rule failed (e says where); `out` then holds what the
 * policy's fail-safe says: closed, or the last good verdict of that rule about that address. A question (f->fd is -1) leaves no trace in counts and
 * health. */
bool hooks_judge(struct hooks *h, const struct facts *f, struct verdict *out, struct err *e);
/* A caller whom hooks_judge has let in at STAGE_PEER: the numbers he may come to, and the refusal where f->counts have passed them since. */
void hooks_bounds(const struct hooks *h, const struct facts *f, const struct verdict *v, struct rule_bounds *out);
void hooks_over(struct hooks *h, const struct facts *f, struct verdict *v);
/* A device in front, by its own address, before its PROXY header is read: the denied list, and what else of the policy concerns it. */
void hooks_judge_device(struct hooks *h, const struct facts *f, struct verdict *out);
/* The same judgement rule by rule, for a question (facts with fd -1): each is asked alone, by the same code, told, and the walk ends where it would
 * have ended. Nothing is counted, and a rule that fails counts as closed. false: one did (e). */
struct traced {
    const struct rule *rule;
    bool builtin;   /* one of Portreeve's own, in place of a suspended policy */
    bool concerned; /* by its options (listener, listed, except) */
    enum { TRACED_NOTHING, TRACED_ALLOW, TRACED_REFUSE, TRACED_FAILED } said;
    const struct verdict *before, *after; /* tags, services and delay may differ where it said nothing final */
};
bool hooks_trace(struct hooks *h, const struct facts *f, struct verdict *v, void (*tell)(void *ctx, const struct traced *t), void *ctx,
                 struct err *e);
const struct rules *hooks_rules(const struct hooks *h);
const struct rule_count *hooks_rule_counts(const struct hooks *h); /* in the order of the rules; any thread may read */

struct outcome {
    uint32_t service;             /* plan_service bit that route.lua chose; 0 = none, then status is 404, 403, 421 … */
    bool answered;                /* the service's handler lives on the worker and has answered */
    const struct h1_fixed *fixed; /* NULL, or a constant answer; lives as long as the hooks */
    int status;                   /* else: status, with head fields and body in the caller's bufs */
    struct buf *fields, *body;
    bool bad_token;       /* a token was offered that does not verify */
    bool has_event, wait; /* wait: durable whatever the setting says */
    struct event event;   /* strings borrowed from exchange and peer */
};
/* Route, and where the service is the tracker its handler too: one entry into Lua a request. */
bool hooks_serve(struct hooks *h, struct exchange *x, struct outcome *out, struct err *e);

const char *hooks_tracker_id(const struct hooks *h); /* tracker.ini TrackerId */
/* Push the rules table ("conf") made from a bundle onto a vm's stack. Shared with the app threads. */
bool hooks_push_conf(struct vm *v, const struct bundle *b, struct err *e);
#endif
