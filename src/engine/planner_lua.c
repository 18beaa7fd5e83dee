/* The Lua half of the gate: rules, policies compiled, their tests run, bind asked for the plan. Each policy file gets a state of its own,
 * so that none can lean on what another left behind. */
#include "engine/planner_ahead.h"
#include "engine/planner_vm.h"
#include "script/lib.h"
#include "script/marshal_plan.h"
#include "script/rules_read.h"
#include "script/vm.h"
#include <inttypes.h>
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULES_STEPS  1000000000ll /* our own code over files of bounded size: a backstop only */
#define RULES_MEMORY (1ull << 30)
#define GC_PAUSE     1000 /* percent that the memory may grow before it is collected */
#define POLICY_STEPS 100000000ll /* a policy file, all tests of a file, or bind: far below the processor time the planner may use */
#define MOST_CERTS   4096
#define PASSWORD_MAX 4096

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

/* { ["tomcat.ini"] = { text =, display = }, … } of every INI file, services and the overrides, as hooks_push_conf makes it from a bundle. */
static void push_texts(lua_State *L, const struct planner *p) {
    static const char *const names[] = {"tomcat.ini", "hub.ini",       "lui.ini",       "tracker.ini",      "ssl.ini",
                                        "my.ini",     "listeners.ini", "portreeve.ini", "certificates.ini", "services", "--set"};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text;
        const struct bundle_file *f = bundle_writer_find(p->files, names[i], &text);
        if (!f) continue;
        lua_createtable(L, 0, 2);
        lua_pushlstring(L, text, f->size);
        lua_setfield(L, -2, "text");
        lua_pushstring(L, f->display);
        lua_setfield(L, -2, "display");
        lua_setfield(L, -2, names[i]);
    }
}

/* Call portreeve.rules.NAME with the value on top (replaced by nresults). */
static bool call_rules(struct vm *v, const char *name, int nresults, struct err *e) {
    lua_State *L = vm_lua(v);
    if (!vm_require(v, "portreeve.rules", e)) return false;
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_insert(L, -2);
    return vm_call(v, 1, nresults, e);
}

static void take_messages(struct planner *p, lua_State *L, const char *field, bool error) {
    lua_getfield(L, -1, field);
    for (lua_Unsigned i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        const char *s = lua_tostring(L, -1);
        if (s && error)
            planner_error(p, "%s", s);
        else if (s)
            planner_warn(p, "%s", s);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

bool planner_push_rules(struct planner *p, struct vm *v, bool report, struct err *e) {
    lua_State *L = vm_lua(v);
    push_texts(L, p);
    if (!call_rules(v, "read", 2, e)) return false;
    if (report) {
        take_messages(p, L, "errors", true);
        if (!p->again || p->nedits) take_messages(p, L, "warnings", false);
        lua_getfield(L, -1, "more");
        if (!p->again || p->nedits) p->hidden += (unsigned)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

/* A text field of the table on top; nil leaves out empty. */
static bool text_field(struct planner *p, lua_State *L, const char *name, const char *place, char *out, size_t cap) {
    size_t n = 0;
    lua_getfield(L, -1, name);
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : "";
    bool good = n < cap && strlen(s) == n;
    if (good)
        memcpy(out, s, n + 1);
    else
        planner_error(p, "%s: %s is longer than %zu bytes or holds a NUL", place, name, cap - 1);
    lua_pop(L, 1);
    return good;
}

/* The first line of the password file; the file goes into the bundle, since another plan may be made of it. */
static void take_password(struct planner *p, struct plan_cert *c, const char *place, const char *file) {
    char path[PLANNER_PATH * 2], logical[BUNDLE_PATH];
    struct buf text = {0};
    struct err e;
    const char *kept = NULL;
    uint32_t mode = 0;
    bool absent;
    snprintf(path, sizeof path, "%s%s%s", file[0] == '/' ? "" : p->certs_dir, file[0] == '/' ? "" : "/", file);
    snprintf(logical, sizeof logical, "certs/%s.password", c->name);
    const struct bundle_file *f = p->again ? bundle_writer_find(p->files, logical, &kept) : NULL;
    bool good = p->again ? f && buf_add(&text, kept, f->size) : planner_read_file(path, PASSWORD_MAX, false, &text, &mode, &absent, &e);
    if (good && !p->again) good = bundle_add(p->files, logical, strlen(path) < BUNDLE_PATH ? path : "password file", text.p ? text.p : "", text.n, mode, &e);
    if (!good && !p->again)
        planner_error(p, "%s: %s.PasswordFile: %s", place, c->name, e.text);
    else if (mode & 077)
        planner_warn(p, "%s: %s.PasswordFile: others than its owner may read %s: chmod 600", place, c->name, path);
    size_t n = 0; /* a file of one line */
    while (n < text.n && text.p[n] && text.p[n] != '\r' && text.p[n] != '\n') n++;
    if (n < sizeof c->password)
        memcpy(c->password, text.p ? text.p : "", n);
    else
        planner_error(p, "%s: %s.PasswordFile: the password is longer than %zu bytes", place, c->name, sizeof c->password - 1);
    if (text.p) explicit_bzero(text.p, text.cap);
    buf_free(&text);
}

static bool keep_text(struct planner *p, const char *text, const char **out) {
    const char *kept = texts_add(&p->plan.texts, text, strlen(text));
    if (kept) *out = kept;
    else planner_error(p, "out of memory");
    return kept != NULL;
}

static void take_cert(struct planner *p, lua_State *L, struct plan_cert *c) {
    char place[PLAN_PATH + PLAN_NAME + 32], file[PLAN_PATH], entry[PLAN_NAME], password_file[PLANNER_PATH];
    c->because = (struct plan_because)PLAN_BECAUSE_BLANK;
    lua_getfield(L, -1, "line");
    c->because.line = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (!text_field(p, L, "file", "certificates.ini", file, sizeof file)) return;
    snprintf(place, sizeof place, "%s:%" PRIu32, file, c->because.line);
    bool good = text_field(p, L, "name", place, c->name, sizeof c->name) &&
                text_field(p, L, "entry", place, entry, sizeof entry) && keep_text(p, file, &c->because.file) &&
                keep_text(p, entry, &c->because.entry) &&
                text_field(p, L, "certificate", place, c->chain, sizeof c->chain) &&
                text_field(p, L, "key", place, c->key, sizeof c->key) && text_field(p, L, "names", place, c->names, sizeof c->names) &&
                text_field(p, L, "password", place, c->password, sizeof c->password) &&
                text_field(p, L, "password_file", place, password_file, sizeof password_file);
    const struct bundle_file *ini = bundle_writer_find(p->files, "certificates.ini", NULL);
    if (good && c->password[0] && ini && (ini->mode & 007))
        planner_warn(p, "%s: %s.Password: everybody on this machine may read it: chmod o= %s, or use PasswordFile", place, c->name, ini->display);
    if (good && password_file[0]) take_password(p, c, place, password_file);
}

static void take_certs(struct planner *p, lua_State *L) {
    lua_getfield(L, -1, "certificates");
    lua_Unsigned n = lua_rawlen(L, -1);
    if (n > MOST_CERTS)
        planner_error(p, "certificates.ini: more than %d certificates", MOST_CERTS);
    else
        p->plan.cert = calloc(n ? n : 1, sizeof *p->plan.cert);
    for (lua_Unsigned i = 1; p->plan.cert && i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        take_cert(p, L, &p->plan.cert[p->plan.ncerts++]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Lists written into listeners.ini: { { name =, text =, file =, line = }, … }. */
static void take_inlines(struct planner *p, lua_State *L) {
    planner_inlines_finish(p);
    lua_getfield(L, -1, "lists");
    for (lua_Unsigned i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        lua_getfield(L, -1, "name");
        lua_getfield(L, -2, "text");
        lua_getfield(L, -3, "file");
        lua_getfield(L, -4, "line");
        if (!planner_inline_add(p, lua_tostring(L, -4), lua_tostring(L, -3), lua_tostring(L, -2), (unsigned)lua_tointeger(L, -1)))
            planner_error(p, "out of memory");
        lua_pop(L, 5);
    }
    lua_pop(L, 1);
}

/* What the plan needs beside the sockets: settings, components, certificates, lists within entries. The rules are on top and stay. */
static bool take_rules(struct planner *p, struct vm *v, struct err *e) {
    lua_State *L = vm_lua(v);
    lua_pushvalue(L, -1);
    if (!call_rules(v, "for_gate", 1, e)) return false;
    lua_getfield(L, -1, "settings");
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) {
        int whole = 0;
        lua_getfield(L, -1, d->field);
        *plan_setting(&p->plan.set, d->field) = lua_tointegerx(L, -1, &whole);
        if (!whole)
            planner_error(p, "portreeve.ini: %s is missing from lua/portreeve/settings.lua: is the installation of one version?", d->entry);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    (void)text_field(p, L, "components", "portreeve.ini: Components", p->plan.components, sizeof p->plan.components);
    (void)text_field(p, L, "user", "portreeve.ini: User", p->user, sizeof p->user);
    take_certs(p, L);
    take_inlines(p, L);
    lua_pop(L, 1);
    return true;
}

struct vm *planner_vm(struct planner *p, struct err *e) {
    struct vm_limits lim = {.memory = RULES_MEMORY, .steps = RULES_STEPS};
    return open_vm(p, &lim, e);
}

static void read_rules(struct planner *p) {
    struct err e;
    struct vm *v = ahead_rules(p);
    if (!v) v = planner_vm(p, &e);
    unsigned before = p->errors;
    bool good = v && planner_push_rules(p, v, true, &e) && (p->errors > before || take_rules(p, v, &e));
    if (!good) planner_error(p, "%s", e.text);
    if (good && p->keep) lua_settop(vm_lua(v), 0);
    if (good && p->keep) p->keep->rules = v;
    else if (!p->ahead) vm_destroy(v);
}

static bool is_test(const char *path) {
    size_t n = strlen(path), t = strlen("_test.lua");
    return n > t && strcmp(path + n - t, "_test.lua") == 0;
}

/* Results of policytest.run: { { name =, ok =, message = }, … } on top, or nil and why. */
static void take_results(struct planner *p, lua_State *L, const char *display) {
    if (!lua_istable(L, -2)) {
        planner_error(p, "%s: %s", display, lua_isstring(L, -1) ? lua_tostring(L, -1) : "no result");
        return;
    }
    for (lua_Unsigned i = 1; i <= lua_rawlen(L, -2); i++) {
        lua_rawgeti(L, -2, (lua_Integer)i);
        lua_getfield(L, -1, "ok");
        lua_getfield(L, -2, "name");
        lua_getfield(L, -3, "message");
        p->tests++;
        if (p->tap) printf("%sok %u - %s: %s\n", lua_toboolean(L, -3) ? "" : "not ", p->tests, display, lua_tostring(L, -2));
        if (!lua_toboolean(L, -3))
            planner_error(p, "%s: the test \"%s\" failed (%s)", lua_isstring(L, -1) ? lua_tostring(L, -1) : display, lua_tostring(L, -2),
                          display);
        lua_pop(L, 4);
    }
}

static bool run_tests(struct planner *p, struct vm *v, const char *display, struct err *e) {
    lua_State *L = vm_lua(v); /* the table of tests is on top */
    if (!vm_require(v, "portreeve.policytest", e)) return false;
    lua_getfield(L, -1, "run");
    lua_remove(L, -2);
    lua_insert(L, -2);
    if (!vm_call(v, 1, 2, e)) return false;
    take_results(p, L, display);
    return true;
}

static bool list_there(const struct planner *p, const char *name) {
    static const char *const always[] = {"denied", "clients", "cluster", "admin", "components"};
    char path[BUNDLE_PATH];
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (strcmp(always[i], name) == 0) return true;
    for (unsigned i = 0; i < p->ninlines; i++)
        if (strcmp(p->inlines[i].name, name) == 0) return true;
    snprintf(path, sizeof path, "lists/%.200s.list", name);
    return name[0] == '\0' || bundle_writer_find(p->files, path, NULL);
}

/* The rules of admission: can they be read, and are their lists there? */
static bool try_admission(const struct planner *p, struct vm *v, const char *display, struct err *e) {
    struct rules r;
    if (!rules_read(v, display, NULL, &r, e)) return false;
    bool good = true;
    for (uint32_t i = 0; good && i < r.n; i++) {
        const struct rule *one = &r.rule[i];
        const char *name[] = {one->list, one->listed, one->except};
        for (unsigned k = 0; good && k < 3; k++)
            good = list_there(p, name[k]) || err_at(e, one->file, one->line, "%s: there is no address list '%s': make lists/%s.list", one->op->name, name[k], name[k]);
    }
    rules_finish(&r);
    return good;
}

static void try_policy(struct planner *p, const struct bundle_file *f, const char *text) {
    struct err e;
    struct vm *v = planner_policy_vm(p, &e);
    bool good = v && vm_policy(v, text, f->size, f->display, &e);
    if (good && is_test(f->path)) {
        good = run_tests(p, v, f->display, &e);
    } else if (good && strcmp(f->path, "policies/admission.lua") == 0) {
        good = try_admission(p, v, f->display, &e);
    } else if (good) {
        static const char *const functions[] = {"policies/bind.lua", "policies/route.lua"};
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
            if (strcmp(f->path, functions[i]) == 0 && !lua_isfunction(vm_lua(v), -1))
                good = err_set(&e, "%s: the file must return a function, it returns a %s", f->display, luaL_typename(vm_lua(v), -1));
    }
    if (!good) planner_error(p, "%s", e.text);
    vm_destroy(v);
}

/* Policies first, then tests: a policy that does not compile would only make its tests fail too. */
void planner_try_policies(struct planner *p) {
    unsigned before = p->errors;
    for (int tests = 0; tests < 2 && p->errors == before; tests++)
        for (unsigned i = 0; i < p->npolicies; i++) {
            const char *text = NULL;
            if (is_test(p->policy[i]->path) != (tests == 1)) continue;
            bundle_writer_find(p->files, p->policy[i]->path, &text);
            try_policy(p, p->policy[i], text);
        }
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
    if (error)
        planner_error(ctx, "%s", text);
    else
        planner_warn(ctx, "%s", text);
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
    take_messages(p, L, "errors", true);
    take_messages(p, L, "warnings", false);
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

void planner_rules(struct planner *p) {
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) *plan_setting(&p->plan.set, d->field) = d->dflt;
    read_rules(p);
}

void planner_policies(struct planner *p) {
    planner_rules(p);
    if (!p->again && !ahead_tested(p)) planner_try_policies(p);
}

void planner_lua(struct planner *p) {
    planner_policies(p);
    if (p->errors == 0) ask_bind(p);
}
