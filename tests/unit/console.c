/* The console's Lua in the state the engine gives it: trusted, with a step and a memory limit. What operators type ends, and harms nobody. */
#include "script/vm.h"
#include "unit/tap.h"
#include <lua5.4/lauxlib.h>
#include <unistd.h>

static const char engine[] =
    "local calls = 0\n"
    "local l = { { name = 'http', port = 8080.0, because = { file = 'conf/tomcat.ini', line = 3 } } }\n"
    "return { state_dir = 'S', status = function() return { listeners = l } end, plan = function() return l end, stats = function() return {} end,\n"
    "  connections = function() return {} end, decisions = function() return { list = {} } end, reload = function() return false, 'no' end }\n";

/* console.answer(line) -> reply in out; false: the call itself failed, the error is in out. */
static bool ask(struct vm *v, const char *line, char *out, size_t cap) {
    lua_State *L = vm_lua(v);
    struct err e = {{0}};
    lua_settop(L, 1);
    lua_pushstring(L, "answer"); /* outside of a call: the cap does not hold here */
    lua_rawget(L, 1);
    lua_pushstring(L, line);
    bool fine = vm_call(v, 1, 1, &e);
    snprintf(out, cap, "%s", fine ? lua_tostring(L, -1) : e.text);
    lua_settop(L, 1);
    return fine;
}

int main(void) {
    static const struct {
        const char *what, *text, *in_reply;
    } rows[] = {
        {"an expression", "{\"eval\":\"1+2\"}", "{\"ok\":true,\"text\":\"3\"}"},
        {"a listener", "{\"eval\":\"listener('http').because\"}", "file  conf\\/tomcat.ini"},
        {"an endless loop", "{\"eval\":\"while true do end\"}", "budget"},
        {"an endless loop in pcall", "{\"eval\":\"while true do pcall(function() while true do end end) end\"}", "budget"},
        {"an xpcall handler that loops", "{\"eval\":\"xpcall(error, function() while true do end end)\"}", "budget"},
        {"a pattern that backtracks", "{\"eval\":\"('a'):rep(3000):find(('a*'):rep(20) .. 'b')\"}", "budget"},
        {"a finalizer", "{\"eval\":\"setmetatable({}, {__gc = function() while true do end end})\"}", "may not have __gc"},
        {"memory", "{\"eval\":\"local t = {} for i = 1, 100 do t[i] = ('x'):rep(2000000) .. i end\"}", "memory"},
        {"load", "{\"eval\":\"load('return 1')\"}", "there is no 'load'"},
        {"io", "{\"eval\":\"io.open('/etc/passwd')\"}", "there is no 'io'"},
        {"require", "{\"eval\":\"require 'cjson'\"}", "there is no 'require'"},
        {"compiled Lua", "{\"eval\":\"\\u001bLua\"}", "\"ok\":false"},
        {"string methods spoiled", "{\"eval\":\"string.format = nil table.concat = nil pairs = nil\"}", "\"ok\":true"},
        {"a global", "{\"eval\":\"listeners = 1\"}", "\"ok\":true"},
        {"… gone with its line", "{\"eval\":\"#listeners()\"}", "\"text\":\"1\""},
        {"a value that refers to itself, as JSON", "{\"eval\":\"local t = {} t.t = t return t\",\"json\":true}", "too deeply"},
        {"a value that refers to itself, as text", "{\"eval\":\"local t = {} t.t = t return t\"}", "\"ok\":true"},
        {"a table with a loop in __pairs", "{\"eval\":\"setmetatable({}, {__pairs = function() while true do end end})\"}", "budget"},
        {"addresses", "{\"eval\":\"tostring({}) .. tostring(print2 or pairs)\"}", "print2"},
        {"no addresses", "{\"eval\":\"tostring({}) .. tostring(pairs)\"}", "tablefunction"},
        {"completion", "{\"complete\":\"lis\"}", "listener(\\nlisteners("},
        {"no JSON", "eval", "one line of JSON"},
    };
    alarm(120);
    struct err e = {{0}};
    struct vm_limits lim = {.memory = 64u << 20, .steps = 5000000};
    struct vm *v = vm_create(VM_TRUSTED, &lim, "lua", &e);
    lua_State *L = vm_lua(v);
    char out[4096];
    bool up = vm_require(v, "portreeve.console", &e) && lua_getfield(L, -1, "new") == LUA_TFUNCTION;
    up = up && luaL_loadstring(L, engine) == LUA_OK && vm_call(v, 0, 1, &e) && vm_call(v, 1, 1, &e);
    if (!ok(up, "the console is made %.300s", e.text)) return tap_end();
    lua_replace(L, 1);
    lua_settop(L, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ask(v, rows[i].text, out, sizeof out);
        bool as_wanted = strstr(out, rows[i].in_reply) != NULL;
        if (!as_wanted) printf("# %.300s\n", out);
        bool again = ask(v, "{\"eval\":\"1+2\"}", out, sizeof out) && strcmp(out, "{\"ok\":true,\"text\":\"3\"}") == 0;
        if (!again) printf("# afterwards: %.300s\n", out);
        ok(as_wanted && again, "%s", rows[i].what);
    }
    lua_gc(L, LUA_GCCOLLECT);
    ok(vm_memory(v) < 2u << 20, "memory is given back (%zu bytes in use)", vm_memory(v));
    vm_destroy(v);
    return tap_end();
}
