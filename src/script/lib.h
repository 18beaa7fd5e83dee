/* Every C module offered to Lua, one lib_*.c each; registered with vm_preload by vm_open_libs. */
#ifndef PORTREEVE_SCRIPT_LIB_H
#define PORTREEVE_SCRIPT_LIB_H
#include "proto/exchange.h"
#include "script/vm.h"
#include "svc/token.h"

int lib_ini(lua_State *L);      /* portreeve.ini_c:   parse(text, display) -> entries | nil, err */
int lib_addr(lua_State *L);     /* portreeve.addr:    parse, hostport, same, is_any, is_loopback, … */
int lib_list(lua_State *L);     /* portreeve.list:    load(name, fetch) -> set; set:find(address) -> in, file, line */
int lib_token(lua_State *L);    /* portreeve.token:   open, seal */
int lib_request(lua_State *L);  /* portreeve.request: the metatable of `req` */
int lib_response(lua_State *L); /* portreeve.response: fixed{…} */
int lib_sys(
    lua_State *L); /* portreeve.sys:     trusted only: random, hash_password, verify_password, sha256, hmac, now_ms, mono_ms, log, sleep */
int lib_http(lua_State *L);   /* portreeve.http:    trusted only: call{…} */
int lib_net(lua_State *L);    /* portreeve.net:     trusted only: reachable(host, port, ms) */
int lib_spool(lua_State *L);  /* portreeve.spool:   trusted only: read, wait, ack, stats */
int lib_engine(lua_State *L); /* portreeve.engine:  trusted only: status, reload, … of the running engine */

/* luaL_testudata with a metatable that stands in the registry under the address `key`: a name would be looked up as a string each time. */
void *lib_udata(lua_State *L, int index, const void *key);

void vm_open_libs(struct vm *v, enum vm_kind kind);

/* lib_request.c: the exchange behind a `req` argument; raises a Lua error where the exchange has ended. The request's box is the owner of a
 * sandbox vm (vm_set_owner). */
struct exchange;
struct exchange *request_check(lua_State *L, int index);
#endif
