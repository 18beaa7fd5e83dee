#include "engine/console.h"
#include "base/log.h"
#include "engine/status.h"
#include "script/lib.h"
#include "svc/consock.h"
#include <ev.h>
#include <lua5.4/lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define CONSOLE_STEPS  50000000
#define CONSOLE_MEMORY (256u << 20)

struct console {
    struct engine *eng;
    struct engine_api api;
    pthread_t thread;
    struct ev_loop *loop;
    ev_async quit;
    struct consock *sock;
    struct vm *vm; /* holds the object that portreeve.console made at stack slot 1 */
};

static int answer(lua_State *L) { /* (console, request line, who asks) -> reply line; protected */
    lua_getfield(L, 1, "answer");
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_call(L, 2, 1);
    return 1;
}

static void on_request(void *ctx, uid_t uid, pid_t pid, const char *line, size_t n, struct buf *reply) {
    struct console *c = ctx;
    lua_State *L = vm_lua(c->vm);
    struct err e;
    lua_pushcfunction(L, answer);
    lua_pushvalue(L, 1);
    lua_pushlstring(L, line, n);
    lua_pushfstring(L, "uid %d at the console", (int)uid);
    size_t k;
    if (vm_call(c->vm, 3, 1, &e) && lua_type(L, -1) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, -1, &k);
        buf_add(reply, text, k);
    } else {
        log_warn("console", "a request of uid %d (pid %d) failed: %s", (int)uid, (int)pid, e.text);
        buf_str(reply, "{\"ok\":false");
        buf_member(reply, "text", e.text);
        buf_str(reply, "}");
    }
    lua_settop(L, 1);
}

static void on_quit(struct ev_loop *loop, ev_async *a, int revents) {
    (void)a, (void)revents;
    ev_break(loop, EVBREAK_ALL);
}

static void *console_main(void *arg) {
    struct console *c = arg;
    pthread_setname_np(pthread_self(), "console");
    ev_run(c->loop, 0);
    return NULL;
}

static bool open_lua(struct console *c, struct err *e) {
    struct vm_limits lim = {.memory = CONSOLE_MEMORY, .steps = CONSOLE_STEPS};
    c->vm = vm_create(VM_TRUSTED, &lim, c->eng->luadir, e);
    if (!c->vm) return false;
    lua_State *L = vm_lua(c->vm);
    vm_open_libs(c->vm, VM_TRUSTED);
    lib_engine_set(L, &c->api);
    if (!vm_require(c->vm, "portreeve.console", e)) return false;
    lua_getfield(L, -1, "new");
    lua_remove(L, -2);
    if (!vm_require(c->vm, "portreeve.engine", e)) return false;
    return vm_call(c->vm, 1, 1, e);
}

struct console *console_start(struct engine *eng, const char *socket_path, struct err *e) {
    struct console *c = calloc(1, sizeof *c);
    if (!c) return (void)err_set(e, "out of memory"), NULL;
    c->eng = eng;
    status_api(eng, &c->api);
    c->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_async_init(&c->quit, on_quit);
    ev_async_start(c->loop, &c->quit);
    bool fine = open_lua(c, e) && (c->sock = consock_start(c->loop, socket_path, on_request, c, e));
    if (fine && pthread_create(&c->thread, NULL, console_main, c) == 0) return c;
    if (fine) err_set(e, "the console's thread cannot be started");
    consock_stop(c->sock);
    vm_destroy(c->vm);
    ev_loop_destroy(c->loop);
    free(c);
    return NULL;
}

void console_stop(struct console *c) {
    if (!c) return;
    ev_async_send(c->loop, &c->quit);
    pthread_join(c->thread, NULL);
    consock_stop(c->sock);
    vm_destroy(c->vm);
    ev_loop_destroy(c->loop);
    free(c);
}
