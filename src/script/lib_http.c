/* portreeve.http for trusted code: call{method=, url=, headers=, body=, connect_ms=, total_ms=, max_reply=, stop=}
 *   -> {status=, headers={lower-case name = value}, body=} | nil, why
 * stop: a function asked about every 200 ms; once it returns true the call ends with nil, "stopped". */
#include "script/lib.h"
#include "svc/hclient.h"
#include <ctype.h>
#include <lua5.4/lauxlib.h>
#include <string.h>

#define HEADERS_MAX 32
#define STEP_MS     200

struct http_box {
    struct hclient *client;
    struct buf body, head;
};
static const char *const box_name = "portreeve.http";

static int box_close(lua_State *L) {
    struct http_box *b = luaL_checkudata(L, 1, box_name);
    hclient_destroy(b->client);
    b->client = NULL;
    buf_free(&b->body);
    buf_free(&b->head);
    return 0;
}

static lua_Integer number_of(lua_State *L, const char *key, lua_Integer most) {
    lua_getfield(L, 1, key);
    lua_Integer n = luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    if (n < 0 || n > most) luaL_error(L, "http.call: %s must be 0 to %I", key, most);
    return n;
}

/* Leaves the string on the stack, so that the pointer lives as long as the call. */
static const char *text_of(lua_State *L, const char *key, const char *otherwise, size_t *n) {
    lua_getfield(L, 1, key);
    return luaL_optlstring(L, -1, otherwise, n);
}

/* Every pushed "Name: value" stays on the stack below the table of pointers' user, the caller's frame. */
static void headers_of(lua_State *L, const char *list[HEADERS_MAX + 1]) {
    unsigned count = 0;
    lua_getfield(L, 1, "headers");
    int table = lua_gettop(L);
    if (!lua_isnil(L, table)) {
        luaL_checktype(L, table, LUA_TTABLE);
        luaL_checkstack(L, HEADERS_MAX + 8, "headers");
        lua_pushnil(L);
        while (lua_next(L, table)) {
            size_t kn = 0, vn = 0;
            if (lua_type(L, -2) != LUA_TSTRING || count == HEADERS_MAX)
                luaL_error(L, "http.call: headers must be at most %d named texts", HEADERS_MAX);
            const char *k = lua_tolstring(L, -2, &kn), *v = luaL_checklstring(L, -1, &vn);
            if (kn == 0 || strcspn(k, ": \r\n") != kn || strcspn(v, "\r\n") != vn)
                luaL_error(L, "http.call: header '%s' holds a forbidden byte", k);
            list[count++] = lua_pushfstring(L, "%s: %s", k, v);
            lua_insert(L, -3); /* below key and value */
            lua_pop(L, 1);
        }
    }
    list[count] = NULL;
}

static void push_fields(lua_State *L, const struct buf *head) {
    lua_newtable(L);
    const char *p = head->p, *end = head->p + head->n;
    while (p && p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = nl ? nl : end;
        const char *colon = memchr(p, ':', (size_t)(line_end - p));
        if (colon) {
            luaL_Buffer name;
            luaL_buffinit(L, &name);
            for (const char *c = p; c < colon; c++) luaL_addchar(&name, (char)tolower((unsigned char)*c));
            luaL_pushresult(&name);
            const char *v = colon + 1;
            while (v < line_end && (*v == ' ' || *v == '\t')) v++;
            while (line_end > v && strchr(" \t\r", line_end[-1])) line_end--;
            lua_pushlstring(L, v, (size_t)(line_end - v));
            lua_rawset(L, -3);
        }
        if (!nl) break;
        p = nl + 1;
    }
}

static bool asked_to_stop(lua_State *L, int stop) {
    if (!lua_isfunction(L, stop)) return false;
    lua_pushvalue(L, stop);
    lua_call(L, 0, 1);
    bool yes = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return yes;
}

static int refuse(lua_State *L, const char *why) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static int http_call(lua_State *L) { /* call{…} -> reply | nil, why */
    struct http_box *b = luaL_checkudata(L, lua_upvalueindex(1), box_name);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "stop");
    const char *header[HEADERS_MAX + 1];
    struct hclient_request rq = {.header = header, .reply_head = &b->head};
    rq.method = text_of(L, "method", "GET", NULL);
    rq.url = text_of(L, "url", "", NULL);
    rq.body = text_of(L, "body", NULL, &rq.body_n);
    rq.connect_ms = (unsigned)number_of(L, "connect_ms", 600000);
    rq.total_ms = (unsigned)number_of(L, "total_ms", 600000);
    rq.max_reply = (size_t)number_of(L, "max_reply", 64 << 20);
    headers_of(L, header);
    struct err e = {0};
    int status = 0;
    if (!b->client && !(b->client = hclient_create())) return refuse(L, "no memory for an HTTP client");
    if (!hclient_start(b->client, &rq, &b->body, &e)) return refuse(L, e.text);
    int rc;
    while ((rc = hclient_step(b->client, STEP_MS, &status, &e)) == 0)
        if (asked_to_stop(L, 2)) {
            hclient_abort(b->client);
            return refuse(L, "stopped");
        }
    if (rc < 0) return refuse(L, e.text);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, status);
    lua_setfield(L, -2, "status");
    lua_pushlstring(L, b->body.p ? b->body.p : "", b->body.n);
    lua_setfield(L, -2, "body");
    push_fields(L, &b->head);
    lua_setfield(L, -2, "headers");
    buf_clear(&b->body);
    return 1;
}

int lib_http(lua_State *L) {
    lua_createtable(L, 0, 1);
    struct http_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    memset(b, 0, sizeof *b);
    if (luaL_newmetatable(L, box_name)) {
        lua_pushcfunction(L, box_close);
        lua_setfield(L, -2, "__gc");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    lua_pushcclosure(L, http_call, 1);
    lua_setfield(L, -2, "call");
    return 1;
}
