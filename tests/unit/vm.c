/* The bounded Lua state against scripts that mean harm: each ends with an error under the budget, and the state works afterwards.
 * Rows named T1 … T6 are the rows of reliability.md, "Lua sandbox". */
#include "script/vm.h"
#include "unit/tap.h"
#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <unistd.h>

struct row {
    const char *what, *script, *error; /* error: part of the message; NULL: the script returns true */
};
#define BUDGET "the budget of"
#define SPENT  "processor time"
#define MEMORY "not enough memory"

#define FAR                                                                                                                     \
    "[1<<0]=1, [1<<1]=1, [1<<2]=1, [1<<3]=1, [1<<4]=1, [1<<5]=1, [1<<6]=1, [1<<7]=1, [1<<8]=1, [1<<9]=1, [1<<10]=1, "           \
    "[1<<11]=1, [1<<12]=1, [1<<13]=1, [1<<14]=1, [1<<15]=1, [1<<16]=1, [1<<17]=1, [1<<18]=1, [1<<19]=1, [1<<20]=1, [1<<21]=1, " \
    "[1<<22]=1, [1<<23]=1, [1<<24]=1, [1<<25]=1, [1<<26]=1, [1<<27]=1, [1<<28]=1, [1<<29]=1, [1<<30]=1, [1<<31]=1, [1<<32]=1, " \
    "[1<<33]=1, [1<<34]=1, [1<<35]=1, [1<<36]=1, [1<<37]=1, [1<<38]=1, [1<<39]=1, [1<<40]=1, [1<<41]=1, [1<<42]=1, [1<<43]=1, " \
    "[1<<44]=1, [1<<45]=1, [1<<46]=1, [1<<47]=1, [1<<48]=1, [1<<49]=1, [1<<50]=1, [1<<51]=1, [1<<52]=1, [1<<53]=1, [1<<54]=1, " \
    "[1<<55]=1, [1<<56]=1, [1<<57]=1, [1<<58]=1, [1<<59]=1, [1<<60]=1, [1<<61]=1, [1<<62]=1 "

static const struct row rows[] = {
    /* T1 loops inside pcall */
    {"T1 endless loop", "while true do end", "policies/x.lua:1: " BUDGET},
    {"T1 endless loop on line 3", "local a\n\nwhile true do a = 1 end", "policies/x.lua:3: " BUDGET},
    {"T1 loop inside pcall", "pcall(function() while true do end end) return true", BUDGET},
    {"T1 loop around pcall of a loop", "while true do pcall(function() while true do end end) end", BUDGET},
    {"T1 pcall of pcall of pcall", "local function f() pcall(f) pcall(f) pcall(f) while true do end end f()", BUDGET},
    {"T1 goto loop", "::again:: goto again", BUDGET},
    {"T1 repeat with pcall in the condition", "repeat until pcall(error) and false", BUDGET},
    {"T1 for loop without an end", "for i = 1, math.huge do end", BUDGET},
    {"T1 iterator without an end", "for _ in function() return 1 end do end", BUDGET},
    {"T1 recursion in tail position", "local function f() return f() end f()", BUDGET},
    /* T2 handlers, finalizers, closing values */
    {"T2 loop in an xpcall handler", "xpcall(error, function() while true do end end) return true", BUDGET},
    {"T2 xpcall handler that fails for ever", "local function h() return xpcall(error, h) end h() return true", "stack overflow"},
    {"T2 __gc refused", "setmetatable({}, { __gc = function() while true do end end })", "may not have __gc"},
    {"T2 __close refused", "setmetatable({}, { __close = function() while true do end end })", "may not have __close"},
    {"T2 __mode refused", "setmetatable({}, { __mode = 'k' })", "may not have __mode"},
    {"T2 __close added later",
     "local mt = {} local t = setmetatable({}, mt) mt.__close = function() while true do end end local x <close> = t", "non-closable"},
    {"T2 __close of a generic for", "local mt = {} local t = setmetatable({}, mt) mt.__close = print2 for _ in next, {}, nil, t do end",
     "there is no 'print2'"},
    {"T2 __gc added later has no effect",
     "local mt = {} local t = setmetatable({}, mt) mt.__gc = function() end setmetatable({}, { __index = mt }) return getmetatable(t) == mt",
     NULL},
    {"T2 __gc given again", "local mt = {} local t = setmetatable({}, mt) mt.__gc = function() end setmetatable(t, mt)",
     "may not have __gc"},
    {"T2 metatable that answers __gc by __index",
     "local mt = setmetatable({}, { __index = function() return function() while true do end end end }) setmetatable({}, mt) return true",
     NULL},
    /* T3 spans and patterns */
    {"T3 string.rep of gigabytes", "return ('x'):rep(1e10)", "a string may have"},
    {"T3 string.rep with a separator", "return ('x'):rep(1e6, ('y'):rep(1e6))", "a string may have"},
    {"T3 string.rep near the integers' end", "return ('xx'):rep(math.maxinteger)", "a string may have"},
    {"T3 string.rep in a loop", "while true do local s = ('x'):rep(2000000) end", BUDGET},
    {"T3 table.concat over a huge span", "return table.concat({}, '', 1, 1e15)", "elements at once"},
    {"T3 table.concat to the end of the integers", "return table.concat({}, '', math.mininteger, math.maxinteger)", "elements at once"},
    {"T3 table.concat of a long text many times", "local s, t = ('x'):rep(1e6), {} for i = 1, 100 do t[i] = s end return table.concat(t)",
     MEMORY},
    {"T3 table.move over a huge span", "table.move({}, 1, 1e15, 2)", "elements at once"},
    {"T3 table.unpack of millions", "return select('#', table.unpack({}, 1, 1e7))", "elements at once"},
    {"T3 table.unpack in a loop", "while true do local n = select('#', table.unpack({}, 1, 4000)) end", BUDGET},
    {"T3 table.insert under a lying __len", "table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 1)",
     "without __len"},
    {"T3 table.insert with a border far out", "local t = {" FAR "} table.insert(t, 1, 1)", "longer than"},
    {"T3 table.remove with a border far out", "local t = {" FAR "} table.remove(t, 1)", "longer than"},
    {"T3 table.insert at the front for ever", "local t = {} while true do table.insert(t, 1, 1) end", BUDGET},
    {"T3 string.byte of a long text", "return ('x'):rep(1e6):byte(1, -1)", "values at once"},
    {"T3 utf8.codepoint of a long text", "return utf8.codepoint(('x'):rep(1e6), 1, -1)", "values at once"},
    {"T3 pattern that backtracks", "return ('a'):rep(3000):find(('a*'):rep(20) .. 'b')", BUDGET},
    {"T3 match that backtracks", "return ('a'):rep(3000):match('.-.-.-.-.-b')", BUDGET},
    {"T3 gsub that backtracks", "return (('a'):rep(3000):gsub('a-a-a-a-a-b', ''))", BUDGET},
    {"T3 gmatch that backtracks", "for _ in ('a'):rep(3000):gmatch('.-.-.-.-.-b') do end", BUDGET},
    {"T3 balanced match in a square", "return ('('):rep(100000):find('%b()')", BUDGET},
    {"T3 gsub callback that loops", "return ('a'):gsub('a', function() while true do end end)", BUDGET},
    {"T3 gsub callback that gsubs", "local function f(s) return (('aa'):gsub('a', f)) end f()", "stack overflow"},
    {"T3 gsub that grows", "local s = ('x'):rep(1000) return (s:gsub('x', s:gsub('x', s)))", "a string may have"},
    {"T3 format with a wide field", "return ('%999d'):format(1)", "invalid conversion"},
    {"T3 sort with a comparison that loops", "table.sort({ 3, 2, 1 }, function() while true do end end)", BUDGET},
    {"T3 sort with a comparison without sense",
     "local t = {} for i = 1, 5000 do t[i] = i % 7 end table.sort(t, function() return true end)", "invalid order function"},
    {"T3 sort of much for ever",
     "local t = {} for i = 1, 20000 do t[i] = -i end while true do table.sort(t) table.sort(t, function(a, b) return a > b end) end",
     BUDGET},
    {"T3 comparing megabytes", "local a = ('x'):rep(2e6) local b = ('x'):rep(2e6 - 1) .. 'x' while true do local c = a < b end", SPENT},
    {"T3 numbers from megabytes of digits", "local a = ('1'):rep(2e6) while true do local c = tonumber(a) end", SPENT},
    {"T3 upper of megabytes", "local a = ('x'):rep(2e6) while true do local c = a:upper() end", BUDGET},
    /* T4 ways out */
    {"T4 debug", "return debug.sethook()", "there is no 'debug'"},
    {"T4 load", "return load('return 1')", "there is no 'load'"},
    {"T4 loadstring", "return loadstring('return 1')", "there is no 'loadstring'"},
    {"T4 dofile", "return dofile('/etc/passwd')", "there is no 'dofile'"},
    {"T4 string.dump", "return string.dump(function() end)", "a nil value"},
    {"T4 io", "return io.open('/etc/passwd')", "there is no 'io'"},
    {"T4 os.execute", "return os.execute('true')", "a nil value"},
    {"T4 os.exit", "return os.exit(1)", "a nil value"},
    {"T4 os.getenv", "return os.getenv('HOME')", "a nil value"},
    {"T4 collectgarbage", "return collectgarbage()", "there is no 'collectgarbage'"},
    {"T4 rawset", "return rawset({}, 1, 1)", "there is no 'rawset'"},
    {"T4 coroutines", "return coroutine.wrap(function() end)", "there is no 'coroutine'"},
    {"T4 print", "print('x')", "there is no 'print'"},
    {"T4 _G", "return _G", "there is no '_G'"},
    {"T4 package", "return package.loadlib", "there is no 'package'"},
    {"T4 require of a trusted module", "return require 'portreeve.sys'", "may not require 'portreeve.sys'"},
    {"T4 require of a module with a path", "return require 'portreeve.../../x'", "may not require"},
    {"T4 require of a path", "return require '/etc/passwd'", "may not require"},
    {"T4 require of cjson", "return require 'cjson'", "may not require"},
    {"T4 require of itself", "return require 'policies.circle'", "in a circle"},
    {"T4 require of a policy that is not there", "return require 'policies.nothing'", "there is no policy file"},
    {"T4 _ENV given away", "local _ENV = {} return x == nil and true", NULL},
    {"T4 a global", "x = 1", "'x' would be a global"},
    {"T4 a misspelled name", "return prinf", "there is no 'prinf'"},
    {"T4 a metatable for the environment", "setmetatable(_ENV, {})", "protected metatable"},
    {"T4 the environment's metatable", "return getmetatable(_ENV) == false", NULL},
    /* T5 the string metatable */
    {"T5 string metatable hidden", "return getmetatable('') == false", NULL},
    {"T5 string metatable through __index", "return getmetatable('').__index", "index a boolean value"},
    {"T5 string library of one policy", "string.find = nil string.rep = error return ('x'):find('x') == 1 and ('x'):rep(2) == 'xx'", NULL},
    {"T5 … and the next has its own", "return string.find('x', 'x') == 1", NULL},
    {"T5 a module's tables", "require('portreeve.verdict').allow = 'refused' return require('portreeve.verdict').allow == 'refused'", NULL},
    {"T5 … and the next has its own", "return require('portreeve.verdict').allow == 'allow'", NULL},
    /* T6 addresses */
    {"T6 tostring of a function", "return tostring(pairs) == 'function' and not tostring(function() end):find('0x')", NULL},
    {"T6 tostring of a table", "return tostring({}) == 'table'", NULL},
    {"T6 format %s of a table", "return ('%s %5s %d'):format({}, pairs, 3) == 'table function 3'", NULL},
    {"T6 format %p", "return ('%p'):format({})", "no %p"},
    {"T6 format %-20p behind others", "return ('%d %% %-20p'):format(1, {})", "no %p"},
    {"T6 format %q of a table", "return ('%q'):format({})", "no literal"},
    {"T6 __name of a table", "return tostring(setmetatable({}, { __name = 'mine' })) == 'mine'", NULL},
    /* memory */
    {"memory: a growing table", "local t = {} for i = 1, 1e9 do t[i] = { i } end", "x.lua:1: "},
    {"memory: doubling text", "local s = 'x' while true do s = s .. s end", "x.lua:1: " MEMORY},
    {"memory: the place, though the stack that had grown wants to shrink when there is none left",
     "local x local function deep(n) if n > 0 then return 1 + deep(n - 1) end while true do x = { x, {}, {}, {} } end end deep(150)",
     "x.lua:1: " MEMORY},
    {"memory: caught and tried again",
     "local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = ('x'):rep(1e6) .. i end end) end", "x.lua:1: "},
    {"memory: closures in a chain", "local f while true do local g = f f = function() return g end end", "x.lua:1: "},
    {"memory: many captures", "local s = ('x'):rep(1e6) while true do local t = {} for c in s:gmatch('.') do t[#t + 1] = c .. c end end",
     "x.lua:1: "},
    {"memory: deep recursion", "local function f(n) return 1 + f(n + 1) end return f(1)", "x.lua:1: "},
    {"memory: arguments upon arguments", "local function f(...) return f(1, ...) end f()", "x.lua:1: "},
    /* metamethods, odd error values */
    {"loop in __index", "return setmetatable({}, { __index = function() while true do end end }).x", BUDGET},
    {"__index chain in a circle", "local t = {} setmetatable(t, { __index = t }) return t.x", "loop"},
    {"loop in __tostring", "return tostring(setmetatable({}, { __tostring = function() while true do end end }))", BUDGET},
    {"__tostring of no text", "return tostring(setmetatable({}, { __tostring = function() return {} end }))", "must return a string"},
    {"__tostring that calls tostring",
     "local t t = setmetatable({}, { __tostring = function(x) return tostring(x) end }) return tostring(t)", "stack overflow"},
    {"loop in __lt of sort",
     "local mt = { __lt = function() while true do end end } table.sort({ setmetatable({}, mt), setmetatable({}, mt) })", BUDGET},
    {"loop in __concat", "return setmetatable({}, { __concat = function() while true do end end }) .. ''", BUDGET},
    {"loop in __eq", "local mt = { __eq = function() while true do end end } return setmetatable({}, mt) == setmetatable({}, mt)", BUDGET},
    {"loop in __pairs", "for _ in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end", BUDGET},
    {"loop in __call", "setmetatable({}, { __call = function() while true do end end })()", BUDGET},
    {"error value with a __tostring that loops", "error(setmetatable({}, { __tostring = function() while true do end end }))",
     "no text (a table)"},
    {"error value with a message", "error({ message = 'so it is' })", "policies/x.lua:1: so it is"},
    {"error value with a message by __index", "error(setmetatable({}, { __index = function() while true do end end }))",
     "no text (a table)"},
    {"error value nil", "error()", "no text (a nil)"},
    {"error value a number", "error(42)", "error value 42"},
    {"error value true", "error(true)", "no text (a boolean)"},
    {"error without a position", "error('plain', 0)", "policies/x.lua:1: plain"},
    {"error thrown again by pcall", "local _, e = pcall(error, 'a', 0) error(e .. 'b', 0)", "policies/x.lua:1: ab"},
    {"walk that starts again each time",
     "local t = {} for i = 1, 100000 do t[i] = true end while true do for i = 1, 100000 do t[next(t) or 1] = nil end end", "x.lua:1: "},
    {"protected metatables stay",
     "return getmetatable(setmetatable({}, { __metatable = 'mine' })) == 'mine' and not pcall(setmetatable, setmetatable({}, { __metatable = 1 }), {})",
     NULL},
    /* texts */
    {"a syntax error", "local x =\nreturn", "policies/x.lua:2: "},
    {"compiled Lua", "\x1bLuaT", "is compiled Lua"},
    {"nothing returned", "local x = 1", "returns nothing"},
    {"brackets a thousand deep", NULL, "overflow"},
    /* what must work */
    {"pcall, xpcall, error",
     "local ok, e = pcall(error, { 1 }) local f, m = xpcall(function() error('x', 0) end, function(s) return s .. 'y' end)\n"
     "return not ok and e[1] == 1 and not f and m == 'xy' and select('#', xpcall(function(...) return ... end, error, 1, nil, 3)) == 4",
     NULL},
    {"classes by metatables",
     "local C = {} C.__index = C function C.new(n) return setmetatable({ n = n }, C) end function C:get() return self.n end\n"
     "local D = setmetatable({}, { __index = C }) D.__index = D local d = setmetatable({ n = 2 }, D)\n"
     "return C.new(1):get() == 1 and d:get() == 2 and getmetatable(d) == D",
     NULL},
    {"the libraries",
     "local t = { 3, 1, 2 } table.sort(t) table.insert(t, 9) table.insert(t, 1, 0)\n"
     "return table.concat(t, ',') == '0,1,2,3,9' and table.remove(t) == 9 and select('#', table.unpack(t)) == 4 and ('ab'):rep(3, '-') == 'ab-ab-ab'\n"
     "and ('x'):rep(0) == '' and ('x'):rep(1, 'yy') == 'x' and ('%5.1f|%s|%-4s|%q'):format(2.25, true, 'a', 'b') == '  2.2|true|a   |\"b\"' and utf8.len('é') == 1\n"
     "and math.type(1) == 'integer' and math.random(3) <= 3 and os.time() > 0 and ('x'):byte() == 120 and string.len('abc') == 3",
     NULL},
    {"another policy", "return require 'policies.good' == 7", NULL},
};

static const char *fetch(void *ctx, const char *name, size_t *n, const char **display) {
    (void)ctx;
    const char *text = strcmp(name, "good") == 0 ? "return 7" : strcmp(name, "circle") == 0 ? "return require 'policies.circle'" : NULL;
    if (text) *n = strlen(text);
    *display = "policies/fetched.lua";
    return text;
}

static void run_row(struct vm *v, const struct row *r) {
    struct err e = {{0}};
    char deep[2100];
    const char *script = r->script;
    if (!script) {
        memset(deep, '(', 1000);
        memcpy(deep, "return ", 7);
        deep[1000] = '\0';
        script = deep;
    }
    lua_State *L = vm_lua(v);
    size_t before = vm_memory(v);
    bool fine = vm_policy(v, script, strlen(script), "policies/x.lua", &e);
    bool as_wanted = r->error ? !fine && strstr(e.text, r->error) : fine && lua_toboolean(L, -1);
    if (!as_wanted) printf("# %s: %s\n", fine ? "no error" : "error", fine ? luaL_tolstring(L, -1, NULL) : e.text);
    lua_settop(L, 0);
    lua_gc(L, LUA_GCCOLLECT);
    bool again =
        vm_policy(v, "local n = 0 for i = 1, 1000 do n = n + i end return n", 53, "policies/y.lua", &e) && lua_tointeger(L, -1) == 500500;
    lua_settop(L, 0);
    for (int i = 0; i < 6; i++) lua_gc(L, LUA_GCCOLLECT); /* a deep stack shrinks by degrees */
    bool back = vm_memory(v) <= before + 32768;
    if (!back) printf("# memory %zu before, %zu after\n", before, vm_memory(v));
    ok(as_wanted && again && back && lua_gettop(L) == 0, "%s", r->what);
}

/* ---- the door ---- */

static struct vm *the_vm;
static int inner(lua_State *L) { /* inner(f): calls f through the door, returns the error text or nil */
    struct err e = {{0}};
    lua_settop(L, 1);
    if (vm_call(the_vm, 0, 0, &e)) return 0;
    lua_pushstring(L, e.text);
    return 1;
}

static bool call_with_inner(struct vm *v, const char *text, struct err *e) {
    if (!vm_policy(v, text, strlen(text), "policies/x.lua", e)) return false;
    lua_pushcfunction(vm_lua(v), inner);
    return vm_call(v, 1, 1, e);
}

static void check_door(void) {
    struct err e = {{0}};
    struct vm_limits lim = {.memory = 16u << 20, .steps = 100000};
    struct vm *v = the_vm = vm_create(VM_SANDBOX, &lim, "lua", &e);
    lua_State *L = vm_lua(v);
    int owner;
    vm_set_owner(v, &owner);
    ok(vm_owner(v) == &owner && vm_of(L) == v, "owner and state find each other");
    ok(call_with_inner(v, "return function(inner) return inner(function() error('deep') end) end", &e) &&
           strstr(lua_tostring(L, -1), "x.lua:1: deep"),
       "an error inside an inner call is the inner call's");
    lua_settop(L, 0);
    ok(!call_with_inner(v, "return function(inner) inner(function() while true do end end) return 1 end", &e) && strstr(e.text, BUDGET),
       "an inner call shares the outer budget, and overdrawing it ends the outer call too: %.200s", e.text);
    ok(lua_gettop(L) == 0, "a failed call leaves nothing on the stack");
    ok(vm_policy(v, "return function() for i = 1, 30000 do end end", 45, "policies/x.lua", &e), "a policy that uses most of its budget");
    bool all = true;
    for (int i = 0; i < 20; i++) {
        lua_pushvalue(L, -1);
        all = all && vm_call(v, 0, 0, &e);
    }
    ok(all, "the budget starts afresh with each outermost call");
    ok(!vm_policy(v, "local function f() error('x') end\nlocal function g() f() end\ng()", 64, "policies/t.lua", &e) &&
           strstr(vm_traceback(v), "policies/t.lua:1:") && strstr(vm_traceback(v), "policies/t.lua:2:") &&
           strstr(vm_traceback(v), "policies/t.lua:3:"),
       "the traceback names each line");
    ok(!vm_require(v, "portreeve.nothing", &e) && strstr(e.text, "portreeve.nothing"), "a module that is not there: %.200s", e.text);
    ok(!vm_require(v, "portreeve/../x", &e) && !vm_require(v, "os", &e), "nor names that are no modules");
    ok(vm_require(v, "portreeve.policytest", &e) && lua_istable(L, -1), "the library's modules load in a sandbox: %.200s", e.text);
    vm_destroy(v);
    vm_destroy(NULL);
}

static void check_trusted(void) {
    struct err e = {{0}};
    struct vm_limits lim = {.memory = 64u << 20, .steps = 1000000};
    struct vm *v = vm_create(VM_TRUSTED, &lim, "lua", &e);
    lua_State *L = vm_lua(v);
    static const char *const loops[] = {
        "while true do pcall(function() while true do end end) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
        "coroutine.wrap(function() pcall(function() while true do end end) while true do end end)()",
        "xpcall(error, function() while true do end end) while true do end",
        "return ('a'):rep(3000):find(('a*'):rep(20) .. 'b')",
    };
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        bool fine = luaL_loadstring(L, loops[i]) == LUA_OK && vm_call(v, 0, 0, &e);
        ok(!fine && strstr(e.text, BUDGET), "a trusted state with a step limit ends: %.60s: %.200s", loops[i], e.text);
        lua_settop(L, 0);
    }
    e.text[0] = 0;
    ok(luaL_loadstring(
           L, "return require('portreeve.policytest').run ~= nil and io ~= nil and coroutine.wrap(function() return 1 end)() == 1") ==
               LUA_OK &&
           vm_call(v, 0, 1, &e) && lua_toboolean(L, -1),
       "and it has its libraries, before and after: %.200s", e.text);
    vm_destroy(v);
    e.text[0] = 0;
    struct vm_limits none = {0};
    v = vm_create(VM_TRUSTED, &none, "lua", &e);
    ok(v && luaL_loadstring(vm_lua(v), "return #('x'):rep(3000000)") == LUA_OK && vm_call(v, 0, 1, &e),
       "no limits where none are given: %.200s", e.text);
    vm_destroy(v);
}

int main(void) {
    alarm(300);
    struct err e = {{0}};
    struct vm_limits lim = {.memory = 16u << 20, .steps = 500000};
    struct vm *v = vm_create(VM_SANDBOX, &lim, "lua", &e);
    if (!ok(v != NULL, "a sandbox is made %.200s", e.text)) return tap_end();
    vm_policy_source(v, fetch, NULL);
    (void)vm_policy(v, "return require 'portreeve.verdict'", 34, "policies/warm.lua", &e);
    lua_settop(vm_lua(v), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) run_row(v, &rows[i]);
    vm_destroy(v);
    check_door();
    check_trusted();
    return tap_end();
}
