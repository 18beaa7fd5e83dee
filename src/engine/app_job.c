#include "base/log.h"
#include "engine/app_i.h"
#include "script/lib_response.h"
#include <ctype.h>
#include <lua5.4/lauxlib.h>
#include <string.h>

static void set_text(lua_State *L, const struct job *j, const char *name, uint32_t at, uint32_t n) {
    lua_pushlstring(L, j->text.p + at, n);
    lua_setfield(L, -2, name);
}

static void push_headers(lua_State *L, const struct job *j) {
    lua_createtable(L, 0, j->nfields);
    for (uint16_t i = 0; i < j->nfields; i++) {
        char name[128];
        uint32_t n = j->field[i].name_n < sizeof name ? j->field[i].name_n : (uint32_t)sizeof name - 1;
        for (uint32_t k = 0; k < n; k++) name[k] = (char)tolower((unsigned char)j->text.p[j->field[i].name_at + k]);
        lua_pushlstring(L, name, n);
        const char *v = j->text.p + j->field[i].value_at;
        if (n == 6 && memcmp(name, "cookie", 6) == 0) { /* several Cookie fields are one (RFC 9113 8.2.3 allows them) */
            lua_pushvalue(L, -1);
            if (lua_rawget(L, -3) == LUA_TSTRING) {
                lua_pushliteral(L, "; ");
                lua_pushlstring(L, v, j->field[i].value_n);
                lua_concat(L, 3);
                lua_rawset(L, -3);
                continue;
            }
            lua_pop(L, 1);
        }
        lua_pushlstring(L, v, j->field[i].value_n);
        lua_rawset(L, -3);
    }
}

static int push_request(lua_State *L) { /* protected: runs through vm_call */
    const struct job *j = lua_touserdata(L, 1);
    lua_createtable(L, 0, 13);
    set_text(L, j, "method", j->method.at, j->method.n);
    set_text(L, j, "path", j->path.at, j->path.n);
    if (j->has_query) set_text(L, j, "query", j->query.at, j->query.n);
    set_text(L, j, "host", j->host.at, j->host.n);
    set_text(L, j, "body", j->body.at, j->body.n);
    set_text(L, j, "address", j->address.at, j->address.n);
    set_text(L, j, "socket_address", j->socket.at, j->socket.n);
    lua_pushstring(L, j->listener);
    lua_setfield(L, -2, "listener");
    lua_pushstring(L, j->secure);
    lua_setfield(L, -2, "secure");
    lua_pushinteger(L, j->local_port);
    lua_setfield(L, -2, "local_port");
    push_headers(L, j);
    lua_setfield(L, -2, "headers");
    return 1;
}

void app_run(struct state *s, struct job *j) {
    lua_State *L = vm_lua(s->vm);
    struct err e;
    j->fields.max = 65536;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->ref);
    lua_pushcfunction(L, push_request);
    lua_pushlightuserdata(L, j);
    bool ran = vm_call(s->vm, 1, 1, &e) && vm_call(s->vm, 1, 1, &e);
    if (!ran || !response_read(L, -1, &j->status, &j->fields, &j->reply, &e)) {
        j->status = 0;
        log_error("app", "%s %.*s: %s%s%s", plan_service_name(j->service), (int)(j->path.n < 200 ? j->path.n : 200), j->text.p + j->path.at,
                  e.text, ran ? "" : "; ", ran ? "" : vm_traceback(s->vm));
    }
    lua_settop(L, 0);
}
