#include "engine/planner_vm.h"
#include <stdlib.h>
#include <string.h>

static void set_text(lua_State *L, const char *name, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void push_because(lua_State *L, const struct plan_because *b) {
    lua_createtable(L, 0, 5);
    set_text(L, "file", b->file);
    set_text(L, "entry", b->entry);
    set_text(L, "row", b->row);
    set_text(L, "policy", b->policy);
    lua_pushinteger(L, b->line);
    lua_setfield(L, -2, "line");
}

static void push_services(lua_State *L, uint32_t services) {
    lua_Integer n = 0;
    lua_newtable(L);
    for (uint32_t bit = 1; bit; bit <<= 1) {
        if (!(services & bit)) continue;
        lua_pushstring(L, plan_service_name(bit));
        lua_rawseti(L, -2, ++n);
    }
}

static void push_socket(lua_State *L, const struct plan_socket *s, uint16_t port, const char *state) {
    char ip[ADDR_TEXT];
    addr_format_ip(&s->at, ip);
    lua_createtable(L, 0, 13);
    set_text(L, "name", s->name);
    set_text(L, "address", ip);
    set_text(L, "scheme", plan_scheme_text(s));
    set_text(L, "transport", s->at.udp ? "udp" : "tcp");
    set_text(L, "certificate", s->certificate);
    set_text(L, "client", plan_client_words[s->client]);
    set_text(L, "restriction", plan_restriction_words[s->restriction]);
    set_text(L, "list", s->list);
    set_text(L, "state", state);
    lua_pushboolean(L, s->waiting);
    lua_setfield(L, -2, "waiting");
    lua_pushboolean(L, s->external_tls);
    lua_setfield(L, -2, "external");
    set_text(L, "proxy", plan_proxy_words[s->proxy]);
    set_text(L, "proxy_from", s->proxy_from);
    lua_pushinteger(L, port);
    lua_setfield(L, -2, "port");
    push_because(L, &s->because);
    lua_setfield(L, -2, "because");
    push_services(L, s->services);
    lua_setfield(L, -2, "services");
}

static void push_sockets(lua_State *L, const struct plan *p, const struct plan_view *v) {
    lua_createtable(L, (int)p->nsockets, 0);
    for (uint32_t i = 0; i < p->nsockets; i++) {
        uint16_t port = v && v->port && v->port[i] ? v->port[i] : p->socket[i].at.port;
        push_socket(L, &p->socket[i], port, v && v->state ? v->state[i] : "");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* The result on top: { bound =, lines =, sockets = }. */
static bool take(lua_State *L, const struct plan *p, struct explained *out) {
    lua_getfield(L, -1, "bound");
    out->bound = lua_toboolean(L, -1);
    lua_pop(L, 1);
    bool good = true;
    lua_getfield(L, -1, "lines");
    for (lua_Unsigned i = 1; good && i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        const char *s = lua_tostring(L, -1);
        good = s && buf_str(&out->text, s) && buf_str(&out->text, "\n");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_getfield(L, -1, "sockets");
    lua_Unsigned n = lua_rawlen(L, -1);
    out->socket = n <= p->nsockets ? calloc(n ? n : 1, sizeof *out->socket) : NULL;
    for (lua_Unsigned i = 1; out->socket && i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        lua_Integer k = lua_tointeger(L, -1);
        if (k >= 1 && k <= (lua_Integer)p->nsockets) out->socket[out->n++] = (uint32_t)(k - 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return good && out->socket;
}

static bool ask(struct planner *p, struct vm *v, const struct host *h, const char *target, const struct plan_view *view,
                struct explained *out, bool *usage, struct err *e) {
    lua_State *L = vm_lua(v);
    if (!vm_require(v, "portreeve.explain", e)) return false;
    lua_getfield(L, -1, "at");
    lua_pushstring(L, target);
    push_sockets(L, &p->plan, view);
    if (!planner_push_rules(p, v, false, e)) return false;
    planner_push_host(L, h);
    if (!vm_call(v, 4, 2, e)) return false;
    if (!lua_istable(L, -2)) {
        *usage = true;
        return err_set(e, "%.900s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "no address and port");
    }
    lua_pop(L, 1);
    return take(L, &p->plan, out) || err_set(e, "out of memory");
}

bool planner_explain(struct planner *p, const char *target, const struct plan_view *view, struct explained *out, bool *usage,
                     struct err *e) {
    struct host h = {0};
    struct vm *v = NULL;
    memset(out, 0, sizeof *out);
    *usage = false;
    bool good = host_read(&h, e) && (v = planner_vm(p, e)) && ask(p, v, &h, target, view, out, usage, e);
    vm_destroy(v);
    host_finish(&h);
    if (!good) explained_finish(out);
    return good;
}

void explained_finish(struct explained *x) {
    buf_free(&x->text);
    free(x->socket);
    memset(x, 0, sizeof *x);
}
