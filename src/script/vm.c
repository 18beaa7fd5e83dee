#include "base/log.h"
#include "script/vm_i.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BIG_ALLOCATION 4096 /* from here on the bytes of an allocation are charged as work */
#define BYTES_PER_STEP 64
#define HOOK_STEP      1000
#define WARY_STEP      20 /* while a call has made strings so long that one instruction on them takes milliseconds */
#define LONG_STRING    65536
#define CPU_FLOOR_NS   500000000ll /* processor time of a call: this and 250 ns a step (10 and more times what they take) */
#define TRACE_FRAMES   24

const char vm_key_loaded, vm_key_preload, vm_key_policies, vm_key_template, vm_key_std_env, vm_key_over, vm_key_shadow;

struct vm *vm_of(lua_State *L) {
    return *(struct vm **)lua_getextraspace(L);
}
lua_State *vm_lua(struct vm *v) {
    return v->L;
}
void vm_set_owner(struct vm *v, void *owner) {
    v->owner = owner;
}
void *vm_owner(const struct vm *v) {
    return v->owner;
}
size_t vm_memory(const struct vm *v) {
    return v->used;
}
const char *vm_traceback(const struct vm *v) {
    return v->trace;
}

/* ---- where and how deep: read from the debug interface without allocating, since memory may be what ended ---- */

void vm_where(lua_State *L, char out[VM_AT_MAX]) {
    lua_Debug ar;
    out[0] = '\0';
    for (int level = 0; level < 64 && lua_getstack(L, level, &ar); level++) {
        if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0) continue;
        snprintf(out, VM_AT_MAX, "%s:%d", ar.short_src, ar.currentline);
        return;
    }
}

static void take_trace(lua_State *L, char out[VM_TRACE_MAX]) {
    lua_Debug ar;
    size_t n = 0;
    out[0] = '\0';
    for (int level = 0; level < TRACE_FRAMES && lua_getstack(L, level, &ar) && n + 1 < VM_TRACE_MAX; level++) {
        lua_getinfo(L, "Sln", &ar);
        int w;
        if (ar.currentline > 0) {
            w = snprintf(out + n, VM_TRACE_MAX - n, "%s%s:%d: in %s%s%s", n ? " < " : "", ar.short_src, ar.currentline,
                         *ar.namewhat      ? ar.namewhat
                         : *ar.what == 'm' ? "main chunk"
                                           : "function",
                         *ar.namewhat ? " " : "", ar.name ? ar.name : "");
        } else {
            w = snprintf(out + n, VM_TRACE_MAX - n, "%s[C]: in %s", n ? " < " : "", ar.name ? ar.name : "?");
        }
        if (w < 0) break;
        n += (size_t)w;
    }
}

/* ---- budget ---- */

static void on_count(lua_State *L, lua_Debug *ar);

static int64_t cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void note_over(struct vm *v, lua_State *L, enum vm_over why) {
    if (v->over) return;
    v->over = why;
    v->left = 0;
    if (why != VM_OVER_MEMORY) vm_where(L, v->at); /* refuse() has seen where the memory ended */
    take_trace(L, v->trace);
}

/* From now on every instruction of every coroutine asks the hook. */
static void arm(struct vm *v, lua_State *L) {
    v->armed = true;
    lua_sethook(v->L, on_count, LUA_MASKCOUNT, 1);
    if (L != v->L) lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
}

int vm_exhaust(lua_State *L, enum vm_over why) {
    struct vm *v = vm_of(L);
    note_over(v, L, why);
    if (v->lim.steps) arm(v, L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_key_over);
    return lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *ar) {
    (void)ar;
    struct vm *v = vm_of(L);
    if (v->over) {
        vm_exhaust(L, v->over);
        return;
    }
    int count = lua_gethookcount(L);
    v->left -= count;
    if (v->left <= 0) {
        vm_exhaust(L, VM_OVER_STEPS);
        return;
    }
    if (count != v->step_now) lua_sethook(L, on_count, LUA_MASKCOUNT, v->step_now); /* a coroutine that outlived an overdrawn call */
    /* Instructions may be dear (comparing megabytes). A call short enough to meet one hook only never asks the clock. */
    if (++v->hooks_run == 2) {
        v->cpu_started_ns = cpu_ns();
    } else if (v->hooks_run > 2 && cpu_ns() - v->cpu_started_ns > CPU_FLOOR_NS + v->lim.steps * 250) {
        vm_exhaust(L, VM_OVER_TIME);
    }
}

void vm_charge(lua_State *L, int64_t steps) {
    struct vm *v = vm_of(L);
    if (!v->lim.steps) return;
    v->left -= steps;
    if (v->left <= 0) vm_exhaust(L, VM_OVER_STEPS);
}

/* ---- memory ---- */

/* Lua also asks while it leaves a call that has failed, for a smaller stack, and does without: by then no function runs that could be named. */
static void note_refused(struct vm *v, size_t size) {
    char at[VM_AT_MAX];
    vm_where(v->L, at);
    if (v->over || (!at[0] && v->at[0])) return;
    memcpy(v->at, at, sizeof at);
    v->refused_size = size;
}

static void *refuse(struct vm *v, size_t size) {
    note_refused(v, size);
    if (v->lim.steps) { /* each refusal makes Lua collect all garbage: that is work too */
        v->left -= (int64_t)(v->used / BYTES_PER_STEP);
        if (v->left <= 0 && !v->armed) arm(v, v->L);
    }
    return NULL;
}

static void be_wary(struct vm *v) {
    if (!v->lim.steps || v->armed || v->step_now <= WARY_STEP) return;
    v->step_now = WARY_STEP;
    lua_sethook(v->L, on_count, LUA_MASKCOUNT, WARY_STEP);
}

/* The cap holds inside vm_call only: outside there is nobody who could catch the error, and C pushes little there. */
static void *vm_alloc(void *ud, void *p, size_t osize, size_t nsize) {
    struct vm *v = ud;
    size_t old = p ? osize : 0;
    if (nsize == 0) {
        free(p);
        v->used -= old;
        return NULL;
    }
    if (nsize > old) {
        size_t more = nsize - old;
        if (v->depth) {
            if (v->lim.memory && (more > v->lim.memory || v->used > v->lim.memory - more)) return refuse(v, nsize);
            if (!p && osize == LUA_TSTRING && v->string_max && nsize > LONG_STRING) {
                if (nsize > v->string_max) return refuse(v, nsize);
                be_wary(v);
            }
            if (more >= BIG_ALLOCATION && v->lim.steps) {
                v->left -= (int64_t)(more / BYTES_PER_STEP);
                if (v->left <= 0 && !v->armed) arm(v, v->L);
            }
        }
    }
    void *q = realloc(p, nsize);
    if (q) v->used = v->used - old + nsize;
    return q;
}

/* ---- the door ---- */

/* Does text begin with "file:digits: "? */
static bool has_position(const char *s, size_t n) {
    for (size_t i = 0; i + 2 < n && i < 300; i++) {
        if (s[i] == '\n') return false;
        if (s[i] != ':' || s[i + 1] < '0' || s[i + 1] > '9') continue;
        size_t j = i + 1;
        while (j < n && s[j] >= '0' && s[j] <= '9') j++;
        if (j < n && s[j] == ':') return true;
    }
    return false;
}

static const char *raw_text(lua_State *L, int index, const char *field) {
    lua_pushstring(L, field);
    lua_rawget(L, index);
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); /* the table still holds it */
    return s;
}

/* Error objects of scripts are read raw: a metamethod would run here, where no budget counts. */
static void describe(lua_State *L, struct vm *v, int index) {
    char at[VM_AT_MAX];
    vm_where(L, at);
    size_t n = 0;
    const char *s = NULL;
    char other[96];
    int type = lua_type(L, index);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        s = type == LUA_TSTRING ? lua_tolstring(L, index, &n) : NULL;
        if (!s) {
            if (lua_isinteger(L, index)) snprintf(other, sizeof other, "error value %lld", (long long)lua_tointeger(L, index));
            else snprintf(other, sizeof other, "error value %.14g", lua_tonumber(L, index));
        }
    } else if (type == LUA_TTABLE && (s = raw_text(L, index, "message")) != NULL) {
        n = strlen(s);
    } else {
        snprintf(other, sizeof other, "an error value that is no text (a %s)", lua_typename(L, type));
    }
    if (!s) {
        s = other;
        n = strlen(other);
    }
    if (at[0] && !has_position(s, n)) snprintf(v->message, sizeof v->message, "%s: %s", at, s);
    else snprintf(v->message, sizeof v->message, "%s", s);
}

static int on_error(lua_State *L) {
    struct vm *v = vm_of(L);
    if (!v->over) {
        describe(L, v, 1);
        take_trace(L, v->trace);
    }
    return 1;
}

static bool fail(struct vm *v, int status, struct err *e) {
    const char *at = v->at[0] ? v->at : "?";
    if (v->over == VM_OVER_STEPS) err_set(e, "%s: the budget of %lld steps is spent (an endless loop?)", at, (long long)v->lim.steps);
    else if (v->over == VM_OVER_TIME) err_set(e, "%s: the call took more processor time than %lld steps may", at, (long long)v->lim.steps);
    else if (status == LUA_ERRMEM || v->over == VM_OVER_MEMORY)
        err_set(e, "%s: not enough memory (%zu bytes asked for, %zu in use, the bound is %zu)", at, v->refused_size, v->used,
                v->string_max && v->refused_size > v->string_max ? v->string_max : v->lim.memory);
    else if (v->message[0]) err_set(e, "%s", v->message);
    else err_set(e, "%s", status == LUA_ERRERR ? "an error while an error was handled" : "an unknown error");
    if (status == LUA_ERRMEM && v->over != VM_OVER_STEPS && v->over != VM_OVER_TIME) v->trace[0] = '\0';
    return false;
}

static void begin_outermost(struct vm *v) {
    v->left = v->lim.steps;
    v->hooks_run = 0;
    v->at[0] = '\0';
    v->refused_size = 0;
}

/* Out of the ordinary: the outermost call that has just ended changed the hook. */
static void end_overdrawn(struct vm *v) {
    v->over = VM_IN_BUDGET;
    if (v->armed || v->step_now != v->step) lua_sethook(v->L, on_count, LUA_MASKCOUNT, v->step);
    v->step_now = v->step;
    v->armed = false;
}

bool vm_call(struct vm *v, int nargs, int nresults, struct err *e) {
    lua_State *L = v->L;
    int base = lua_gettop(L) - nargs;
    if (!lua_checkstack(L, 2)) {
        lua_settop(L, base - 1);
        return err_set(e, "the Lua stack is full");
    }
    lua_pushcfunction(L, on_error);
    lua_insert(L, base);
    if (v->depth++ == 0) begin_outermost(v);
    int status = lua_pcall(L, nargs, nresults, base);
    v->depth--;
    lua_remove(L, base);
    if (status == LUA_OK && !v->over) {
        if (v->depth == 0 && (v->armed || v->step_now != v->step)) end_overdrawn(v);
        return true;
    }
    lua_settop(L, base - 1);
    fail(v, status, e);
    v->message[0] = '\0';
    if (v->depth == 0) {
        end_overdrawn(v);
        /* What a call that failed has left must not make the next one fail too: not everything that asks for memory collects garbage first. */
        if (v->lim.memory && v->used > v->lim.memory / 2) lua_gc(L, LUA_GCCOLLECT);
    }
    return false;
}

/* ---- life ---- */

static int on_panic(lua_State *L) {
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error value";
    log_error("lua", "error outside of every call: %s", s);
    return 0; /* Lua aborts: the supervisor starts the engine again */
}

static int setup(lua_State *L) {
    lua_pushliteral(L, "the budget is spent");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &vm_key_over);
    vm_env_setup(L);
    lua_gc(L, LUA_GCCOLLECT);
    return 0;
}

struct vm *vm_create(enum vm_kind kind, const struct vm_limits *lim, const char *luadir, struct err *e) {
    struct vm *v = calloc(1, sizeof *v);
    if (!v || !(v->luadir = strdup(luadir ? luadir : ""))) {
        free(v);
        err_set(e, "no memory for a Lua state");
        return NULL;
    }
    v->kind = kind;
    v->bounded = kind == VM_SANDBOX || lim->steps > 0;
    v->L = lua_newstate(vm_alloc, v);
    if (!v->L) {
        vm_destroy(v);
        err_set(e, "no memory for a Lua state");
        return NULL;
    }
    *(struct vm **)lua_getextraspace(v->L) = v;
    lua_atpanic(v->L, on_panic);
    lua_pushcfunction(v->L, setup); /* still without limits */
    if (!vm_call(v, 0, 0, e)) {
        vm_destroy(v);
        return NULL;
    }
    v->lim = *lim;
    v->string_max = !v->bounded ? 0 : kind == VM_SANDBOX ? VM_STRING_MAX : VM_STRING_MAX_TRUSTED;
    v->step = v->step_now = lim->steps && lim->steps < HOOK_STEP ? (int)lim->steps : HOOK_STEP;
    if (lim->steps) lua_sethook(v->L, on_count, LUA_MASKCOUNT, v->step);
    return v;
}

const char *vm_luadir(const struct vm *v) {
    return v->luadir;
}

void vm_destroy(struct vm *v) {
    if (!v) return;
    if (v->L) {
        lua_sethook(v->L, NULL, 0, 0);
        lua_close(v->L);
    }
    free(v->luadir);
    free(v);
}
