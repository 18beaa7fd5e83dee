/* Userdata behind `facts` (admission) and `req` (route, handlers): boxes that hooks fill for one call and empty afterwards, so that a value a
 * policy kept by mistake is inert instead of dangling. */
#ifndef PORTREEVE_SCRIPT_LIB_FACTS_H
#define PORTREEVE_SCRIPT_LIB_FACTS_H
#include "gate/facts.h"
#include "script/lib.h"

struct facts_box {
    const struct facts *facts;
    const struct tags *given; /* at this stage so far */
};
struct request_box {
    struct exchange *exchange;
    const struct lists *lists;
};
struct facts_box *facts_push_box(lua_State *L); /* new userdata on the stack; the metatable is made on first use */
struct request_box *request_push_box(lua_State *L);
/* lib_request.c: the header field whose name (any case) is the string at index, or NULL; raises where that is none. */
struct field;
struct request;
const struct field *request_field_named(lua_State *L, const struct request *r, int index);
/* An address as text; the local address of a connection, asked of the kernel. */
void address_push(lua_State *L, const struct addr *a);
void address_push_local(lua_State *L, int fd);
#endif
