/* Our pattern functions against the stock library's: random patterns and texts must give the same results. */
#include "script/vm.h"
#include "unit/tap.h"
#include <lua5.4/lauxlib.h>
#include <lua5.4/lualib.h>
#include <stdint.h>
#include <stdlib.h>

static const char probe[] =
    "local find, match, gmatch, gsub, concat, type, tostring, pcall = string.find, string.match, string.gmatch, string.gsub, table.concat, type, tostring, pcall\n"
    "local function pack(...)\n"
    "  local t = { select('#', ...), ... }\n"
    "  for i = 1, #t do t[i] = type(t[i]) .. ':' .. tostring(t[i]) end\n"
    "  return concat(t, '|')\n"
    "end\n"
    "local function all(s, p)\n"
    "  local out = {}\n"
    "  for a, b in gmatch(s, p) do out[#out + 1] = tostring(a) .. ',' .. tostring(b); if #out > 200 then break end end\n"
    "  return concat(out, ';')\n"
    "end\n"
    "return function(s, p, init, repl)\n"
    "  local function safe(f, ...)\n"
    "    local fine, r = pcall(function(...) return pack(f(...)) end, ...)\n"
    "    return fine and r or 'error'\n"
    "  end\n"
    "  return concat({ safe(find, s, p, init), safe(match, s, p, init), safe(find, s, p, init, true), safe(all, s, p),\n"
    "    safe(gsub, s, p, repl), safe(gsub, s, p, function(a, b) return b and '<' .. tostring(b) .. '>' end), safe(gsub, s, p, { a = 'T', ['1'] = 2 }, 3) }, '\\n')\n"
    "end\n";

static uint64_t seed = 0x9e3779b97f4a7c15u;
static unsigned draw(unsigned below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % below;
}
static void add(char *to, const char *s) {
    strcat(to, s);
}

/* A well-formed pattern of up to `parts` parts. */
static void make_pattern(char *out, unsigned parts) {
    static const char *const one[] = {"a",     "b",    "1",    "%d",          "%a",       "%s",     "%w",   "%p", "%S",
                                      "%x",    ".",    "[ab]", "[^a]",        "[a-c1-3]", "[%d_]",  "[]]",  "%.", "[^%s]",
                                      "[]a-]", " ",    "%u",   "%l",          "[%a-z]",   "[a-%%]", "[^]]", "%%", "%g",
                                      "%c",    "[%]]", "\xe9", "[\x80-\xff]", "%z",       "%y",     "]",    "*"};
    static const char many[] = "*+-?\0\0\0\0";
    out[0] = '\0';
    unsigned open = 0, closed = 0;
    bool is_open[8] = {0};
    if (draw(5) == 0) add(out, "^");
    for (unsigned i = 0; i < parts; i++) {
        char m[2] = {0, 0};
        switch (draw(14)) {
        case 0:
            if (open < 6) add(out, "("), is_open[open++] = true;
            break;
        case 1:
            for (unsigned k = open; k-- > 0;)
                if (is_open[k]) {
                    add(out, ")");
                    is_open[k] = false;
                    closed++;
                    break;
                }
            break;
        case 2: add(out, draw(2) ? "%bab" : "%b()"); break;
        case 3: add(out, draw(2) ? "%f[%w]" : "%f[^a]"); break;
        case 4:
            if (open < 6) add(out, "()"), open++;
            break;
        case 5:
            if (closed && !is_open[0]) add(out, "%1");
            break;
        default:
            add(out, one[draw(sizeof one / sizeof *one)]);
            m[0] = many[draw(8)];
            add(out, m);
        }
    }
    for (unsigned k = 0; k < 8; k++)
        if (is_open[k]) add(out, ")");
    if (draw(5) == 0) add(out, "$");
}
static size_t make_text(char *out, unsigned most) {
    static const char letters[] = "aabbc11 2()._AZ%\xe9\t";
    size_t n = draw(most);
    for (size_t i = 0; i < n; i++) out[i] = draw(60) ? letters[draw(sizeof letters - 1)] : '\0';
    return n;
}

static const char *ask(lua_State *L, struct vm *v, const char *s, size_t n, const char *p, size_t pn, int init, const char *repl,
                       size_t *len) {
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_pushlstring(L, s, n);
    lua_pushlstring(L, p, pn);
    lua_pushinteger(L, init);
    lua_pushstring(L, repl);
    struct err e;
    if (v ? vm_call(v, 4, 1, &e) : lua_pcall(L, 4, 1, 0) == LUA_OK) return lua_tolstring(L, -1, len);
    *len = 0;
    return "the probe failed";
}

/* Do the lines differ only where ours is an error? A malformed pattern is refused at once here, by stock Lua only when matching gets that far. */
static bool only_stricter(const char *a, size_t an, const char *b, size_t bn) {
    const char *ae = a + an, *be = b + bn;
    while (a < ae && b < be) {
        const char *x = memchr(a, '\n', (size_t)(ae - a)), *y = memchr(b, '\n', (size_t)(be - b));
        size_t n = (size_t)((x ? x : ae) - a), k = (size_t)((y ? y : be) - b);
        if ((n != k || memcmp(a, b, n) != 0) && !(k == 5 && memcmp(b, "error", 5) == 0)) return false;
        a += n + 1;
        b += k + 1;
    }
    return (a >= ae) == (b >= be);
}

static void compare(lua_State *stock, struct vm *v, unsigned rounds, bool soup) {
    static const char *const repl[] = {"x", "%0%0", "<%1>", "%%", "", "%2"};
    static const char signs[] = "ab1[]^%%()*+-?.$dwf%b ";
    char text[80], p[512];
    unsigned same = 0, stricter = 0, bad = 0;
    for (unsigned i = 0; i < rounds; i++) {
        size_t n = make_text(text, 40), pn;
        if (soup) {
            pn = draw(10);
            for (size_t k = 0; k < pn; k++) p[k] = signs[draw(sizeof signs - 1)];
        } else {
            make_pattern(p, 1 + draw(8));
            pn = strlen(p);
        }
        int init = (int)draw(60) - 25;
        const char *r = repl[draw(6)];
        size_t an, bn;
        const char *a = ask(stock, NULL, text, n, p, pn, init, r, &an), *b = ask(vm_lua(v), v, text, n, p, pn, init, r, &bn);
        if (an == bn && memcmp(a, b, an) == 0) {
            same++;
        } else if (soup && only_stricter(a, an, b, bn)) {
            stricter++;
        } else if (bad++ < 5) {
            printf("# pattern %.*s text %.*s init %d repl %s\n# stock: %s\n# ours:  %s\n", (int)pn, p, (int)n, text, init, r, a, b);
        }
    }
    ok(bad == 0, "%u %s patterns agree with the stock library (%u refused earlier)", same, soup ? "arbitrary" : "well-formed", stricter);
    ok(!soup || same > rounds / 4, "and most of them say something");
}

int main(void) {
    struct err e = {{0}};
    struct vm_limits lim = {.memory = 64u << 20, .steps = 100000000};
    struct vm *v = vm_create(VM_SANDBOX, &lim, "lua", &e);
    lua_State *stock = luaL_newstate();
    luaL_openlibs(stock);
    ok(v && vm_policy(v, probe, sizeof probe - 1, "probe.lua", &e), "the probe compiles in a sandbox: %.300s", e.text);
    ok(luaL_dostring(stock, probe) == LUA_OK, "and in stock Lua");
    compare(stock, v, 60000, false);
    compare(stock, v, 60000, true);
    lua_close(stock);
    vm_destroy(v);
    return tap_end();
}
