/* The planner's Lua states, and what is asked of Lua: rules, policies, then bind for the plan. Each policy file gets a state of its own,
 * so that none can lean on what another left behind. */
#include "engine/planner_ahead.h"
#include "engine/planner_vm.h"
#include "script/lib.h"
#include "script/marshal_plan.h"
#include "script/vm.h"
#include <stdio.h>

#define RULES_STEPS  1000000000ll /* our own code over files of bounded size: a backstop only */
#define RULES_MEMORY (1ull << 30)
#define GC_PAUSE     1000        /* percent that the memory may grow before it is collected */
#define POLICY_STEPS 100000000ll /* a policy file, all tests of a file, or bind: far below the processor time the planner may use */

static const char *fetch(void *ctx, const char *name, size_t *n, const char **display) {
    const struct planner *p = ctx;
    char path[BUNDLE_PATH];
    const char *text;
    snprintf(path, sizeof path, "policies/%.200s.lua", name);
    const struct bundle_file *f = bundle_writer_find(p->files, path, &text);
    if (!f) return NULL;
    *n = f->size;
    *display = f->display;
    return text;
}

void planner_vm_source(struct vm *v, struct planner *p) {
    vm_policy_source(v, fetch, p);
}

static struct vm *open_vm(struct planner *p, const struct vm_limits *lim, struct err *e) {
    struct vm *v = vm_create(VM_SANDBOX, lim, p->luadir, e);
    if (!v) return NULL;
    vm_open_libs(v, VM_SANDBOX);
    planner_vm_source(v, p);
    lua_gc(vm_lua(v), LUA_GCINC, GC_PAUSE, 0, 0); /* it lives for one plan: collecting what leaves with it anyway is wasted */
    return v;
}

struct vm *planner_policy_vm(struct planner *p, struct err *e) {
    struct vm_limits lim = {.memory = (size_t)p->plan.set.policy_memory, .steps = POLICY_STEPS};
    return open_vm(p, &lim, e);
}

struct vm *planner_vm(struct planner *p, struct err *e) {
    struct vm_limits lim = {.memory = RULES_MEMORY, .steps = RULES_STEPS};
    return open_vm(p, &lim, e);
}

/* Every interface, those without an address too. */
static void push_interfaces(lua_State *L, const struct iflist *l) {
    lua_createtable(L, (int)l->nlinks, 0);
    for (uint32_t i = 0; i < l->nlinks; i++) {
        lua_pushstring(L, l->link[i].name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

void planner_push_host(lua_State *L, const struct host *h) {
    lua_createtable(L, 0, 3);
    push_interfaces(L, &h->list);
    lua_setfield(L, -2, "interfaces");
    lua_pushboolean(L, h->ipv6);
    lua_setfield(L, -2, "ipv6");
    lua_createtable(L, (int)h->list.naddresses, 0);
    for (uint32_t i = 0; i < h->list.naddresses; i++) {
        const struct ifaddress *a = &h->list.address[i];
        struct addr bare = a->at;
        char ip[ADDR_TEXT];
        bare.scope = 0;
        addr_format_ip(&bare, ip);
        lua_createtable(L, 0, 5);
        lua_pushstring(L, ip);
        lua_setfield(L, -2, "ip");
        lua_pushstring(L, a->name);
        lua_setfield(L, -2, "interface");
        lua_pushinteger(L, a->index);
        lua_setfield(L, -2, "scope");
        lua_pushboolean(L, a->tentative);
        lua_setfield(L, -2, "tentative");
        lua_pushboolean(L, a->duplicate);
        lua_setfield(L, -2, "duplicate");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "addresses");
}

static void say(void *ctx, bool error, const char *text) {
    if (error) planner_error(ctx, "%s", text);
    else planner_warn(ctx, "%s", text);
}

/* Where the function on top of the stack begins: the best place for a fault in the value it returned. */
static unsigned defined_at(lua_State *L) {
    lua_Debug ar;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">S", &ar);
    return ar.linedefined > 0 ? (unsigned)ar.linedefined : 1;
}

/* What rules and plan say together (portreeve.review): rules and plan are on top. It is no policy, so no policy can leave it out. */
static bool review(struct planner *p, struct vm *v, struct err *e) {
    lua_State *L = vm_lua(v);
    if (!vm_require(v, "portreeve.review", e)) return false;
    lua_insert(L, -3);
    if (!vm_call(v, 2, 1, e)) return false;
    planner_messages(p, L, "errors", true);
    planner_messages(p, L, "warnings", false);
    return true;
}

bool planner_push_bind(struct planner *p, struct vm *v, struct err *e) {
    const char *text;
    const struct bundle_file *f = bundle_writer_find(p->files, "policies/bind.lua", &text);
    if (!f) return err_set(e, "policies/bind.lua is missing");
    return vm_policy(v, text, f->size, f->display, e);
}

/* The function is on top. */
static bool bind_in(struct planner *p, struct vm *v, const struct host *h, struct err *e) {
    const char *display = bundle_writer_find(p->files, "policies/bind.lua", NULL)->display;
    unsigned line = defined_at(vm_lua(v));
    if (!planner_push_rules(p, v, false, e)) return false;
    lua_pushvalue(vm_lua(v), -1); /* the rules stay for the review */
    lua_insert(vm_lua(v), -3);
    planner_push_host(vm_lua(v), h);
    if (!vm_call(v, 2, 1, e)) return false;
    struct err why;
    if (!marshal_plan(vm_lua(v), -1, &p->plan, say, p, &why))
        return err_at(e, display, line, "the value this function returned is no plan: %.800s", why.text);
    return review(p, v, e);
}

static void ask_bind(struct planner *p) {
    struct err e;
    struct host h = {0};
    struct vm *v = ahead_bind(p);
    bool good = host_read(&h, &e) && (v || ((v = planner_policy_vm(p, &e)) && planner_push_bind(p, v, &e))) && bind_in(p, v, &h, &e);
    if (good) planner_settle(p, &h);
    else planner_error(p, "%s", e.text);
    if (!p->ahead) vm_destroy(v); /* else the process leaves in a moment, and takes it along at once */
    host_finish(&h);
}

void planner_policies(struct planner *p) {
    planner_rules(p);
    if (!p->again && !ahead_tested(p)) planner_try_policies(p);
}

void planner_lua(struct planner *p) {
    planner_policies(p);
    if (p->errors == 0) ask_bind(p);
}
