/* Policies compiled, and their tests run, each file in a Lua state of its own. */
#include "engine/planner_vm.h"
#include "script/rules_read.h"
#include "script/vm.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <string.h>

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
            good = list_there(p, name[k]) || err_at(e, one->file, one->line, "%s: there is no address list '%s': make lists/%s.list",
                                                    one->op->name, name[k], name[k]);
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
