#include "engine/planner_ahead.h"
#include "engine/planner_vm.h"
#include <stdlib.h>
#include <string.h>

/* Compile bind.lua beside rules that have been read once. */
static void make_bind(struct planner_ahead *a, struct planner *p) {
    struct err e;
    struct vm *v = planner_policy_vm(p, &e);
    bool good = v && planner_push_bind(p, v, &e) && planner_push_rules(p, v, false, &e) && vm_require(v, "portreeve.review", &e);
    if (good) {
        lua_settop(vm_lua(v), 1);
        a->bind = v;
    } else {
        vm_destroy(v);
    }
}

void ahead_make(struct planner_ahead *a, const struct planner *options, bool (*called)(void)) {
    *a = (struct planner_ahead){0};
    struct planner *p = malloc(sizeof *p);
    if (!p) return;
    *p = *options;
    p->keep = a;
    a->did = p;
    if (!planner_begin(p) || called()) return;
    planner_rules(p);
    if (p->errors || called()) return;
    planner_try_policies(p);
    a->tested = p->errors == 0;
    if (called()) return;
    planner_sets(p);
    if (a->tested && !called()) make_bind(a, p);
}

static void now_of(struct vm *v, struct planner *p) {
    if (v) planner_vm_source(v, p);
}

static bool usable(const struct planner *p) {
    return p->ahead && p->ahead->did && strcmp(p->luadir, p->ahead->did->luadir) == 0;
}

struct vm *ahead_rules(struct planner *p) {
    if (!usable(p)) return NULL;
    struct vm *v = p->ahead->rules;
    p->ahead->rules = NULL;
    now_of(v, p);
    return v;
}

static bool same_file(const struct bundle_file *a, const struct bundle_file *b) {
    return strcmp(a->path, b->path) == 0 && strcmp(a->display, b->display) == 0 && a->size == b->size && a->mode == b->mode &&
           memcmp(a->hash, b->hash, sizeof a->hash) == 0;
}

bool ahead_tested(const struct planner *p) {
    if (!usable(p) || !p->ahead->tested) return false;
    const struct planner *did = p->ahead->did;
    bool same = did->npolicies == p->npolicies && did->plan.set.policy_memory == p->plan.set.policy_memory;
    for (unsigned i = 0; same && i < p->npolicies; i++) same = same_file(did->policy[i], p->policy[i]);
    return same;
}

struct vm *ahead_bind(struct planner *p) {
    if (!usable(p) || !p->ahead->bind || !ahead_tested(p)) return NULL;
    struct vm *v = p->ahead->bind;
    p->ahead->bind = NULL;
    now_of(v, p);
    return v;
}
