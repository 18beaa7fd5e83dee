/* Inside of the Lua room: what vm.c, vm_env.c, lib_safe.c and lib_pattern.c share. Nobody else includes this. */
#ifndef PORTREEVE_SCRIPT_VM_I_H
#define PORTREEVE_SCRIPT_VM_I_H
#include "script/vm.h"
#include <lua5.4/lauxlib.h>
#include <lua5.4/lualib.h>

#define VM_STRING_MAX         (2u << 20)  /* a longer string is refused in sandboxes: comparing two of them is one instruction */
#define VM_STRING_MAX_TRUSTED (16u << 20) /* … and in trusted states with a step limit: the console's answers */
#define VM_SPAN_MAX           1000000     /* elements one table function may walk over */
#define VM_SPREAD_MAX         4096        /* values one call may push: unpack, string.byte, utf8.codepoint */
#define VM_TEXT_MAX           (1u << 20)  /* bytes of one policy file */
#define VM_TRACE_MAX          2048
#define VM_AT_MAX             (LUA_IDSIZE + 16)

enum vm_over { VM_IN_BUDGET, VM_OVER_STEPS, VM_OVER_TIME, VM_OVER_MEMORY };

struct vm {
    lua_State *L;
    struct vm_limits lim;
    enum vm_kind kind;
    bool bounded; /* safe libraries, uncatchable budget: a sandbox, or a trusted state with a step limit */
    bool armed;   /* the hook's count is 1 since the budget was overdrawn */
    enum vm_over over;
    unsigned depth;     /* vm_calls under way */
    unsigned hooks_run; /* since the outermost call began */
    int step, step_now; /* VM instructions between hooks: as a rule, and in this call */
    int64_t left, cpu_started_ns;
    size_t used, refused_size, string_max; /* bytes in use; the allocation last refused; the longest string, 0 = any */
    void *owner;
    char *luadir;
    const char *(*fetch)(void *ctx, const char *name, size_t *n, const char **display);
    void *fetch_ctx;
    char at[VM_AT_MAX]; /* "file:line" where the budget or the memory ended */
    char message[1024]; /* of the error on its way to vm_call */
    char trace[VM_TRACE_MAX];
};

/* Registry keys: the address of each is the key. */
extern const char vm_key_loaded, vm_key_preload, vm_key_policies, vm_key_template, vm_key_std_env, vm_key_over, vm_key_shadow;

/* Take `steps` from the budget for work done in C; raises when nothing is left. No-op without a step limit. */
void vm_charge(lua_State *L, int64_t steps);
/* Raise the budget error, which no pcall of a bounded state catches. */
int vm_exhaust(lua_State *L, enum vm_over why);
/* "file:line" of the innermost Lua function, "" where there is none. Allocates nothing. */
void vm_where(lua_State *L, char out[VM_AT_MAX]);

/* vm_setup.c: builds template and trusted environment; runs protected, may raise. */
int vm_env_setup(lua_State *L);
/* vm_env.c. Push a copy of the table at index, deep: its sub-tables copied too. */
void vm_copy_template(lua_State *L, int index, bool deep);
/* Push an environment: the whitelist and `require`. Unknown names and new globals are errors. */
void vm_push_env(lua_State *L, lua_CFunction require);
int vm_std_require(lua_State *L); /* require(name) of the library itself in a sandbox: any portreeve.* module */

/* vm_code.c: lua_load of a file of the library, text or what this process has compiled of it before; tail: its path below the library.
 * VM_NO_FILE: it is not there. */
#define VM_NO_FILE (-1)
int vm_load_file(lua_State *L, const char *tail, const char *display);
int vm_load_named(lua_State *L, const char *name); /* vm_env.c: the same of a module */

/* lib_safe.c, lib_pattern.c: both raise on a fault. vm_safe_template pushes a new table: the whitelisted globals with sub-tables
 * string, table, math, utf8, os. vm_pattern_open adds find, match, gmatch, gsub to the table on top. */
void vm_safe_template(lua_State *L);
void vm_pattern_open(lua_State *L);
/* A string for people of any value, never an address; pushes it. Runs __tostring. */
const char *vm_safe_tostring(lua_State *L, int index, size_t *n);
#endif
