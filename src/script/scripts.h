/* Protocols written in Lua: policies/NAME.lua, named by a listener (NAME.Script), answers lines. It returns a function, or a table of two:
 *
 *   return function(facts, line, state, server) → answer, state          or  return { open = function(facts, server) … end, line = … }
 *
 * facts: of the caller, as in admission.lua. line: without its end. state: nil at first, else what the call before returned. answer: bytes to be sent,
 * or nil. state: a text for the next line; nil ends the connection when the answer has been sent. server(): what the server does, as a table.
 * open is called before the first line, for protocols in which the server speaks first. */
#ifndef PORTREEVE_SCRIPT_SCRIPTS_H
#define PORTREEVE_SCRIPT_SCRIPTS_H
#include "base/buf.h"
#include "gate/facts.h"
#include "script/vm.h"

#define SCRIPTS_MOST  64u
#define SCRIPT_LINE   1024u
#define SCRIPT_STATE  1024u
#define SCRIPT_ANSWER 65536u

struct script_listener {
    const char *name, *scheme;
    char address[ADDR_TEXT], services[128];
    uint16_t port;
    uint32_t active;
    bool waiting; /* for its address */
};
struct script_server { /* what server() tells */
    const char *version;
    uint64_t generation;
    int64_t since_ms, now_ms; /* unix */
    uint32_t listeners;
    void (*listener)(void *ctx, uint32_t i, struct script_listener *out);
    void *ctx;
};
struct script_call {
    const char *script; /* its name */
    const struct facts *facts;
    const char *line; /* NULL: open */
    size_t n;
    const struct script_server *server;
    struct buf *state; /* in: what the call before returned, empty at first; out: what this one did */
    bool has_state;
    struct buf *answer; /* out */
    bool keep;          /* out: a further line is waited for */
};
struct hooks;
/* false: the script failed, e says where; the connection is to be closed. */
bool hooks_script(struct hooks *h, struct script_call *c, struct err *e);
bool hooks_script_opens(const struct hooks *h, const char *script); /* does it speak first */
/* Is the value on top of the stack a script? Else false with e, which names the file. The planner asks too. */
bool script_check(struct vm *v, const char *display, struct err *e);
#endif
