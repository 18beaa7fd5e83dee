/* A Lua state with bounds. The only file that creates a lua_State and the only pcall door of the program.
 * Kinds: VM_SANDBOX (policies in planner and workers: whitelisted libraries, no load, no io, no os, no debug, no coroutine wrap tricks,
 * see reliability.md "Lua sandbox") and VM_TRUSTED (hub and ui on app threads: full libraries, require from luadir and Debian's paths). */
#ifndef PORTREEVE_SCRIPT_VM_H
#define PORTREEVE_SCRIPT_VM_H
#include "base/err.h"
#include <lua5.4/lua.h>
#include <stdint.h>

enum vm_kind { VM_SANDBOX, VM_TRUSTED };
struct vm_limits {
    size_t memory; /* bytes, 0 = unlimited; hitting it is a Lua "not enough memory" error, never an abort */
    int64_t steps; /* VM instructions per vm_call, 0 = unlimited; uncatchable by pcall in the script */
};
struct vm;
/* luadir: folder that holds portreeve/… (the standard library), asked where no image is held (plan/library.h). NULL with e on a fault. C modules come by vm_open_libs (lib.h) or vm_preload.
 * With a step limit a call also has a limit of processor time, far above what its steps take; strings are bounded (vm_i.h). A VM_TRUSTED state
 * with a step limit (the console's) gets the sandbox's string, table and utf8 functions, and module portreeve.safe: environment() -> table. */
struct vm *vm_create(enum vm_kind kind, const struct vm_limits *lim, const char *luadir, struct err *e);
void vm_destroy(struct vm *v); /* NULL is legal */
lua_State *vm_lua(struct vm *v);
struct vm *vm_of(lua_State *L); /* the vm a state belongs to (extra space), for lib functions */
/* Opaque pointer for hooks and libs (worker, app thread …). */
void vm_set_owner(struct vm *v, void *owner);
void *vm_owner(const struct vm *v);
const char *vm_luadir(const struct vm *v);

/* The door. Stack: function and nargs arguments on top, as for lua_call; on true they are replaced by nresults; on false they are
 * popped and e holds "file:line: message" (traceback in vm_traceback, bounded). The budget starts afresh with each outermost call.
 * May be entered again from a C function called by Lua (inner calls share the outer budget). */
bool vm_call(struct vm *v, int nargs, int nresults, struct err *e);
const char *vm_traceback(const struct vm *v); /* of the last failed call, one line, the innermost first; "" = none */

/* Standard library module (trusted code from luadir, e.g. "portreeve.rules"): pushes it. Cached per vm. Works in both kinds; in VM_SANDBOX
 * the module's code runs in a trusted environment that policies cannot reach except through the functions it returns. */
bool vm_require(struct vm *v, const char *module, struct err *e);
/* Register a C module so that vm_require/require of `module` finds it. */
void vm_preload(struct vm *v, const char *module, lua_CFunction open);
/* Compile and run one policy text (mode "t") in an environment of its own that offers the whitelist plus `portreeve.*` policy modules through
 * a restricted `require`; pushes the chunk's one result. chunkname: display path, "policies/bind.lua". */
bool vm_policy(struct vm *v, const char *text, size_t n, const char *display, struct err *e);
/* Give policies a source for `require "policies.NAME"` (other policy files of the same bundle): returns text or NULL. */
void vm_policy_source(struct vm *v, const char *(*fetch)(void *ctx, const char *name, size_t *n, const char **display), void *ctx);

size_t vm_memory(const struct vm *v); /* bytes in use */
#endif
