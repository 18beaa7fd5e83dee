#include "engine/app_i.h"
#include "script/hooks.h"
#include "script/lib.h"
#include "script/lib_spool.h"
#include <lua5.4/lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct app_kind app_kinds[POOLS] = {{SVC_HUB, "portreeve.hub", 0},
                                          {SVC_UI, "portreeve.ui", 0},
                                          {SVC_TRANSFER, "portreeve.transfer", 4},
                                          {SVC_INTERNAL, "portreeve.internal", 2}};

static void state_free(struct state *s) {
    if (!s) return;
    vm_destroy(s->vm);
    token_ctx_free(s->tokens);
    free(s);
}

static struct state *state_open(struct app *a, const struct generation *g, struct err *e) {
    struct engine *eng = a->eng;
    struct state *s = calloc(1, sizeof *s);
    if (!s) return (void)err_set(e, "out of memory"), NULL;
    s->app = a;
    struct vm_limits lim = {.memory = 512u << 20};
    s->vm = vm_create(VM_TRUSTED, &lim, eng->luadir, e);
    s->tokens = s->vm ? token_ctx_create(g->ring) : NULL;
    if (!s->tokens) {
        if (s->vm) err_set(e, "out of memory");
        state_free(s);
        return NULL;
    }
    lua_State *L = vm_lua(s->vm);
    vm_open_libs(s->vm, VM_TRUSTED);
    lib_token_set_ctx(L, s->tokens);
    char dir[512];
    snprintf(dir, sizeof dir, "%s/spool", eng->state_dir);
    lib_spool_set(L, eng->spool, dir);
    lib_engine_set(L, &a->api);
    vm_set_owner(s->vm, s);
    return s;
}

struct state *app_handler(struct app *a, struct generation *g, const char *module, struct err *e) {
    struct state *s = state_open(a, g, e);
    if (!s) return NULL;
    lua_State *L = vm_lua(s->vm);
    bool fine =
        vm_require(s->vm, module, e) && (lua_getfield(L, -1, "handler"), hooks_push_conf(s->vm, g->bundle, e)) && vm_call(s->vm, 1, 1, e);
    if (fine && !lua_isfunction(L, -1)) fine = err_set(e, "%s: handler(conf) must return a function", module);
    if (!fine) {
        state_free(s);
        return NULL;
    }
    s->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, 0);
    return s;
}

static bool make_task(struct app *a, struct generation *g, const char *module, const char *name, struct app_states *out, struct err *e) {
    if (out->ntasks == TASKS_MOST) return err_set(e, "%s: more than %u tasks", module, TASKS_MOST);
    struct state *s = state_open(a, g, e);
    if (!s) return false;
    lua_State *L = vm_lua(s->vm);
    bool fine = vm_require(s->vm, module, e) && hooks_push_conf(s->vm, g->bundle, e);
    if (!fine) {
        state_free(s);
        return false;
    }
    lua_getfield(L, 1, "tasks");
    lua_getfield(L, -1, name);
    snprintf(s->task, sizeof s->task, "%.40s.%.20s", module + strlen("portreeve."), name);
    lua_replace(L, 1); /* the task's function; conf stays at 2 */
    lua_settop(L, 2);
    struct task *t = &out->task[out->ntasks++];
    t->state = s;
    s->stop = &t->stop;
    return true;
}

static bool make_tasks(struct app *a, struct generation *g, const char *module, struct state *probe, struct app_states *out,
                       struct err *e) {
    lua_State *L = vm_lua(probe->vm);
    if (!vm_require(probe->vm, module, e)) return false;
    lua_getfield(L, -1, "tasks");
    bool fine = true;
    if (lua_istable(L, -1)) {
        lua_pushnil(L);
        while (fine && lua_next(L, -2)) {
            lua_pop(L, 1);
            fine = make_task(a, g, module, lua_tostring(L, -1), out, e);
        }
    }
    lua_settop(L, 0);
    return fine;
}

static uint32_t services_of(const struct generation *g) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < g->plan.nsockets; i++) all |= g->plan.socket[i].services;
    return all;
}

/* What the handlers read of the configuration: everything but sockets and certificates. */
static bool is_read(const char *path) {
    static const char *const not_read[] = {"tomcat.ini", "listeners.ini", "certificates.ini"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof not_read / sizeof *not_read; i++)
        if (strcmp(path, not_read[i]) == 0) return false;
    return strcmp(path, "--set") == 0 || strcmp(path, "services") == 0 || (n > 4 && strcmp(path + n - 4, ".ini") == 0);
}

static bool has_all(const struct bundle *b, const struct bundle *of) {
    for (unsigned i = 0; i < bundle_count(of); i++) {
        const struct bundle_file *f = bundle_at(of, i), *same = is_read(f->path) ? bundle_find(b, f->path) : f;
        if (!same || same->size != f->size || memcmp(same->hash, f->hash, sizeof f->hash) != 0) return false;
    }
    return true;
}

/* Does pool p work under g because it works already, with the very same configuration? Its threads build their states when they need them. */
static bool works_as_before(const struct app *a, const struct generation *g, unsigned p) {
    const struct app_states *now = a->now;
    return now && now->works[p] && !now->has_tasks[p] && has_all(now->gen->bundle, g->bundle) && has_all(g->bundle, now->gen->bundle);
}

static bool prepare_pool(struct app *a, struct generation *g, unsigned p, struct app_states *s, struct err *e) {
    const char *module = app_kinds[p].module;
    unsigned before = s->ntasks;
    if (!works_as_before(a, g, p)) {
        s->handler[p][0] = app_handler(a, g, module, e);
        if (!s->handler[p][0] || !make_tasks(a, g, module, s->handler[p][0], s, e)) return false;
    }
    s->has_tasks[p] = s->ntasks > before;
    return s->works[p] = true;
}

struct app_states *app_prepare(struct app *a, struct generation *g, struct err *e) {
    struct app_states *s = calloc(1, sizeof *s);
    if (!s) return (void)err_set(e, "out of memory"), NULL;
    s->gen = generation_ref(g);
    s->refs = 1;
    uint32_t services = services_of(g);
    bool fine = true;
    for (unsigned p = 0; fine && p < POOLS; p++) {
        if (!(services & app_kinds[p].service)) continue;
        fine = prepare_pool(a, g, p, s, e);
    }
    if (fine) return s;
    app_states_drop(s);
    return NULL;
}

static void free_states(struct app_states *s) {
    for (unsigned p = 0; p < POOLS; p++)
        for (unsigned i = 0; i < THREADS_MOST; i++) state_free(s->handler[p][i]);
    for (unsigned i = 0; i < s->ntasks; i++) state_free(s->task[i].state);
    generation_unref(s->gen);
    free(s);
}

void app_states_drop(struct app_states *s) {
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) free_states(s);
}
