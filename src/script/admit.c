/* Judging: the walk over the rules, a Lua rule where one stands, its verdicts read strictly, and what happens when it fails. */
#include "base/log.h"
#include "script/hooks_i.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <string.h>

#define VERDICTS_MOST 16 /* values a rule may return */

enum said { SAID_NOTHING, SAID_FINAL, SAID_NONSENSE };

/* A field as it stands in the table: a metamethod would run here, where no call protects the engine from its errors. */
static int raw_field(lua_State *L, int index, const char *name) {
    lua_pushstring(L, name);
    return lua_rawget(L, index);
}

static const char *raw_text(lua_State *L, int index, const char *name) {
    const char *s = raw_field(L, index, name) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    lua_pop(L, 1); /* the table holds it */
    return s;
}

static bool raw_number(lua_State *L, int index, const char *name, lua_Integer least, lua_Integer most, lua_Integer *out) {
    int whole = 0;
    raw_field(L, index, name);
    *out = lua_tointegerx(L, -1, &whole);
    lua_pop(L, 1);
    return whole && *out >= least && *out <= most;
}

/* {refuse = reason, because = text [, entry = the listener's entry that says so] [, how = "reset" | "answer", status =, text =]} */
static enum said read_refusal(lua_State *L, int at, struct verdict *out, struct err *e) {
    const char *reason = raw_text(L, at, "refuse"), *how = raw_text(L, at, "how");
    lua_Integer status = 0;
    out->refusal = refusal_of(reason);
    if (out->refusal == REFUSE_NONE) {
        err_set(e, "'%.60s' is no reason to refuse (denied restriction per-address maximum reserve banned rate clients certificate policy)",
                reason);
        return SAID_NONSENSE;
    }
    snprintf(out->because, sizeof out->because, "%s", raw_text(L, at, "because"));
    out->kind = strcmp(how, "reset") == 0 ? VERDICT_RESET : strcmp(how, "answer") == 0 ? VERDICT_ANSWER : VERDICT_REFUSE;
    if (out->kind == VERDICT_ANSWER && !raw_number(L, at, "status", 400, 599, &status)) {
        err_set(e, "the status of an answer is a number from 400 to 599");
        return SAID_NONSENSE;
    }
    out->status = (uint16_t)status;
    snprintf(out->text, sizeof out->text, "%s", raw_text(L, at, "text"));
    out->limit = plan_limit_of(raw_text(L, at, "entry"));
    return SAID_FINAL;
}

static bool read_only(lua_State *L, struct verdict *out) { /* the list on top */
    uint32_t only = 0;
    for (lua_Unsigned i = 1, n = lua_rawlen(L, -1); i <= n; i++) {
        uint32_t bit = lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TSTRING ? plan_service_bit(lua_tostring(L, -1)) : 0;
        lua_pop(L, 1);
        if (!bit) return false;
        only |= bit;
    }
    out->only &= only;
    return true;
}

static enum said read_table(lua_State *L, int at, struct verdict *out, struct err *e) {
    lua_Integer ms;
    int type = raw_field(L, at, "refuse");
    lua_pop(L, 1);
    if (type == LUA_TSTRING) return read_refusal(L, at, out, e);
    const char *tag = raw_text(L, at, "tag");
    if (tag[0]) {
        (void)tags_add(&out->tags, tag); /* a ninth is not kept */
        return SAID_NOTHING;
    }
    type = raw_field(L, at, "only");
    bool only = type == LUA_TTABLE && read_only(L, out);
    lua_pop(L, 1);
    if (only) return SAID_NOTHING;
    if (type == LUA_TNIL && raw_number(L, at, "delay", 0, DELAY_MOST_MS, &ms)) {
        out->delay_ms += (uint32_t)ms;
        if (out->delay_ms > DELAY_MOST_MS) out->delay_ms = DELAY_MOST_MS;
        return SAID_NOTHING;
    }
    err_set(e, "a verdict is one of portreeve.verdict (allow refuse reset answer delay tag only), this table is none");
    return SAID_NONSENSE;
}

static void no_verdict(struct err *e, const char *type) {
    err_set(e, "a %s is no verdict: verdict.allow is one, verdict.refuse(reason, because), or another of portreeve.verdict", type);
}

/* The values above SLOT_TOP: verdicts up to a final one. nil says nothing, so what stands behind it counts. */
static enum said read_verdicts(lua_State *L, bool strict, struct verdict *out, struct err *e) {
    int n = lua_gettop(L) - SLOT_TOP;
    bool some = false;
    if (n > VERDICTS_MOST || !lua_checkstack(L, LUA_MINSTACK)) {
        err_set(e, "%d verdicts: a rule may return %d", n, VERDICTS_MOST);
        return SAID_NONSENSE;
    }
    for (int at = SLOT_TOP + 1; at <= SLOT_TOP + n; at++) {
        int type = lua_type(L, at);
        enum said said = SAID_NONSENSE;
        if (type == LUA_TNIL) continue;
        if (type == LUA_TSTRING && strcmp(lua_tostring(L, at), "allow") == 0) return SAID_FINAL;
        if (type == LUA_TTABLE) said = read_table(L, at, out, e);
        else no_verdict(e, lua_typename(L, type));
        if (said != SAID_NOTHING) return said;
        some = true;
    }
    if (some || !strict) return SAID_NOTHING;
    no_verdict(e, "nil");
    return SAID_NONSENSE;
}

/* ---- what it said last ---- */

static struct last_verdict *last_of(struct hooks *h, unsigned at, const struct facts *f, uint64_t *key) {
    uint64_t a, b;
    memcpy(&a, f->remote.ip, 8);
    memcpy(&b, f->remote.ip + 8, 8);
    *key = (uint64_t)at << 32 | (uint64_t)f->listener_id << 16 | (uint64_t)f->remote.family << 8 | 1;
    uint64_t place = (a ^ (b * 0xff51afd7ed558ccdull) ^ *key * 0xc2b2ae3d27d4eb4full) * 0x9e3779b97f4a7c15ull;
    return &h->last[(place >> 52) % LAST_SLOTS]; /* only the highest bits hang on all of it */
}

/* own: how many tags there were before this rule. */
static void note_last(struct hooks *h, unsigned at, const struct facts *f, const struct verdict *v, enum said said, uint32_t own) {
    uint64_t key;
    struct last_verdict *l = last_of(h, at, f, &key);
    *l = (struct last_verdict){
        .key = key, .kind = v->kind, .refusal = v->refusal, .final = said == SAID_FINAL, .only = v->only, .delay_ms = v->delay_ms};
    for (uint32_t i = own; i < v->tags.n; i++) (void)tags_add(&l->tags, v->tags.name[i]);
    memcpy(l->ip, f->remote.ip, sizeof l->ip);
}

/* The fail-safe. SAID_NONSENSE: nothing is known about this address, or the policy wants it so: closed. */
static enum said use_last(struct hooks *h, unsigned at, const struct facts *f, struct verdict *v) {
    uint64_t key;
    struct last_verdict *l = h->last ? last_of(h, at, f, &key) : NULL;
    if (!l || l->key != key || memcmp(l->ip, f->remote.ip, sizeof l->ip) != 0)
        return SAID_NONSENSE; /* callers choose addresses, so no hash will do */
    v->kind = l->kind == VERDICT_ANSWER ? VERDICT_REFUSE : l->kind;
    v->refusal = l->refusal;
    v->only = l->only;
    v->delay_ms = l->delay_ms;
    for (uint32_t i = 0; i < l->tags.n; i++) (void)tags_add(&v->tags, l->tags.name[i]);
    v->last_good = true;
    return l->final ? SAID_FINAL : SAID_NOTHING;
}

/* ---- one Lua rule ---- */

static enum said ask(struct hooks *h, unsigned at, const struct facts *f, struct verdict *v, struct err *e) {
    lua_State *L = vm_lua(h->vm);
    h->facts->facts = f;
    h->facts->given = &v->tags;
    lua_rawgeti(L, SLOT_RULES, (lua_Integer)at + 1);
    lua_pushvalue(L, SLOT_FACTS);
    enum said said = vm_call(h->vm, 1, LUA_MULTRET, e) ? read_verdicts(L, h->rules.rule[at].strict, v, e) : SAID_NONSENSE;
    h->facts->facts = NULL;
    lua_settop(L, SLOT_TOP);
    return said;
}

/* e says what; the rule's place is put before it where Lua has not. */
static enum said failed(struct hooks *h, unsigned at, const struct facts *f, struct verdict *v, struct err *e) {
    const struct rule *r = &h->rules.rule[at];
    char text[sizeof e->text];
    snprintf(text, sizeof text, "%s", e->text);
    if (strncmp(text, r->file, strlen(r->file)) != 0) err_at(e, r->file, r->line, "%.800s", text);
    bool question = f->fd < 0; /* nobody is there, so it says nothing about how the policy is doing */
    if (!question) RULE_COUNT(&h->count[at], failed);
    if (!question && health_error(h->health, h->rules.suspend_after))
        log_error("admission",
                  "%s: this is failure %u within a minute: the rules in Lua are SUSPENDED until the next reload, the built-in rules go on",
                  e->text, h->rules.suspend_after);
    enum said last = use_last(h, at, f, v);
    if (last != SAID_NONSENSE) return last;
    v->kind = VERDICT_REFUSE;
    v->refusal = REFUSE_ERROR;
    snprintf(v->because, sizeof v->because, "%.500s", e->text);
    return SAID_FINAL;
}

/* Ask, or do what it said last: `only` and `delay_ms` are this rule's own meanwhile. *fine = false: it has failed, *e says how. */
static enum said ask_safely(struct hooks *h, unsigned at, const struct facts *f, struct verdict *v, struct err *e, bool *fine) {
    struct err why;
    uint32_t only = v->only, delay = v->delay_ms, tags = v->tags.n;
    v->only = UINT32_MAX;
    v->delay_ms = 0;
    enum said said = ask(h, at, f, v, &why);
    if (said == SAID_NONSENSE) {
        v->only = UINT32_MAX;
        v->delay_ms = 0;
        v->tags.n = tags;
        said = failed(h, at, f, v, &why);
        *e = why;
        *fine = false;
    } else if (h->last && f->fd >= 0) note_last(h, at, f, v, said, tags);
    v->only &= only;
    v->delay_ms = delay + v->delay_ms < DELAY_MOST_MS ? delay + v->delay_ms : DELAY_MOST_MS;
    return said;
}

static void decided(struct hooks *h, unsigned at, const struct facts *f, struct verdict *v) {
    const struct rule *r = &h->rules.rule[at];
    v->policy = r->file;
    v->policy_line = r->line;
    v->rule = at + 1;
    if (v->kind != VERDICT_ALLOW && f->fd >= 0) RULE_COUNT(&h->count[at], refused);
}

bool hooks_judge(struct hooks *h, const struct facts *f, struct verdict *v, struct err *e) {
    verdict_clear(v, f->stage);
    const struct rules *r = &h->rules;
    bool suspended = health_suspended(h->health), fine = true;
    if (suspended && f->stage == STAGE_PEER) {
        rules_judge(&h->builtin, f, 0, true, v, NULL);
        if (v->kind != VERDICT_ALLOW) return true;
    }
    for (unsigned at = 0; (at = rules_judge(r, f, at, suspended, v, f->fd < 0 ? NULL : h->count)) < r->n; at++) {
        if (ask_safely(h, at, f, v, e, &fine) == SAID_NOTHING) continue;
        decided(h, at, f, v);
        break;
    }
    return fine;
}

void hooks_bounds(const struct hooks *h, const struct facts *f, const struct verdict *v, struct rule_bounds *out) {
    static const struct verdict none;
    *out = (struct rule_bounds){UINT32_MAX, UINT32_MAX};
    if (health_suspended(h->health)) rules_bounds(&h->builtin, f, &none, out);
    rules_bounds(&h->rules, f, v, out);
}

void hooks_over(struct hooks *h, const struct facts *f, struct verdict *v) {
    verdict_clear(v, f->stage);
    if (health_suspended(h->health)) rules_over(&h->builtin, f, v, NULL);
    if (v->kind == VERDICT_ALLOW) rules_over(&h->rules, f, v, h->count);
    if (v->kind != VERDICT_ALLOW) return;
    v->kind = VERDICT_REFUSE; /* suspended or not has changed in this moment */
    v->refusal = REFUSE_MAXIMUM;
}

void hooks_judge_device(struct hooks *h, const struct facts *f, struct verdict *v) {
    verdict_clear(v, STAGE_PEER);
    rules_judge_device(&h->builtin, f, v, NULL);
    rules_judge_device(&h->rules, f, v, h->count);
}

const struct rules *hooks_rules(const struct hooks *h) {
    return &h->rules;
}

const struct rule_count *hooks_rule_counts(const struct hooks *h) {
    return h->count;
}

/* ---- rule by rule ---- */

struct trace {
    struct hooks *h;
    const struct facts *f;
    struct verdict *v;
    void (*tell)(void *ctx, const struct traced *t);
    void *ctx;
    struct err *e;
    bool suspended, failed;
};

static enum said trace_lua(struct trace *t, unsigned at) {
    enum said said = ask(t->h, at, t->f, t->v, t->e);
    if (said == SAID_NONSENSE) {
        t->failed = true;
        t->v->kind = VERDICT_REFUSE;
        t->v->refusal = REFUSE_ERROR;
        snprintf(t->v->because, sizeof t->v->because, "%.500s", t->e->text);
    }
    if (said == SAID_NOTHING) return said;
    t->v->policy = t->h->rules.rule[at].file;
    t->v->policy_line = t->h->rules.rule[at].line;
    t->v->rule = at + 1;
    return said;
}

/* One rule, alone in the walk. true: it has decided. */
static bool trace_rule(struct trace *t, const struct rules *all, unsigned at) {
    struct rules alone = *all;
    const struct verdict before = *t->v;
    struct traced told = {.rule = &all->rule[at], .builtin = all == &t->h->builtin, .before = &before, .after = t->v};
    alone.first[t->f->stage] = at;
    alone.first[t->f->stage + 1] = at + 1;
    told.concerned = rule_applies(told.rule, t->f);
    bool lua = rules_judge(&alone, t->f, at, t->suspended, t->v, NULL) == at && at < all->n;
    enum said said = lua ? trace_lua(t, at) : t->v->rule ? SAID_FINAL : SAID_NOTHING;
    told.said = said == SAID_NONSENSE         ? TRACED_FAILED
                : said == SAID_NOTHING        ? TRACED_NOTHING
                : t->v->kind == VERDICT_ALLOW ? TRACED_ALLOW
                                              : TRACED_REFUSE;
    if (!told.rule->lua || !t->suspended) t->tell(t->ctx, &told);
    return said != SAID_NOTHING;
}

bool hooks_trace(struct hooks *h, const struct facts *f, struct verdict *v, void (*tell)(void *ctx, const struct traced *t), void *ctx,
                 struct err *e) {
    struct trace t = {.h = h, .f = f, .v = v, .tell = tell, .ctx = ctx, .e = e, .suspended = health_suspended(h->health)};
    verdict_clear(v, f->stage);
    for (unsigned at = h->builtin.first[f->stage]; t.suspended && f->stage == STAGE_PEER && at < h->builtin.first[f->stage + 1]; at++)
        if (trace_rule(&t, &h->builtin, at)) return true;
    for (unsigned at = h->rules.first[f->stage]; at < h->rules.first[f->stage + 1]; at++)
        if (trace_rule(&t, &h->rules, at)) break;
    return !t.failed;
}
