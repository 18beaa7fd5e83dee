/* portreeve.list: address lists (L1–L6) for tests and the console; admission asks the engine's own sets through its facts.
 *   load(name, fetch) -> set | nil, why     fetch(name) -> text[, display] | nil: the text of a list; called for `name` and each #include
 *   set:find(address) -> in, file, line     in: boolean; file and line of the line that decided, nil where no line speaks of the address
 *                     -> nil, why           where `address` is none
 *   set:spans() set:bytes() -> integer      how large it is */
#include "plan/alist.h"
#include "script/lib.h"
#include <lua5.4/lauxlib.h>

static const char *const box_name = "portreeve.list";

struct box {
    struct pset *set;
};
/* Stack slots of load(). */
enum { ARG_NAME = 1, ARG_FETCH, ARG_TEXTS };

struct asked {
    lua_State *L;
    const char *name, *text, *display;
    size_t n;
    bool found;
    struct err failed; /* the fetch function raised */
};

/* Runs inside vm_call, so it may raise: calls fetch and keeps both texts in the table, where they live until load returns. */
static int ask(lua_State *L) {
    struct asked *q = lua_touserdata(L, 1);
    lua_pushvalue(L, 2);
    lua_pushstring(L, q->name);
    lua_call(L, 1, 2);
    q->found = !lua_isnil(L, -2);
    if (!q->found) return 0;
    if (lua_isnil(L, -1)) {
        lua_pushfstring(L, "%s.list", q->name);
        lua_replace(L, -2);
    }
    q->text = luaL_checklstring(L, -2, &q->n);
    q->display = luaL_checkstring(L, -1);
    luaL_ref(L, 3);
    luaL_ref(L, 3);
    return 0;
}

/* The builder of alist_load is alive while this runs: nothing here may raise. */
static bool fetch(void *ctx, const char *name, struct alist_text *out) {
    struct asked *q = ctx;
    q->name = name;
    if (!lua_checkstack(q->L, 8)) return err_set(&q->failed, "too many nested calls");
    lua_pushcfunction(q->L, ask);
    lua_pushlightuserdata(q->L, q);
    lua_pushvalue(q->L, ARG_FETCH);
    lua_pushvalue(q->L, ARG_TEXTS);
    if (!vm_call(vm_of(q->L), 3, 0, &q->failed) || !q->found) return false;
    *out = (struct alist_text){.text = q->text, .n = q->n, .display = q->display};
    return true;
}

static struct box *box_push(lua_State *L) {
    struct box *b = lua_newuserdatauv(L, sizeof *b, 0);
    b->set = NULL;
    luaL_setmetatable(L, box_name);
    return b;
}

static int load(lua_State *L) {
    struct asked q = {.L = L};
    struct err e;
    const char *name = luaL_checkstring(L, ARG_NAME);
    luaL_checktype(L, ARG_FETCH, LUA_TFUNCTION);
    lua_settop(L, ARG_FETCH);
    lua_newtable(L);
    struct box *b = box_push(L);
    b->set = alist_load(name, fetch, &q, &e);
    if (b->set) return 1;
    lua_pushnil(L);
    lua_pushstring(L, q.failed.text[0] ? q.failed.text : e.text);
    return 2;
}

static const struct pset *check_set(lua_State *L) {
    const struct box *b = luaL_checkudata(L, 1, box_name);
    luaL_argcheck(L, b->set != NULL, 1, "the list has been closed");
    return b->set;
}

static int set_find(lua_State *L) {
    size_t n;
    struct addr a;
    struct err e;
    const struct pset *s = check_set(L);
    const char *text = luaL_checklstring(L, 2, &n);
    if (!addr_parse_ip(text, n, &a, &e)) {
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    struct pset_hit hit = pset_find(s, &a);
    lua_pushboolean(L, hit.in);
    if (hit.line == 0) return 1;
    lua_pushstring(L, pset_source(s, hit.source));
    lua_pushinteger(L, hit.line);
    return 3;
}

static int set_spans(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)pset_spans(check_set(L)));
    return 1;
}

static int set_bytes(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)pset_bytes(check_set(L)));
    return 1;
}

static int set_close(lua_State *L) {
    struct box *b = luaL_checkudata(L, 1, box_name);
    pset_destroy(b->set);
    b->set = NULL;
    return 0;
}

int lib_list(lua_State *L) {
    static const luaL_Reg methods[] = {{"find", set_find}, {"spans", set_spans}, {"bytes", set_bytes}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", set_close}, {"__close", set_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"load", load}, {NULL, NULL}};
    luaL_newmetatable(L, box_name);
    luaL_setfuncs(L, meta, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
