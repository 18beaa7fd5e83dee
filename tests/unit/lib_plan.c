/* portreeve.ini_c, portreeve.addr and portreeve.list as Lua sees them. Each check is a Lua chunk that returns true, or false and what it
 * got. */
#include "script/lib.h"
#include "unit/tap.h"
#include <lua5.4/lauxlib.h>

static struct vm *open_vm(size_t memory) {
    struct vm_limits lim = {.memory = memory, .steps = 5000000};
    struct err e = {""};
    struct vm *v = vm_create(VM_TRUSTED, &lim, "lua", &e);
    if (!v && memory == 0) ok(0, "a Lua state: %.300s", e.text);
    if (!v) return NULL;
    vm_preload(v, "portreeve.ini_c", lib_ini);
    vm_preload(v, "portreeve.addr", lib_addr);
    vm_preload(v, "portreeve.list", lib_list);
    return v;
}

static bool run(struct vm *v, const char *chunk, struct err *e) {
    static const char *const modules[] = {"portreeve.ini_c", "portreeve.addr", "portreeve.list"};
    lua_State *L = vm_lua(v);
    if (luaL_loadbufferx(L, chunk, strlen(chunk), "=check", "t")) {
        err_set(e, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
        return false;
    }
    for (int i = 0; i < 3; i++)
        if (!vm_require(v, modules[i], e)) return false;
    if (!vm_call(v, 3, 2, e)) return false;
    bool good = lua_toboolean(L, -2);
    if (!good) err_set(e, "got %s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
    lua_pop(L, 2);
    return good;
}

static void check(struct vm *v, const char *what, const char *chunk) {
    struct err e = {""};
    bool good = run(v, chunk, &e);
    ok(good, "%s %.300s", what, e.text);
}

static void check_ini(struct vm *v) {
    check(v, "I1 I6: entries in order with lines",
          "local ini = ... local t = ini.parse('a=1\\n# c\\nb : x\\\\u00e4 \\na=2\\n', 'conf/x.ini')\n"
          "return #t == 3 and t[1].key == 'a' and t[1].value == '1' and t[1].line == 1 and not t[1].dup_of and t[2].key == 'b' and "
          "t[2].value == 'x\\u{e4} '\n"
          "and t[2].line == 3 and t[3].value == '2' and t[3].dup_of == 1 and t.latin1 == false");
    check(v, "flags",
          "local ini = ... local t = ini.parse('Secure-[::1]=x\\np=C:\\\\dir\\n\\xe4=1', 'x')\n"
          "return t[1].key == 'Secure-[::1]' and t[1].special and not t[1].bad_escape and t[2].bad_escape and t[2].value == 'C:dir' and "
          "t.latin1");
    check(v, "I4: NUL is a character",
          "local ini = ... local t = ini.parse('a\\\\u0000b=\\0', 'x') return t[1].key == 'a\\0b' and t[1].value == '\\0'");
    check(v, "I4: a refusal names display and line",
          "local ini = ... local t, why = ini.parse('a=1\\nb=\\\\u12', 'conf/x.ini') return t == nil and why:find('^conf/x%.ini:2: ') ~= "
          "nil, why");
    check(v, "an empty text", "local ini = ... local t = ini.parse('', 'x') return #t == 0");
}

/* What comes at once is what comes item by item, and anything unusual is left to that. */
static void check_list_at_once(struct vm *v) {
    check(v, "a list at once is what its items are",
          "local _, addr = ...\n"
          "local text = ' 127.0.0.1,10.0.0.1:8080 ,\\t[::1] , [0:0::2]:81,[::ffff:192.0.2.1]:1'\n"
          "local list, i = addr.list(text), 0\n"
          "for item in (text .. ','):gmatch('%s*(.-)%s*,') do\n"
          "  i = i + 1 local ip, port = addr.hostport(item)\n"
          "  if list[i].address ~= ip or list[i].port ~= port then return false, item end\n"
          "end\n"
          "return i == 5 and #list == 5");
    check(v, "port 0 of a list only where it may be",
          "local _, addr = ... local l = addr.list('127.0.0.1:0', true) return l[1].port == 0 and not addr.list('127.0.0.1:0')");
    check(
        v, "a list with anything else is not taken",
        "local _, addr = ... for _, s in ipairs { '', ',', '127.0.0.1,', ',127.0.0.1', 'eth0', '127.0.0.1,eth0:80', '127.0.0.1 : 80', '::1',\n"
        "  '127.0.0.1:HTTP', '127.0.0.1:65536', '127.0.0.1;127.0.0.2', '127.0.0.1\\0' } do if addr.list(s) then return false, s end end "
        "return true");
}

static void check_addr(struct vm *v) {
    check_list_at_once(v);
    check(v, "M7: canonical texts",
          "local _, addr = ... return addr.parse('0:0:0:0:0:0:0:1') == '::1' and addr.parse('::ffff:192.0.2.1') == '192.0.2.1' and "
          "addr.parse('FE80::A') == 'fe80::a'");
    check(v, "family and scope",
          "local _, addr = ... local ip, family, scope = addr.parse('fe80::1%1') return ip == 'fe80::1%lo' and family == 6 and scope == 1, "
          "ip");
    check(v, "a refusal says why",
          "local _, addr = ... local ip, why = addr.parse('192.168.001.001') return ip == nil and why:find('leading zeros') ~= nil, why");
    check(v, "M13 M14: hostport",
          "local _, addr = ... local a, p, f = addr.hostport('192.0.2.1:8081') local b, q, g = addr.hostport('[::1]') local c, r = "
          "addr.hostport('127.0.0.1:0', true)\n"
          "return a == '192.0.2.1' and p == 8081 and f == 4 and b == '::1' and q == nil and g == 6 and c == '127.0.0.1' and r == 0");
    check(v, "M12: hostport refuses",
          "local _, addr = ... return not addr.hostport('fe80::1') and not addr.hostport('1.2.3.4:0') and not addr.hostport('1.2.3.4:')");
    check(v, "questions",
          "local _, addr = ... return addr.is_any('::') and addr.is_any('0.0.0.0') and addr.is_loopback('127.3.2.1')\n"
          "and not addr.is_any('::1') and not addr.is_loopback('x') and addr.same('::1', '0::1') and not "
          "addr.same('::1', '')");
}

static void check_list(struct vm *v) {
    check(v, "L2 L4: the line that decides",
          "local _, _, list = ... local text = { clients = '10.0.0.0/8\\n#more\\n!10.0.0.7', more = ';\\n::1' }\n"
          "local set, why = list.load('clients', function(name) return text[name], text[name] and 'lists/' .. name .. '.list' end)\n"
          "if not set then return false, why end\n"
          "local function is(a, ...) local t, w = { set:find(a) }, { ... } return t[1] == w[1] and t[2] == w[2] and t[3] == w[3] end\n"
          "return is('10.1.1.1', true, 'lists/clients.list', 1) and is('10.0.0.7', false, 'lists/clients.list', 3) and is('::1', true, "
          "'lists/more.list', 2)\n"
          "and is('::ffff:10.2.2.2', true, 'lists/clients.list', 1) and is('::2', false, nil, nil) and set:spans() == 4 and set:bytes() > "
          "0, tostring(set:spans())");
    check(v, "without a display the name ends .list",
          "local _, _, list = ... local s = list.load('c', function() return '::1' end) local _, file = s:find('::1') return file == "
          "'c.list', file");
    check(v, "L3: a bad line",
          "local _, _, list = ... local s, why = list.load('c', function() return '\\n1.2' end) return s == nil and why:find('^c%.list:2: "
          "') ~= nil, why");
    check(v, "L4: a cycle",
          "local _, _, list = ... local s, why = list.load('c', function() return '#c' end) return s == nil and why:find('circle') ~= nil, "
          "why");
    check(v, "a missing list",
          "local _, _, list = ... local s, why = list.load('c', function() end) return s == nil and why:find('\"c\"') ~= nil, why");
    check(v, "a fetch that raises",
          "local _, _, list = ... local s, why = list.load('c', function() error('gone') end) return s == nil and why:find('gone') ~= nil, "
          "why");
    check(v, "a fetch that returns nonsense",
          "local _, _, list = ... local s, why = list.load('c', function() return {} end) return s == nil and why ~= nil, why");
    check(v, "a question that is no address",
          "local _, _, list = ... local s = list.load('c', function() return '' end) local a, why = s:find('x') return a == nil and why ~= "
          "nil, why");
    check(v, "a list inside a list's fetch",
          "local _, _, list = ... local s = list.load('c', function() local t = list.load('d', function() return '::1' end) return "
          "t:find('::1') and '::2' end) return s:find('::2')");
}

/* Out of memory at every size: an error, and (under ASan) nothing left behind. */
static void check_memory(void) {
    unsigned refused = 0, done = 0;
    for (size_t memory = 100000; memory < 700000; memory += 7919) {
        struct vm *v = open_vm(memory);
        struct err e = {""};
        bool good = v && run(v,
                             "local ini, _, list = ... local t = {} for i = 1, 300 do t[i] = 'key' .. i .. '=' .. ('x'):rep(100) end local "
                             "text = table.concat(t, '\\n')\n"
                             "local n = #ini.parse(text, 'x') local s = list.load('c', function() return ('10.0.0.1\\n'):rep(2000) end) "
                             "return n == 300 and s:find('10.0.0.1')",
                             &e);
        if (good) done++;
        else refused++;
        vm_destroy(v);
    }
    ok(done > 0 && refused > 0, "with too little memory an error (%u times), else a result (%u times)", refused, done);
}

int main(void) {
    struct vm *v = open_vm(0);
    if (v) {
        check_ini(v);
        check_addr(v);
        check_list(v);
        check_memory();
    }
    vm_destroy(v);
    return tap_end();
}
