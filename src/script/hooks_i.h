/* The inside of hooks.h: what hooks.c (making, serving) and admit.c (judging) share. Nobody else includes this. */
#ifndef PORTREEVE_SCRIPT_HOOKS_I_H
#define PORTREEVE_SCRIPT_HOOKS_I_H
#include "script/hooks.h"
#include "script/lib_facts.h"
#include "script/rules_read.h"

/* Stack of a worker's state, fixed for life: every hook pushes above these and comes back to them. */
enum slot { SLOT_FACTS = 1, SLOT_REQ, SLOT_RULES, SLOT_SERVE, SLOT_TOP = SLOT_SERVE };

#define LAST_SLOTS 4096u /* verdicts remembered for OnPolicyError=last: a newer one takes the place of one of the same hash */
struct last_verdict {
    uint64_t key; /* rule and listener; 0 = free */
    uint8_t ip[16];
    enum verdict_kind kind;
    enum refusal refusal;
    bool final;
    uint32_t only, delay_ms; /* of that rule alone, and so the tags */
    struct tags tags;
};

struct script {
    const char *name; /* the plan's */
    char display[PLAN_PATH];
    int line, open; /* in the registry; LUA_NOREF = it has none */
};

struct script_server;
struct hooks {
    struct vm *vm;
    struct token_ctx *tokens;
    struct facts_box *facts;
    struct request_box *req;
    const struct lists *lists;
    const struct bundle *bundle;
    struct rules rules, builtin; /* builtin: for a suspended policy */
    struct rule_count *count;
    struct last_verdict *last; /* LAST_SLOTS, where the policy wants it; else NULL */
    struct policy_health *health;
    char tracker_id[64];
    struct script *script;
    uint32_t nscripts;
    const struct script_server **server; /* what server() asks; lives in the state */
    int server_ref;
};

/* scripts.c: the scripts that the plan names. */
bool hooks_load_scripts(struct hooks *h, const struct plan *p, struct err *e);

#endif
