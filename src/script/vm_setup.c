/* What a new state begins with: libraries, search paths, the whitelist, and the environment of the standard library. */
#include "plan/library.h"
#include "script/vm_i.h"
#include <string.h>

static void new_registry_table(lua_State *L, const void *key) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* Remove each "./…" entry of package.path or .cpath: code comes from installed folders, never from where somebody stood. */
static void drop_working_directory(lua_State *L, const char *field, const char *first) {
    lua_getfield(L, -1, field);
    const char *s = lua_tostring(L, -1);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, first);
    while (s && *s) {
        size_t n = strcspn(s, ";");
        if (n && strncmp(s, "./", 2) != 0) {
            luaL_addlstring(&b, s, n);
            luaL_addchar(&b, ';');
        }
        s += n + (s[n] == ';');
    }
    luaL_pushresult(&b);
    lua_setfield(L, -3, field);
    lua_pop(L, 1);
}

static int safe_environment(lua_State *L) { /* environment() -> a fresh table of the whitelisted names, for code that people type */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_key_template);
    vm_copy_template(L, -1, true);
    return 1;
}
static int open_safe(lua_State *L) { /* portreeve.safe, in trusted states */
    static const luaL_Reg functions[] = {{"environment", safe_environment}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}

/* Lua unloads C libraries with the state that loaded them. Database clients make themselves ready once a process, with memory that would be
 * lost at each reload, so they stay. */
static void keep_libraries(lua_State *L) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "_CLIBS");
    lua_pushnil(L);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

/* A searcher of package.searchers: modules of the image. */
static int find_held(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    int status = vm_load_named(L, name);
    if (status == VM_NO_FILE) {
        lua_pushfstring(L, "no module '%s' in the library", name);
        return 1;
    }
    if (status != LUA_OK) return lua_error(L);
    lua_pushfstring(L, "lua/%s", name);
    return 2;
}

/* Behind preloaded modules and before files: nothing on disk takes the place of what is held. `package` is on top. */
static void search_held(lua_State *L) {
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, find_held);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 1);
}

static void setup_trusted(lua_State *L, struct vm *v) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); /* nor from the environment of whoever starts us */
    luaL_openlibs(L);
    keep_libraries(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open_safe);
    lua_setfield(L, -2, "portreeve.safe");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &vm_key_preload);
    if (library_held()) {
        search_held(L);
        lua_pushliteral(L, "");
    } else {
        lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", v->luadir, v->luadir);
    }
    lua_insert(L, -2);
    drop_working_directory(L, "path", lua_tostring(L, -2));
    drop_working_directory(L, "cpath", "");
    lua_pop(L, 2);
}

static void open_some(lua_State *L) {
    static const luaL_Reg libs[] = {{LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string}, {LUA_TABLIBNAME, luaopen_table},
                                    {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},  {LUA_DBLIBNAME, luaopen_debug}};
    for (size_t i = 0; i < sizeof libs / sizeof *libs; i++) {
        luaL_requiref(L, libs[i].name, libs[i].func, 1);
        lua_pop(L, 1);
    }
}

/* ("x"):find(…) of every script uses this table, which no script gets hold of. template: index. */
static void protect_strings(lua_State *L, int template) {
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_getfield(L, template, "string");
    vm_copy_template(L, -1, false);
    lua_setfield(L, -3, "__index");
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

/* What the library's own code has beyond a policy: rawset, the real setmetatable, a look at its caller. */
static void setup_std_env(lua_State *L) {
    static const char *const more[] = {"rawset", "setmetatable", "getmetatable"};
    vm_push_env(L, vm_std_require);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        lua_pushstring(L, more[i]);
        lua_getglobal(L, more[i]);
        lua_rawset(L, -3);
    }
    lua_pushliteral(L, "debug");
    lua_createtable(L, 0, 1);
    lua_getglobal(L, "debug");
    lua_getfield(L, -1, "getinfo");
    lua_setfield(L, -3, "getinfo");
    lua_pop(L, 1);
    lua_rawset(L, -3);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &vm_key_std_env);
}

static void forget_globals(lua_State *L) {
    lua_newtable(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}

/* A trusted state with a step limit (the console's) keeps its libraries, but those calls that run long in C get bounds. */
static void bound_globals(lua_State *L, int template) {
    static const char *const names[] = {"string", "table", "utf8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_getglobal(L, names[i]);
        lua_getfield(L, template, names[i]);
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -5);
        }
        lua_pop(L, 2);
    }
    lua_getfield(L, template, "xpcall"); /* while a stock handler runs for the hook's own error, hooks are off */
    lua_setglobal(L, "xpcall");
}

int vm_env_setup(lua_State *L) {
    struct vm *v = vm_of(L);
    new_registry_table(L, &vm_key_loaded);
    new_registry_table(L, &vm_key_policies);
    if (v->kind == VM_TRUSTED) {
        setup_trusted(L, v);
    } else {
        new_registry_table(L, &vm_key_preload);
        open_some(L);
    }
    vm_safe_template(L);
    int template = lua_gettop(L);
    lua_pushvalue(L, template);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &vm_key_template);
    if (v->bounded) protect_strings(L, template);
    if (v->kind == VM_SANDBOX) {
        setup_std_env(L);
        forget_globals(L);
    } else if (v->bounded) {
        bound_globals(L, template);
    }
    lua_pop(L, 1);
    return 0;
}
