/* The walk over a policy's rules, and what is done once a generation so that the walk is short. */
#include "gate/rules.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_FORBIDDEN 403

const struct rule_op *rule_op_of(const char *name) {
    const struct rule_op *op = rule_ops;
    while (op->name && strcmp(op->name, name) != 0) op++;
    return op->name ? op : NULL;
}

enum rule_says rule_refuse(struct verdict *v, enum refusal why, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v->because, sizeof v->because, fmt, ap);
    va_end(ap);
    v->refusal = why;
    return RULE_REFUSE;
}

enum rule_says rule_refuse_line(struct verdict *v, enum refusal why, const struct pset *s, struct pset_hit hit, const char *otherwise) {
    size_t n = lists_where(s, hit, v->list, sizeof v->list);
    v->list[n] = '\0';
    if (n == 0) return rule_refuse(v, why, "%s", otherwise);
    memcpy(v->because, v->list, n + 1);
    v->refusal = why;
    return RULE_REFUSE;
}

static bool concerns(const struct rule *r, const struct plan_socket *s) {
    bool here = r->nlisteners == 0;
    for (uint32_t i = 0; !here && i < r->nlisteners; i++) here = strcmp(r->listener[i], s->name) == 0;
    return here;
}

uint8_t rules_asks(const struct rules *r, const struct plan_socket *s, bool lua_only) {
    unsigned bits = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct rule *one = &r->rule[i];
        if ((one->lua || !lua_only) && concerns(one, s) && (!one->op->wants || one->op->wants(one, s))) bits |= 1u << one->stage;
    }
    return (uint8_t)bits;
}

bool rule_applies(const struct rule *r, const struct facts *f) {
    return concerns(r, f->listener) && (!r->listed_set || facts_ask(f, r->listed_set).in) &&
           (!r->except_set || !facts_ask(f, r->except_set).in);
}

static void decided(const struct rule *r, uint32_t place, struct verdict *v) {
    v->policy = r->file;
    v->policy_line = r->line;
    v->rule = place + 1;
}

static void refused(const struct rule *r, struct verdict *v) {
    v->kind = r->how;
    v->status = r->status;
    if (r->how == VERDICT_ANSWER) memcpy(v->text, r->text, sizeof v->text);
}

unsigned rules_judge(const struct rules *r, const struct facts *f, unsigned at, bool skip_lua, struct verdict *v,
                     struct rule_count *count) {
    unsigned end = r->first[f->stage + 1];
    if (at < r->first[f->stage]) at = r->first[f->stage];
    for (; at < end; at++) {
        const struct rule *one = &r->rule[at];
        if (one->lua && skip_lua) continue;
        if ((one->nlisteners || one->listed_set || one->except_set) && !rule_applies(one, f)) continue;
        if (count) RULE_COUNT(&count[at], asked);
        if (one->lua) return at;
        enum rule_says says = one->op->judge(one, f, v);
        if (says == RULE_NEXT) continue;
        decided(one, at, v);
        if (says == RULE_REFUSE) {
            refused(one, v);
            if (count) RULE_COUNT(&count[at], refused);
        }
        break;
    }
    return r->n;
}

void rules_bounds(const struct rules *r, const struct facts *f, const struct verdict *v, struct rule_bounds *b) {
    uint32_t end = v->rule && v->rule - 1 < r->first[1] ? v->rule - 1 : r->first[1];
    for (uint32_t i = 0; i < end; i++) {
        const struct rule *one = &r->rule[i];
        if (one->op->bound && rule_applies(one, f)) one->op->bound(one, f, b);
    }
}

void rules_over(const struct rules *r, const struct facts *f, struct verdict *v, struct rule_count *count) {
    for (uint32_t i = 0; i < r->first[1]; i++) {
        const struct rule *one = &r->rule[i];
        if (!one->op->bound || !rule_applies(one, f) || one->op->judge(one, f, v) != RULE_REFUSE) continue;
        decided(one, i, v);
        refused(one, v);
        if (count) RULE_COUNT(&count[i], refused);
        return;
    }
}

/* Limits are the callers': a device has no place of its own. */
static bool of_device(const struct rule_op *op) {
    return strcmp(op->name, "refuse_listed") == 0 || strcmp(op->name, "banned") == 0;
}

void rules_judge_device(const struct rules *r, const struct facts *f, struct verdict *v, struct rule_count *count) {
    for (unsigned at = r->first[STAGE_PEER]; at < r->first[STAGE_PEER + 1] && v->kind == VERDICT_ALLOW; at++) {
        const struct rule *one = &r->rule[at];
        if (!of_device(one->op) || !rule_applies(one, f)) continue;
        if (count) RULE_COUNT(&count[at], asked);
        if (one->op->judge(one, f, v) != RULE_REFUSE) continue;
        decided(one, at, v);
        v->kind = VERDICT_REFUSE; /* whatever the rule would answer: before a header there is nobody to be answered */
        if (count) RULE_COUNT(&count[at], refused);
    }
}

static int by_stage(const void *a, const void *b) {
    const struct rule *x = a, *y = b;
    return x->stage != y->stage ? (int)x->stage - (int)y->stage : x->number < y->number ? -1 : x->number > y->number;
}

/* qsort is not stable: the places lend themselves as second key while it runs. */
static bool sort(struct rules *r) {
    int64_t *number = calloc(r->n ? r->n : 1, sizeof *number);
    if (!number) return false;
    for (uint32_t i = 0; i < r->n; i++) {
        number[i] = r->rule[i].number;
        r->rule[i].number = i;
    }
    qsort(r->rule, r->n, sizeof *r->rule, by_stage);
    for (uint32_t i = 0; i < r->n; i++) r->rule[i].number = number[r->rule[i].number];
    free(number);
    return true;
}

static bool find_list(const struct rule *r, const char *name, const struct lists *l, const struct pset **out, struct err *e) {
    *out = name[0] ? lists_find(l, name) : NULL;
    if (!name[0] || *out) return true;
    return err_at(e, r->file, r->line, "%s: there is no address list '%s': make lists/%s.list", r->op->name, name, name);
}

static bool bind_rule(struct rule *r, const struct lists *l, struct err *e) {
    if (r->op->needs_list && !r->list[0]) return err_at(e, r->file, r->line, "%s needs the name of an address list", r->op->name);
    if (r->how == VERDICT_ANSWER && !r->status) r->status = STATUS_FORBIDDEN;
    return find_list(r, r->list, l, &r->set, e) && find_list(r, r->listed, l, &r->listed_set, e) &&
           find_list(r, r->except, l, &r->except_set, e);
}

bool rules_bind(struct rules *r, const struct lists *l, struct err *e) {
    if (!sort(r)) return err_set(e, "out of memory");
    for (uint32_t i = 0; i < r->n; i++) {
        struct rule *one = &r->rule[i];
        one->lua = one->op->judge == NULL;
        if (!bind_rule(one, l, e)) return false;
        if (one->lua) r->lua[one->stage] = true;
        r->first[one->stage + 1]++;
    }
    for (unsigned s = 0; s < STAGES; s++) r->first[s + 1] += r->first[s];
    return true;
}

bool rules_builtin(struct rules *out, const struct lists *l, struct err *e) {
    static const struct {
        const char *op, *list, *except;
    } builtin[] = {{"refuse_listed", "denied", ""},
                   {"restriction", "", ""},
                   {"per_address", "", "cluster"},
                   {"maximum", "", ""},
                   {"reserve", "clients", ""}};
    *out = (struct rules){.n = sizeof builtin / sizeof *builtin};
    out->rule = calloc(out->n, sizeof *out->rule);
    if (!out->rule) return err_set(e, "out of memory");
    for (uint32_t i = 0; i < out->n; i++) {
        struct rule *r = &out->rule[i];
        r->op = rule_op_of(builtin[i].op);
        r->stage = r->op->stage;
        r->how = VERDICT_REFUSE;
        r->number = -1;
        snprintf(r->file, sizeof r->file, "built-in");
        snprintf(r->list, sizeof r->list, "%s", builtin[i].list);
        snprintf(r->except, sizeof r->except, "%s", builtin[i].except);
    }
    return rules_bind(out, l, e);
}

void rules_finish(struct rules *r) {
    free(r->rule);
    *r = (struct rules){0};
}
