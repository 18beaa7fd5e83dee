#include "gate/facts.h"
#include <stdio.h>
#include <string.h>

static const char *const reasons[REFUSALS] = {"",        "denied", "restriction",  "per-address", "maximum",
                                              "reserve", "policy", "policy-error", "banned",      "rate",
                                              "clients", "proxy",  "certificate"};

const char *refusal_name(enum refusal r) {
    return reasons[r];
}

enum refusal refusal_of(const char *name) {
    for (unsigned i = REFUSE_DENIED; i < REFUSALS; i++)
        if (i != REFUSE_ERROR && strcmp(reasons[i], name) == 0) return (enum refusal)i;
    return REFUSE_NONE;
}

static bool name_fits(const char *s) {
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    return n > 0 && n < TAG_NAME && s[n] == '\0';
}

bool tags_have(const struct tags *t, const char *name) {
    for (uint32_t i = 0; t && i < t->n; i++)
        if (strcmp(t->name[i], name) == 0) return true;
    return false;
}

bool tags_add(struct tags *t, const char *name) {
    if (!name_fits(name)) return false;
    if (tags_have(t, name)) return true;
    if (t->n == TAGS_MOST) return false;
    snprintf(t->name[t->n++], TAG_NAME, "%s", name);
    return true;
}

void verdict_clear(struct verdict *v, enum stage s) {
    v->kind = VERDICT_ALLOW;
    v->refusal = REFUSE_NONE;
    v->stage = s;
    v->policy = NULL;
    v->policy_line = v->rule = v->delay_ms = 0;
    v->only = UINT32_MAX;
    v->status = 0;
    v->last_good = false;
    v->limit = LIMIT_NONE;
    v->tags.n = 0;
    v->because[0] = v->list[0] = v->text[0] = '\0';
}

struct pset_hit facts_ask(const struct facts *f, const struct pset *set) {
    struct pset_hit hit = pset_find(set, &f->remote);
    if (hit.line && f->fd >= 0 && !f->living) lists_count(f->lists, set, hit);
    return hit;
}
