/* Reading one table of bind.lua's plan field by field, for marshal_plan.c. */
#ifndef PORTREEVE_SCRIPT_MARSHAL_I_H
#define PORTREEVE_SCRIPT_MARSHAL_I_H
#include "plan/plan.h"
#include <inttypes.h>
#include <lua5.4/lua.h>

struct reader {
    lua_State *L;
    struct plan_socket *s;
    struct texts *texts;
    char *rec;         /* what is being read: *s, a backend, or the because of either */
    const char *what;  /* "socket", "backend" */
    uint32_t number;   /* of it, from 1 */
    bool several;      /* it has `addresses` */
    char no_zone[256]; /* the address names an interface that does not exist: why it cannot be bound */
    struct err *e;
};

#define refuse(r, field, fmt, ...) \
    err_set((r)->e, "%s %" PRIu32 " of the plan: field '%s' " fmt, (r)->what, (r)->number, field, __VA_ARGS__)

/* The table on top, which is a socket (into r->s) or a backend: unknown keys are refused, needed ones demanded. */
bool marshal_socket(struct reader *r);
bool marshal_backend(struct reader *r);
/* The value on top into r->s, as the value of this field. */
bool marshal_address(struct reader *r, const char *name);
/* The string on top, without NULs inside; NULL where it is none. */
const char *marshal_text(lua_State *L, size_t *n);
#endif
