#include "script/hooks_i.h"
#include "script/lib_response.h"
#include "script/lib_token.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVE_RESULTS 7 /* service, response, type, token, class, reasons, wait */

static const char *fetch_policy(void *ctx, const char *name, size_t *n, const char **display) {
    const struct bundle *b = ctx;
    char path[BUNDLE_PATH];
    snprintf(path, sizeof path, "policies/%.200s.lua", name);
    const struct bundle_file *f = bundle_find(b, path);
    if (!f) return NULL;
    *n = f->size;
    *display = f->display;
    return bundle_text(b, f);
}

static const struct bundle_file *push_policy(struct hooks *h, const char *path, struct err *e) {
    const struct bundle_file *f = bundle_find(h->bundle, path);
    if (!f) return err_set(e, "%s is missing", path), NULL;
    return vm_policy(h->vm, bundle_text(h->bundle, f), f->size, f->display, e) ? f : NULL;
}

/* The rules, and on the stack the functions of those in Lua. */
static bool load_admission(struct hooks *h, struct err *e) {
    const struct bundle_file *f = push_policy(h, "policies/admission.lua", e);
    if (!f || !rules_read(h->vm, f->display, h->lists, &h->rules, e) || !rules_builtin(&h->builtin, h->lists, e)) return false;
    h->count = calloc(h->rules.n ? h->rules.n : 1, sizeof *h->count);
    if (h->rules.on_error == ON_ERROR_LAST) h->last = calloc(LAST_SLOTS, sizeof *h->last);
    return (h->count && (h->last || h->rules.on_error != ON_ERROR_LAST)) || err_set(e, "out of memory");
}

static bool load_route(struct hooks *h, struct err *e) {
    const struct bundle_file *f = push_policy(h, "policies/route.lua", e);
    if (!f) return false;
    if (lua_isfunction(vm_lua(h->vm), -1)) return true;
    return err_set(e, "%s: the file must return a function, it returns a %s", f->display, luaL_typename(vm_lua(h->vm), -1));
}

bool hooks_push_conf(struct vm *v, const struct bundle *b, struct err *e) {
    lua_State *L = vm_lua(v);
    if (!vm_require(v, "portreeve.conf", e)) return false;
    lua_newtable(L);
    for (unsigned i = 0; i < bundle_count(b); i++) {
        const struct bundle_file *f = bundle_at(b, i);
        size_t n = strlen(f->path);
        bool wanted = strcmp(f->path, "--set") == 0 || strcmp(f->path, "services") == 0 || (n > 4 && strcmp(f->path + n - 4, ".ini") == 0);
        if (!wanted) continue;
        lua_createtable(L, 0, 2);
        lua_pushlstring(L, bundle_text(b, f), f->size);
        lua_setfield(L, -2, "text");
        lua_pushstring(L, f->display);
        lua_setfield(L, -2, "display");
        lua_setfield(L, -2, f->path);
    }
    return vm_call(v, 1, 1, e);
}

static bool push_tracker(struct hooks *h, struct err *e) {
    lua_State *L = vm_lua(h->vm);
    if (!vm_require(h->vm, "portreeve.tracker", e)) return false;
    lua_getfield(L, -1, "new");
    lua_remove(L, -2);
    if (!hooks_push_conf(h->vm, h->bundle, e)) return false;
    int top = lua_gettop(L);
    if (lua_getfield(L, -1, "tracker") == LUA_TTABLE && lua_getfield(L, -1, "TrackerId") == LUA_TTABLE &&
        lua_getfield(L, -1, "value") == LUA_TSTRING)
        snprintf(h->tracker_id, sizeof h->tracker_id, "%s", lua_tostring(L, -1));
    lua_settop(L, top);
    if (!h->tracker_id[0]) return err_set(e, "tracker.ini: TrackerId has no value");
    lua_newtable(L);
    if (!vm_call(h->vm, 2, 1, e)) return false;
    return lua_isfunction(L, -1) || err_set(e, "portreeve.tracker: new() must return a function");
}

/* route.lua and the handlers that live on workers, made one function by portreeve.serve. */
static bool load_serve(struct hooks *h, struct err *e) {
    lua_State *L = vm_lua(h->vm);
    if (!vm_require(h->vm, "portreeve.serve", e) || !load_route(h, e)) return false;
    lua_createtable(L, 0, 1);
    if (!push_tracker(h, e)) return false;
    lua_setfield(L, -2, "tracker");
    return vm_call(h->vm, 2, 1, e);
}

struct hooks *hooks_create(const struct hooks_config *cfg, struct err *e) {
    struct hooks *h = calloc(1, sizeof *h);
    if (!h) {
        err_set(e, "out of memory");
        return NULL;
    }
    h->bundle = cfg->bundle;
    h->lists = cfg->lists;
    h->health = cfg->health;
    struct vm_limits lim = {.memory = (size_t)cfg->plan->set.policy_memory, .steps = cfg->plan->set.policy_steps};
    h->vm = vm_create(VM_SANDBOX, &lim, cfg->luadir, e);
    h->tokens = h->vm ? token_ctx_create(cfg->ring) : NULL;
    if (!h->vm || !h->tokens) {
        if (h->vm) err_set(e, "out of memory");
        hooks_destroy(h);
        return NULL;
    }
    lua_State *L = vm_lua(h->vm);
    vm_open_libs(h->vm, VM_SANDBOX);
    lib_token_set_ctx(L, h->tokens);
    vm_policy_source(h->vm, fetch_policy, (void *)(uintptr_t)cfg->bundle);
    lua_settop(L, 0);
    h->facts = facts_push_box(L);
    h->req = request_push_box(L);
    h->req->lists = h->lists;
    bool fine = load_admission(h, e) && load_serve(h, e) && hooks_load_scripts(h, cfg->plan, e);
    if (!fine || lua_gettop(L) != SLOT_TOP) {
        if (fine) err_set(e, "a policy left values on the stack");
        hooks_destroy(h);
        return NULL;
    }
    lua_gc(L, LUA_GCGEN, 0, 0);
    return h;
}

void hooks_destroy(struct hooks *h) {
    if (!h) return;
    vm_destroy(h->vm);
    rules_finish(&h->rules);
    rules_finish(&h->builtin);
    free(h->count);
    free(h->last);
    free(h->script);
    token_ctx_free(h->tokens);
    free(h);
}

const char *hooks_tracker_id(const struct hooks *h) {
    return h->tracker_id;
}

/* The service's name (or nil and a status) at `index`. */
static bool read_route(lua_State *L, int index, struct outcome *out, struct err *e) {
    int isnum;
    if (lua_type(L, index) == LUA_TSTRING) {
        out->service = plan_service_bit(lua_tostring(L, index));
        return out->service || err_set(e, "policies/route.lua: there is no service '%.60s'", lua_tostring(L, index));
    }
    lua_Integer status = lua_tointegerx(L, index + 1, &isnum);
    if (lua_isnil(L, index) && isnum && status >= 400 && status <= 599) {
        out->status = (int)status;
        return true;
    }
    return err_set(e, "policies/route.lua: return a service's name, or nil and a status from 400 to 599");
}

static uint8_t word_index(const char *const *words, const char *w) {
    for (uint8_t i = 0; words[i]; i++)
        if (strcmp(words[i], w) == 0) return i;
    return UINT8_MAX;
}

/* An event's parts from `at` on: type, token, class, reasons, wait (portreeve.serve). */
static bool read_event(lua_State *L, int at, const struct exchange *x, struct outcome *out, struct err *e) {
    struct event *ev = &out->event;
    *ev = (struct event){.ms = x->at_ms,
                         .address = x->peer->remote,
                         .listener = x->peer->listener,
                         .tls = x->peer->secure,
                         .method = (uint8_t)x->req.method};
    ev->type = lua_type(L, at) == LUA_TSTRING ? word_index(event_type_words, lua_tostring(L, at)) : UINT8_MAX;
    const struct token *t = token_at(L, at + 1);
    if (t) ev->token = *t;
    ev->cls = lua_type(L, at + 2) == LUA_TSTRING ? word_index(event_class_words, lua_tostring(L, at + 2)) : UINT8_MAX;
    ev->reasons = (uint32_t)lua_tointeger(L, at + 3);
    out->wait = lua_toboolean(L, at + 4);
    const struct field *agent = ev->token.level == LEVEL_NETWORK ? request_field(&x->req, "user-agent") : NULL;
    if (agent) ev->agent = agent->value.p, ev->agent_n = agent->value.n;
    out->has_event = t && ev->type && ev->type != UINT8_MAX && ev->cls != UINT8_MAX;
    return out->has_event || err_set(e, "portreeve.tracker: an event needs type, class and token");
}

static bool read_answer(lua_State *L, int index, const struct exchange *x, struct outcome *out, struct err *e) {
    out->fixed = response_fixed_at(L, index);
    if (!out->fixed && !response_read(L, index, &out->status, out->fields, out->body, e)) return false;
    if (out->fixed) out->status = out->fixed->status;
    return lua_isnil(L, index + 1) || read_event(L, index + 1, x, out, e);
}

bool hooks_serve(struct hooks *h, struct exchange *x, struct outcome *out, struct err *e) {
    lua_State *L = vm_lua(h->vm);
    uint64_t bad = token_bad_count(h->tokens);
    h->req->exchange = x;
    out->service = 0;
    out->has_event = out->wait = out->answered = false;
    lua_pushvalue(L, SLOT_SERVE);
    lua_pushvalue(L, SLOT_REQ);
    bool fine = vm_call(h->vm, 1, SERVE_RESULTS, e) && read_route(L, SLOT_TOP + 1, out, e);
    if (fine && (out->service & SVC_TRACKER)) {
        out->answered = true;
        fine = read_answer(L, SLOT_TOP + 2, x, out, e);
    }
    h->req->exchange = NULL;
    out->bad_token = token_bad_count(h->tokens) != bad;
    lua_settop(L, SLOT_TOP);
    return fine;
}
