/* From what policies/admission.lua returns to rules in C. portreeve.admission has made and checked the value, but it is a table that a policy has
 * had in its hands: everything is read raw, and strictly. */
#include "script/rules_read.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- fields of the rule on top; each complains in the rule's name ---- */

static int raw(lua_State *L, const char *name) {
    lua_pushstring(L, name);
    return lua_rawget(L, -2);
}

static bool text_field(lua_State *L, const char *name, char *out, size_t cap, const struct rule *r, struct err *e) {
    size_t n = 0;
    int type = raw(L, name);
    const char *s = type == LUA_TSTRING ? lua_tolstring(L, -1, &n) : "";
    bool fine = (type == LUA_TSTRING || type == LUA_TNIL) && n < cap && strlen(s) == n;
    if (fine) memcpy(out, s, n + 1);
    lua_pop(L, 1);
    return fine || err_at(e, r->file, r->line, "%s: %s is no text of less than %zu bytes", r->op ? r->op->name : "rule", name, cap);
}

static bool number_field(lua_State *L, const char *name, int64_t least, int64_t most, int64_t absent, int64_t *out, const struct rule *r,
                         struct err *e) {
    int whole = 0;
    int type = raw(L, name);
    *out = type == LUA_TNIL ? absent : (int64_t)lua_tointegerx(L, -1, &whole);
    lua_pop(L, 1);
    bool fine = type == LUA_TNIL || (whole && *out >= least && *out <= most);
    return fine || err_at(e, r->file, r->line, "%s: %s is no whole number from %lld to %lld", r->op ? r->op->name : "rule", name,
                          (long long)least, (long long)most);
}

static bool read_services(lua_State *L, struct rule *r, struct err *e) {
    bool fine = true;
    if (raw(L, "services") == LUA_TTABLE) {
        for (lua_Unsigned i = 1, n = lua_rawlen(L, -1); fine && i <= n; i++) {
            uint32_t bit = lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TSTRING ? plan_service_bit(lua_tostring(L, -1)) : 0;
            fine = bit != 0 || err_at(e, r->file, r->line, "%s: services names no service", r->op->name);
            r->services |= bit;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return fine;
}

static bool read_listeners(lua_State *L, struct rule *r, struct err *e) {
    bool fine = true;
    if (raw(L, "listener") == LUA_TTABLE) {
        lua_Unsigned n = lua_rawlen(L, -1);
        fine = n <= RULE_LISTENERS || err_at(e, r->file, r->line, "%s: more than %u listeners", r->op->name, RULE_LISTENERS);
        for (lua_Unsigned i = 1; fine && i <= n; i++) {
            size_t len = 0;
            const char *s = lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : "";
            fine = (len > 0 && len < PLAN_NAME) || err_at(e, r->file, r->line, "%s: a listener's name is missing or too long", r->op->name);
            if (fine) snprintf(r->listener[r->nlisteners++], PLAN_NAME, "%s", s);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return fine;
}

static bool read_how(lua_State *L, struct rule *r, struct err *e) {
    char how[16] = "";
    int64_t status;
    if (!text_field(L, "how", how, sizeof how, r, e) || !number_field(L, "status", 400, 599, 0, &status, r, e)) return false;
    r->status = (uint16_t)status;
    r->how = strcmp(how, "reset") == 0 ? VERDICT_RESET : strcmp(how, "answer") == 0 ? VERDICT_ANSWER : VERDICT_REFUSE;
    return (how[0] == '\0' || r->how != VERDICT_REFUSE) ||
           err_at(e, r->file, r->line, "%s: there is no way '%s' to refuse", r->op->name, how);
}

static bool read_stage(lua_State *L, struct rule *r, struct err *e) {
    char stage[16] = "";
    if (!text_field(L, "stage", stage, sizeof stage, r, e)) return false;
    r->stage = stage[0] ? stage_of(stage) : r->op->stage;
    return r->stage != STAGES || err_at(e, r->file, r->line, "%s: there is no stage '%s'", r->op->name, stage);
}

/* The rule on top. Its function, if it has one, stays where it is. */
static bool read_rule(lua_State *L, struct rule *r, struct err *e) {
    char op[32];
    int64_t line;
    if (!text_field(L, "file", r->file, sizeof r->file, r, e) || !number_field(L, "line", 0, UINT32_MAX, 0, &line, r, e)) return false;
    r->line = (uint32_t)line;
    if (!text_field(L, "op", op, sizeof op, r, e)) return false;
    r->op = rule_op_of(op);
    if (!r->op) return err_at(e, r->file, r->line, "there is no rule '%s': is the installation of one version?", op);
    raw(L, "strict");
    r->strict = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return read_stage(L, r, e) && read_how(L, r, e) && number_field(L, "number", 0, UINT32_MAX, -1, &r->number, r, e) &&
           text_field(L, "list", r->list, sizeof r->list, r, e) && text_field(L, "listed", r->listed, sizeof r->listed, r, e) &&
           text_field(L, "except", r->except, sizeof r->except, r, e) && text_field(L, "word", r->word, sizeof r->word, r, e) &&
           text_field(L, "text", r->text, sizeof r->text, r, e) && read_services(L, r, e) && read_listeners(L, r, e);
}

/* ---- the list ---- */

static bool read_settings(lua_State *L, struct rules *out, const char *display, struct err *e) {
    struct rule none = {0};
    char on_error[16];
    int64_t suspend;
    snprintf(none.file, sizeof none.file, "%s", display);
    if (!text_field(L, "on_error", on_error, sizeof on_error, &none, e) ||
        !number_field(L, "suspend_after", 0, 1000000, 100, &suspend, &none, e))
        return false;
    out->on_error = strcmp(on_error, "last") == 0 ? ON_ERROR_LAST : ON_ERROR_CLOSED;
    out->suspend_after = (uint32_t)suspend;
    return true;
}

/* Stack: the compiled value. */
static bool read_rules(lua_State *L, const char *display, struct rules *out, struct err *e) {
    if (!read_settings(L, out, display, e)) return false;
    bool fine = raw(L, "rules") == LUA_TTABLE;
    lua_Unsigned n = fine ? lua_rawlen(L, -1) : 0;
    fine = (fine && n <= RULES_MOST) || err_set(e, "%s: the rules are no list of at most %u", display, RULES_MOST);
    if (fine) fine = (out->rule = calloc(n ? n : 1, sizeof *out->rule)) || err_set(e, "out of memory");
    for (lua_Unsigned i = 1; fine && i <= n; i++) {
        fine = lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TTABLE || err_set(e, "%s: rule %d is none", display, (int)i);
        if (fine) fine = read_rule(L, &out->rule[out->n++], e);
        if (fine && !out->rule[i - 1].op->judge) out->rule[i - 1].number = (int64_t)i; /* where its function is */
        lua_pop(L, 1);
    }
    return fine; /* the list stays on top */
}

/* The functions of the Lua rules in the order of the bound rules, from the list on top, which they replace. */
static bool take_functions(lua_State *L, const struct rules *r, struct err *e) {
    lua_createtable(L, (int)r->n, 0);
    for (uint32_t i = 0; i < r->n; i++) {
        if (!r->rule[i].lua) continue;
        lua_rawgeti(L, -2, (lua_Integer)r->rule[i].number);
        if (raw(L, "judge") != LUA_TFUNCTION) return err_at(e, r->rule[i].file, r->rule[i].line, "the rule has no function");
        lua_rawseti(L, -3, (lua_Integer)i + 1);
        lua_pop(L, 1);
    }
    lua_remove(L, -2);
    return true;
}

static bool compile(struct vm *v, const char *display, struct err *e) {
    lua_State *L = vm_lua(v);
    if (!vm_require(v, "portreeve.admission", e)) return false;
    lua_pushliteral(L, "compile");
    lua_rawget(L, -2);
    lua_remove(L, -2);
    lua_insert(L, -2);
    lua_pushstring(L, display);
    if (!vm_call(v, 2, 2, e)) return false;
    if (!lua_istable(L, -2))
        return err_set(e, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "portreeve.admission gave no rules");
    lua_pop(L, 1);
    return true;
}

bool rules_read(struct vm *v, const char *display, const struct lists *l, struct rules *out, struct err *e) {
    lua_State *L = vm_lua(v);
    *out = (struct rules){0};
    if (!lua_checkstack(L, 12)) return err_set(e, "the Lua stack is full");
    int base = lua_gettop(L);
    bool fine =
        compile(v, display, e) && read_rules(L, display, out, e) && (!l || rules_bind(out, l, e)) && (!l || take_functions(L, out, e));
    if (fine) {
        lua_replace(L, base); /* over the value; what else is above goes */
        lua_settop(L, base);
    } else rules_finish(out);
    return fine;
}
