#include "script/marshal_plan.h"
#include "script/marshal_i.h"
#include <stdlib.h>
#include <string.h>

#define MOST_MESSAGES 1000

/* Room for one more. */
static struct plan_socket *next_socket(struct plan *p, struct err *e) {
    if (p->nsockets == PLAN_MAX_SOCKETS) return (void)err_set(e, "the plan has more than %u sockets", PLAN_MAX_SOCKETS), NULL;
    if ((p->nsockets & (p->nsockets - 1)) == 0) { /* 0 or a power of two: full */
        struct plan_socket *more = reallocarray(p->socket, p->nsockets ? (size_t)p->nsockets * 2 : 1, sizeof *more);
        if (!more) return (void)err_set(e, "out of memory for %u sockets", (unsigned)p->nsockets * 2), NULL;
        p->socket = more;
    }
    return &p->socket[p->nsockets];
}

/* Is the address that has just been read one that can be bound? */
static bool placed(struct reader *r) {
    return !r->no_zone[0] || r->s->waiting || refuse(r, "address", "cannot be bound: %s", r->no_zone);
}

static bool add_socket(struct reader *r, struct plan *p) {
    struct plan_socket *to = placed(r) ? next_socket(p, r->e) : NULL;
    if (!to) return false;
    *to = *r->s;
    p->nsockets++;
    return true;
}

/* One for each of the entry's addresses. */
static bool add_sockets(struct reader *r, struct plan *p) {
    const struct plan_socket *like = r->s;
    lua_pushliteral(r->L, "addresses");
    lua_rawget(r->L, -2);
    lua_Unsigned n = lua_rawlen(r->L, -1);
    bool good = true;
    for (lua_Unsigned i = 1; good && i <= n; i++) {
        if (!(r->s = next_socket(p, r->e))) return false;
        *r->s = *like;
        r->no_zone[0] = '\0';
        lua_rawgeti(r->L, -1, (lua_Integer)i);
        good = marshal_address(r, "addresses") && placed(r);
        lua_pop(r->L, 1);
        p->nsockets += good;
    }
    lua_pop(r->L, 1);
    return good;
}

/* The entry of the list on top, the i-th of the plan. */
static bool read_socket(lua_State *L, uint32_t i, struct plan *p, struct err *e) {
    struct plan_socket s = PLAN_SOCKET_BLANK;
    struct reader r = {.L = L, .s = &s, .texts = &p->texts, .rec = (char *)&s, .what = "socket", .number = i, .e = e};
    s.backlog = 511;
    if (!lua_istable(L, -1)) return err_set(e, "socket %u of the plan is a %s, not a table", (unsigned)i, lua_typename(L, lua_type(L, -1)));
    if (!marshal_socket(&r)) return false;
    if (r.several && s.at.family) return refuse(&r, "addresses", "stands instead of address, not beside it%s", "");
    if (!r.several && !s.at.family) return refuse(&r, "address", "is missing%s", "");
    return r.several ? add_sockets(&r, p) : add_socket(&r, p);
}

static bool read_sockets(lua_State *L, struct plan *p, struct err *e) {
    lua_Unsigned n = lua_rawlen(L, -1);
    bool good = n <= PLAN_MAX_SOCKETS || err_set(e, "the plan has more than %u sockets", PLAN_MAX_SOCKETS);
    for (lua_Unsigned i = 1; good && i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        good = read_socket(L, (uint32_t)i, p, e);
        lua_pop(L, 1);
    }
    return good;
}

static bool read_backend(lua_State *L, uint32_t i, struct texts *texts, struct plan_backend *out, struct err *e) {
    out->because = (struct plan_because)PLAN_BECAUSE_BLANK;
    struct reader r = {.L = L, .texts = texts, .rec = (char *)out, .what = "backend", .number = i, .e = e};
    if (!lua_istable(L, -1))
        return err_set(e, "backend %u of the plan is a %s, not a table", (unsigned)i, lua_typename(L, lua_type(L, -1)));
    return marshal_backend(&r);
}

static bool read_backends(lua_State *L, struct plan *p, struct err *e) {
    lua_Unsigned n = lua_rawlen(L, -1);
    if (n > PLAN_MAX_BACKENDS) return err_set(e, "the plan has more than %u backends", PLAN_MAX_BACKENDS);
    free(p->backend);
    p->nbackends = 0;
    p->backend = calloc(n ? n : 1, sizeof *p->backend);
    bool good = p->backend || err_set(e, "out of memory");
    for (lua_Unsigned i = 1; good && i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        good = read_backend(L, (uint32_t)i, &p->texts, &p->backend[p->nbackends++], e);
        lua_pop(L, 1);
    }
    return good;
}

static bool read_messages(lua_State *L, const char *name, bool error, marshal_say *say, void *ctx, struct err *e) {
    lua_Unsigned n = lua_rawlen(L, -1);
    if (n > MOST_MESSAGES) return err_set(e, "the plan has more than %d %s", MOST_MESSAGES, name);
    for (lua_Unsigned i = 1; i <= n; i++) {
        size_t len;
        lua_rawgeti(L, -1, (lua_Integer)i);
        const char *s = marshal_text(L, &len);
        if (s) say(ctx, error, s);
        lua_pop(L, 1);
        if (!s) return err_set(e, "%s of the plan must be texts", name);
    }
    return true;
}

bool marshal_plan(lua_State *L, int index, struct plan *p, marshal_say *say, void *ctx, struct err *e) {
    bool sockets = false, good = true;
    index = lua_absindex(L, index);
    if (!lua_istable(L, index)) return err_set(e, "bind() must return a plan, it returned a %s", lua_typename(L, lua_type(L, index)));
    lua_pushnil(L);
    while (good && lua_next(L, index)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(not a name)";
        if (!lua_istable(L, -1)) good = err_set(e, "'%s' of the plan must be a list, it is a %s", key, lua_typename(L, lua_type(L, -1)));
        else if (strcmp(key, "sockets") == 0) good = sockets = read_sockets(L, p, e);
        else if (strcmp(key, "backends") == 0) good = read_backends(L, p, e);
        else if (strcmp(key, "warnings") == 0 || strcmp(key, "errors") == 0) good = read_messages(L, key, key[0] == 'e', say, ctx, e);
        else good = err_set(e, "a plan has sockets, backends, warnings and errors; '%s' is unknown", key);
        lua_pop(L, 1);
    }
    lua_settop(L, index);
    return good && (sockets || err_set(e, "the plan has no list 'sockets'"));
}
