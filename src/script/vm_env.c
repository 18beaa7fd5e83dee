#include "script/vm_i.h"
#include <stdlib.h>
#include <string.h>

#define MODULE_MAX 96
#define COPY_DEPTH 16

/* Modules of the standard library that policies may require. Their plain tables are handed out as copies, so nothing a policy does
 * to them reaches another policy or the library. */
static const char *const for_policies[] = {"addr", "admission",  "classify", "clientcert", "fake",   "ini",      "list",  "limits", "match",
                                           "plan", "policytest", "response", "rules",      "schema", "services", "token", "verdict"};

/* ---- names ---- */

/* Labels of [a-z0-9_], separated by single dots, beginning with `root`. */
static bool module_name(const char *name, const char *root) {
    size_t r = strlen(root), n = strlen(name);
    if (n >= MODULE_MAX || strncmp(name, root, r) != 0 || name[r] != '.') return false;
    for (size_t i = r; i < n; i++) {
        char c = name[i];
        if (c == '.' ? (name[i + 1] == '.' || !name[i + 1]) : !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
    }
    return true;
}

static bool policies_may(const char *name) {
    const char *last = name + strlen("portreeve.");
    for (size_t i = 0; i < sizeof for_policies / sizeof *for_policies; i++)
        if (strcmp(last, for_policies[i]) == 0) return true;
    return false;
}

/* ---- environments ---- */

static int no_such_name(lua_State *L) {
    return luaL_error(L, "there is no '%s' here", vm_safe_tostring(L, 2, NULL));
}
static int no_new_name(lua_State *L) {
    return luaL_error(L, "'%s' would be a global: write `local %s`", vm_safe_tostring(L, 2, NULL), vm_safe_tostring(L, 2, NULL));
}

void vm_copy_template(lua_State *L, int index, bool deep) {
    index = lua_absindex(L, index);
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (deep && lua_istable(L, -1)) {
            vm_copy_template(L, -1, false);
            lua_replace(L, -2);
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
}

void vm_push_env(lua_State *L, lua_CFunction require) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_key_template);
    vm_copy_template(L, -1, true);
    lua_replace(L, -2);
    lua_newtable(L); /* what this environment has required */
    lua_pushcclosure(L, require, 1);
    lua_setfield(L, -2, "require");
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, no_such_name);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, no_new_name);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* ---- standard library ---- */

/* Load NAME.lua or NAME/init.lua: a status of lua_load, the function or the message pushed; or VM_NO_FILE. */
int vm_load_named(lua_State *L, const char *name) {
    char rel[MODULE_MAX], display[MODULE_MAX + 32];
    int status = VM_NO_FILE;
    if ((size_t)snprintf(rel, sizeof rel, "%s", name) >= sizeof rel) return VM_NO_FILE;
    for (char *p = rel; *p; p++)
        if (*p == '.') *p = '/';
    for (size_t i = 0; i < 2 && status == VM_NO_FILE; i++) {
        char tail[MODULE_MAX + 16];
        snprintf(tail, sizeof tail, i ? "%s/init.lua" : "%s.lua", rel);
        snprintf(display, sizeof display, "@lua/%s", tail);
        status = vm_load_file(L, tail, display);
    }
    return status;
}

/* Push the loaded chunk of a library module, its environment set; raises. */
static void load_module(lua_State *L, const char *name) {
    int status = vm_load_named(L, name);
    if (status == VM_NO_FILE) luaL_error(L, "there is no module '%s' in %s", name, vm_of(L)->luadir[0] ? vm_of(L)->luadir : "the library");
    if (status != LUA_OK) lua_error(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_key_std_env);
    lua_setupvalue(L, -2, 1);
}

/* Call the function below nargs arguments and keep its one result as cache[name], marked there while it runs. After a failure the mark
 * is gone, so it may be asked for again. */
static void remember(lua_State *L, int cache, const char *name, int nargs) {
    lua_pushlightuserdata(L, vm_of(L));
    lua_setfield(L, cache, name);
    int status = lua_pcall(L, nargs, 1, 0);
    if (status != LUA_OK) {
        lua_pushnil(L);
        lua_setfield(L, cache, name);
        lua_error(L);
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, cache, name);
}

int vm_std_require(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_key_loaded); /* 2 */
    if (lua_getfield(L, 2, name) != LUA_TNIL) {
        if (lua_islightuserdata(L, -1)) return luaL_error(L, "module '%s' requires itself in a circle", name);
        return 1;
    }
    if (!module_name(name, "portreeve")) return luaL_error(L, "there is no module '%s'", name);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_key_preload);
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
        lua_pop(L, 1);
        load_module(L, name);
    }
    lua_pushvalue(L, 1);
    remember(L, 2, name, 1);
    return 1;
}

/* Push a library module by the way of this kind of state; raises. */
static void push_module(lua_State *L, const char *name) {
    if (vm_of(L)->kind == VM_SANDBOX) lua_pushcfunction(L, vm_std_require);
    else lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

/* ---- policies ---- */

/* Replace the value on top by what a policy may get: plain tables as copies, everything else (functions, tables with a metatable,
 * which look after themselves) as it is. seen: index of a table original -> copy. */
static void hand_out(lua_State *L, int seen, int depth) {
    if (!lua_istable(L, -1)) return;
    if (lua_getmetatable(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    if (depth > COPY_DEPTH) luaL_error(L, "a module's tables are nested deeper than %d", COPY_DEPTH);
    luaL_checkstack(L, 8, "copying a module");
    int from = lua_gettop(L);
    lua_pushvalue(L, from);
    if (lua_rawget(L, seen) == LUA_TTABLE) {
        lua_replace(L, from);
        return;
    }
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, from);
    lua_pushvalue(L, from + 1);
    lua_rawset(L, seen);
    lua_pushnil(L);
    while (lua_next(L, from)) {
        hand_out(L, seen, depth + 1);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, from + 1);
    }
    lua_replace(L, from);
}

struct policy {
    const char *text, *display;
    size_t n;
};

static int policy_require(lua_State *L);

/* Compile and run; pushes the result; raises. */
static void run_policy(lua_State *L, const struct policy *p) {
    if (p->n > VM_TEXT_MAX) luaL_error(L, "%s: %d bytes is more than a policy may have (%d)", p->display, (int)p->n, (int)VM_TEXT_MAX);
    lua_pushfstring(L, "@%s", p->display);
    if (luaL_loadbufferx(L, p->text, p->n, lua_tostring(L, -1), "t") != LUA_OK) {
        if (p->n && p->text[0] == LUA_SIGNATURE[0]) luaL_error(L, "%s:1: this is compiled Lua; a policy is text", p->display);
        lua_error(L);
    }
    vm_push_env(L, policy_require);
    lua_setupvalue(L, -2, 1);
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1)) luaL_error(L, "%s: the file returns nothing; it must end with `return`", p->display);
    lua_remove(L, -2);
}

static int run_fetched(lua_State *L) {
    run_policy(L, lua_touserdata(L, 1));
    return 1;
}

/* Push the value of policies.NAME, run at most once in a state; raises. */
static void require_policy(lua_State *L, const char *name) {
    struct vm *v = vm_of(L);
    const char *short_name = name + strlen("policies.");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_key_policies);
    int cache = lua_gettop(L);
    if (lua_getfield(L, cache, short_name) == LUA_TLIGHTUSERDATA) luaL_error(L, "policy '%s' requires itself in a circle", short_name);
    if (lua_isnil(L, -1)) {
        struct policy p = {0};
        if (v->fetch) p.text = v->fetch(v->fetch_ctx, short_name, &p.n, &p.display);
        if (!p.text) luaL_error(L, "there is no policy file for '%s'", name);
        lua_pushcfunction(L, run_fetched);
        lua_pushlightuserdata(L, &p);
        remember(L, cache, short_name, 1);
    }
    lua_remove(L, cache);
}

/* require(name) of policies; upvalue 1: what this environment has required already. */
static int policy_require(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    if (lua_getfield(L, lua_upvalueindex(1), name) != LUA_TNIL) return 1;
    lua_pop(L, 1);
    if (module_name(name, "policies")) require_policy(L, name);
    else if (module_name(name, "portreeve") && policies_may(name)) push_module(L, name);
    else return luaL_error(L, "a policy may not require '%s'", name);
    lua_newtable(L);
    lua_insert(L, 2);
    hand_out(L, 2, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, lua_upvalueindex(1), name);
    return 1;
}

/* ---- doors ---- */

static int policy_door(lua_State *L) {
    const struct policy *p = lua_touserdata(L, 1);
    run_policy(L, p);
    return 1;
}
bool vm_policy(struct vm *v, const char *text, size_t n, const char *display, struct err *e) {
    struct policy p = {.text = text, .display = display, .n = n};
    lua_pushcfunction(v->L, policy_door);
    lua_pushlightuserdata(v->L, &p);
    return vm_call(v, 1, 1, e);
}

static int require_door(lua_State *L) {
    push_module(L, lua_touserdata(L, 1));
    return 1;
}
bool vm_require(struct vm *v, const char *module, struct err *e) {
    lua_pushcfunction(v->L, require_door);
    lua_pushlightuserdata(v->L, (void *)(uintptr_t)module);
    return vm_call(v, 1, 1, e);
}

void vm_preload(struct vm *v, const char *module, lua_CFunction open) {
    lua_rawgetp(v->L, LUA_REGISTRYINDEX, &vm_key_preload);
    lua_pushcfunction(v->L, open);
    lua_setfield(v->L, -2, module);
    lua_pop(v->L, 1);
}

void vm_policy_source(struct vm *v, const char *(*fetch)(void *ctx, const char *name, size_t *n, const char **display), void *ctx) {
    v->fetch = fetch;
    v->fetch_ctx = ctx;
}
