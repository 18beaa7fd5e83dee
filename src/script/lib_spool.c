#include "script/lib_spool.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <string.h>

#define SPOOL_META "portreeve.spool.handle"
#define READ_MOST  (16 << 20)
#define KEEP       (1 << 20)

static const char handle_key;
struct handle { /* in the registry; closes its reader when the state ends */
    struct spool *spool;
    struct spool_reader *reader;
    struct buf out; /* lines on their way to Lua */
    char dir[4000];
};

static int handle_gc(lua_State *L) {
    struct handle *h = luaL_checkudata(L, 1, SPOOL_META);
    spool_reader_close(h->reader);
    h->reader = NULL;
    buf_free(&h->out);
    return 0;
}

void lib_spool_set(lua_State *L, struct spool *s, const char *dir) {
    struct handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    memset(h, 0, sizeof *h);
    h->spool = s;
    snprintf(h->dir, sizeof h->dir, "%s", dir);
    if (luaL_newmetatable(L, SPOOL_META)) {
        lua_pushcfunction(L, handle_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handle_key);
}

static struct handle *handle_of(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handle_key);
    struct handle *h = lua_touserdata(L, -1);
    lua_pop(L, 1); /* the registry holds it */
    if (h == NULL || h->spool == NULL) luaL_error(L, "there is no spool here: no tracker runs in this engine");
    return h;
}

static uint64_t position_at(lua_State *L, int index) {
    lua_Integer v = luaL_checkinteger(L, index);
    luaL_argcheck(L, v >= 0, index, "a position is not negative");
    return (uint64_t)v;
}

static int fail(lua_State *L, const struct err *e) {
    lua_pushnil(L);
    lua_pushstring(L, e->text);
    return 2;
}

static int l_read(lua_State *L) { /* read(after, max_bytes) -> ndjson, last | nil, err */
    struct handle *h = handle_of(L);
    uint64_t after = position_at(L, 1), last;
    lua_Integer max = luaL_optinteger(L, 2, 1 << 20);
    struct err e = {""};
    if (max < 1 || max > READ_MOST) max = max < 1 ? 1 : READ_MOST;
    buf_clear(&h->out);
    if (h->reader == NULL) h->reader = spool_reader_open(h->dir, &e);
    if (h->reader == NULL || !spool_read(h->reader, after, (size_t)max, &h->out, &last, &e)) return fail(L, &e);
    lua_pushlstring(L, h->out.n == 0 ? "" : h->out.p, h->out.n); /* may raise: the bytes belong to the handle, so nothing leaks */
    if (h->out.cap > KEEP) buf_free(&h->out);
    lua_pushinteger(L, (lua_Integer)last);
    return 2;
}

static int l_wait(lua_State *L) { /* wait(after, ms) -> boolean: is there something beyond `after` */
    struct handle *h = handle_of(L);
    uint64_t after = position_at(L, 1);
    lua_Integer ms = luaL_checkinteger(L, 2);
    lua_pushboolean(L, spool_wait(h->spool, after, ms < 0 ? 0 : ms > 600000 ? 600000 : (unsigned)ms));
    return 1;
}

static int l_ack(lua_State *L) { /* ack(reader, pos) -> true | nil, err */
    struct handle *h = handle_of(L);
    struct err e = {""};
    const char *reader = luaL_checkstring(L, 1);
    if (!spool_ack(h->spool, reader, position_at(L, 2), &e)) return fail(L, &e);
    lua_pushboolean(L, true);
    return 1;
}

/* stats() -> {tracker=, epoch=, last_seq=, last_pos=, queued=, committed=, dropped=, commits=, failures=, bytes=, backlog=, last_commit_us=,
 * failing=} */
static int l_stats(lua_State *L) {
    struct handle *h = handle_of(L);
    struct spool_stats st;
    spool_stats(h->spool, &st);
    const struct {
        const char *name;
        int64_t v;
    } fields[] = {{"epoch", (int64_t)st.epoch},     {"last_seq", (int64_t)st.last_seq},   {"last_pos", (int64_t)spool_last_pos(h->spool)},
                  {"queued", (int64_t)st.queued},   {"committed", (int64_t)st.committed}, {"dropped", (int64_t)st.dropped},
                  {"commits", (int64_t)st.commits}, {"failures", (int64_t)st.failures},   {"bytes", st.bytes},
                  {"backlog", st.backlog},          {"last_commit_us", st.last_commit_us}};
    lua_createtable(L, 0, 14);
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, fields[i].v);
        lua_setfield(L, -2, fields[i].name);
    }
    lua_pushstring(L, spool_tracker(h->spool));
    lua_setfield(L, -2, "tracker");
    lua_pushboolean(L, st.failing);
    lua_setfield(L, -2, "failing");
    return 1;
}

int lib_spool(lua_State *L) {
    static const luaL_Reg functions[] = {{"read", l_read}, {"wait", l_wait}, {"ack", l_ack}, {"stats", l_stats}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
