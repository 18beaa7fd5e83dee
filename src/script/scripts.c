#include "script/scripts.h"
#include "script/hooks_i.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTENERS_TOLD 200

/* ---- loading ---- */

bool script_check(struct vm *v, const char *display, struct err *e) {
    lua_State *L = vm_lua(v);
    bool lines = lua_isfunction(L, -1);
    if (!lines && !lua_istable(L, -1))
        return err_set(e, "%s: a script returns a function, or a table with the functions line and open; this is a %s", display,
                       luaL_typename(L, -1));
    if (lines) return true;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(not a name)";
        bool known = strcmp(key, "line") == 0 || strcmp(key, "open") == 0, function = lua_isfunction(L, -1);
        lines |= known && key[0] == 'l';
        if (!known || !function) {
            err_set(e, known ? "%s: '%s' of the table is no function" : "%s: a script's table has line and open; '%s' is unknown", display,
                    key);
            lua_pop(L, 2);
            return false;
        }
        lua_pop(L, 1);
    }
    return lines || err_set(e, "%s: the table has no function 'line'", display);
}

static int take_ref(lua_State *L, const char *field) {
    lua_pushstring(L, field);
    if (lua_rawget(L, -2) == LUA_TFUNCTION) return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return LUA_NOREF;
}

static bool load(struct hooks *h, const char *name, struct err *e) {
    lua_State *L = vm_lua(h->vm);
    char path[BUNDLE_PATH];
    struct script *s = &h->script[h->nscripts];
    snprintf(path, sizeof path, "policies/%.200s.lua", name);
    const struct bundle_file *f = bundle_find(h->bundle, path);
    if (!f) return err_set(e, "%s is missing", path);
    if (!vm_policy(h->vm, bundle_text(h->bundle, f), f->size, f->display, e) || !script_check(h->vm, f->display, e)) return false;
    *s = (struct script){.name = name, .line = LUA_NOREF, .open = LUA_NOREF};
    snprintf(s->display, sizeof s->display, "%s", f->display);
    if (lua_isfunction(L, -1)) {
        s->line = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        s->line = take_ref(L, "line");
        s->open = take_ref(L, "open");
        lua_pop(L, 1);
    }
    h->nscripts++;
    return true;
}

static const struct script *find(const struct hooks *h, const char *name) {
    for (uint32_t i = 0; i < h->nscripts; i++)
        if (strcmp(h->script[i].name, name) == 0) return &h->script[i];
    return NULL;
}

/* ---- server() ---- */

static void set_integer(lua_State *L, const char *key, lua_Integer v) {
    lua_pushinteger(L, v);
    lua_setfield(L, -2, key);
}

static void set_text(lua_State *L, const char *key, const char *v) {
    lua_pushstring(L, v);
    lua_setfield(L, -2, key);
}

static void push_listener(lua_State *L, const struct script_server *s, uint32_t i) {
    struct script_listener l;
    s->listener(s->ctx, i, &l);
    lua_createtable(L, 0, 7);
    set_text(L, "name", l.name);
    set_text(L, "scheme", l.scheme);
    set_text(L, "address", l.address);
    set_text(L, "services", l.services);
    set_integer(L, "port", l.port);
    set_integer(L, "active", l.active);
    lua_pushboolean(L, l.waiting);
    lua_setfield(L, -2, "waiting");
}

/* server() -> { version =, generation =, since = ms, now = ms, sockets = how many, listeners = { the first 200: { name =, scheme =, address =,
 * port =, services = "tracker,ui", active =, waiting = } … } } */
static int server(lua_State *L) {
    const struct script_server *const *box = lua_touserdata(L, lua_upvalueindex(1)), *s = *box;
    if (!s) return luaL_error(L, "server() can be asked while a line is answered, not later");
    lua_createtable(L, 0, 6);
    set_text(L, "version", s->version);
    set_integer(L, "generation", (lua_Integer)s->generation);
    set_integer(L, "since", s->since_ms);
    set_integer(L, "now", s->now_ms);
    set_integer(L, "sockets", s->listeners);
    uint32_t n = s->listeners < LISTENERS_TOLD ? s->listeners : LISTENERS_TOLD;
    lua_createtable(L, (int)n, 0);
    for (uint32_t i = 0; i < n; i++) {
        push_listener(L, s, i);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "listeners");
    return 1;
}

bool hooks_load_scripts(struct hooks *h, const struct plan *p, struct err *e) {
    lua_State *L = vm_lua(h->vm);
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->nsockets; i++) n += p->socket[i].script[0] != '\0';
    if (n == 0) return true;
    h->script = calloc(n < SCRIPTS_MOST ? n : SCRIPTS_MOST, sizeof *h->script);
    if (!h->script) return err_set(e, "out of memory");
    for (uint32_t i = 0; i < p->nsockets; i++) {
        const struct plan_socket *s = &p->socket[i];
        if (!s->script[0] || find(h, s->script)) continue;
        if (h->nscripts == SCRIPTS_MOST)
            return err_at(e, s->because.file, s->because.line, "%s: more than %u scripts", s->because.entry, SCRIPTS_MOST);
        if (!load(h, s->script, e)) return false;
    }
    h->server = lua_newuserdatauv(L, sizeof *h->server, 0);
    *h->server = NULL;
    lua_pushcclosure(L, server, 1);
    h->server_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return true;
}

/* ---- calling ---- */

bool hooks_script_opens(const struct hooks *h, const char *script) {
    const struct script *s = find(h, script);
    return s && s->open != LUA_NOREF;
}

/* answer and state, as they came. */
static bool read_results(lua_State *L, struct script_call *c, const char *display, struct err *e) {
    size_t n = 0;
    const char *answer = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &n) : NULL;
    if (!answer && !lua_isnil(L, -2)) return err_set(e, "%s: the answer is a text or nil, not a %s", display, luaL_typename(L, -2));
    if (n > SCRIPT_ANSWER) return err_set(e, "%s: the answer has %zu bytes, at most %u are allowed", display, n, SCRIPT_ANSWER);
    if (answer && !buf_add(c->answer, answer, n)) return err_set(e, "%s: out of memory for the answer", display);
    c->keep = !lua_isnil(L, -1);
    buf_clear(c->state);
    if (!c->keep) return true;
    if (lua_type(L, -1) != LUA_TSTRING) return err_set(e, "%s: the state is a text or nil, not a %s", display, luaL_typename(L, -1));
    const char *state = lua_tolstring(L, -1, &n);
    if (n > SCRIPT_STATE) return err_set(e, "%s: the state has %zu bytes, at most %u are allowed", display, n, SCRIPT_STATE);
    return buf_add(c->state, state, n) || err_set(e, "%s: out of memory for the state", display);
}

bool hooks_script(struct hooks *h, struct script_call *c, struct err *e) {
    const struct script *s = find(h, c->script);
    lua_State *L = vm_lua(h->vm);
    if (!s) return err_set(e, "there is no script '%s'", c->script);
    int args = 0;
    h->facts->facts = c->facts;
    h->facts->given = NULL;
    *h->server = c->server;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->line ? s->line : s->open);
    lua_pushvalue(L, SLOT_FACTS), args++;
    if (c->line) {
        lua_pushlstring(L, c->line, c->n), args++;
        c->has_state ? (void)lua_pushlstring(L, c->state->n ? c->state->p : "", c->state->n) : lua_pushnil(L), args++;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->server_ref), args++;
    bool fine = vm_call(h->vm, args, 2, e) && read_results(L, c, s->display, e);
    h->facts->facts = NULL;
    *h->server = NULL;
    lua_settop(L, SLOT_TOP);
    return fine;
}
