/* What supervisor and engine say to each other over fdlink. Payloads are text, "key value\n" lines, unless said otherwise.
 * A generation is offered in three steps: GEN_BEGIN, any number of GEN_SOCKETS, GEN_END. The engine builds it beside the living one
 * and answers PREPARED or FAILED; only COMMIT makes it live; ABORT throws it away.
 * An engine that serves gets only the sockets that are new to it: with thousands of them, sending, receiving and closing them all again was most
 * of a reload. One that was just started gets all.
 * Sockets that share an address with living ones are bound but do not listen yet when they are offered; they do before COMMIT is sent. */
#ifndef PORTREEVE_PLAN_WIRE_H
#define PORTREEVE_PLAN_WIRE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
    /* supervisor → engine */
    WIRE_SETUP =
        1, /* "instance K\n" (0 or 1: slot of live counts), "state DIR\n", "beside 1\n" (another engine serves); fds: counters memfd, flight recorder's
            memfd, Lua library (plan/library.h) */
    WIRE_GEN_BEGIN,     /* "generation N\nsockets S\nworkers W\n"; fds: plan memfd, bundle memfd (both sealed); S = fds to come.
                            "force 1\n": guards are not asked. "base B\n" besides: the engine serves generation B, and sockets of B come by GEN_KEPT */
    WIRE_GEN_SOCKETS,   /* struct wire_socket[] (binary), as many as fds; fds: the listening sockets */
    WIRE_GEN_END,       /* "generation N\n" */
    WIRE_COMMIT,        /* "generation N\n": swap now */
    WIRE_ABORT,         /* "generation N\n" */
    WIRE_DRAIN,         /* "ms N\n": stop accepting (keep listening fds open), finish what runs, then exit 0. With "close 1\n" (a stop,
                            not a replacement): close the listening fds at once, so that callers are refused instead of left waiting */
    WIRE_RELOAD_RESULT, /* "id N\nok 0|1\n" then a blank line, then the text for people */
    WIRE_LAST_RELOAD, /* JSON object of the last reload: {"at_ms":…,"ok":…,"generation":…,"text":"…"}; sent after each and on start */
    WIRE_PROVE,    /* "generation N\n": no other engine and no retired socket takes callers any more: call every socket and see who answers;
                            below a blank line, one number a line: sockets to call again though they were proved */
    WIRE_GEN_KEPT, /* struct wire_kept[] (binary), between GEN_BEGIN and GEN_END: the engine has these sockets and keeps its descriptors */
    WIRE_REHEARSE, /* "generation N\n" ["force 1\n"]; fds: plan memfd, bundle memfd: whom would it shut out? Answered by REHEARSED */
    WIRE_TO_ENGINE_END, /* behind the last one: plan/format.c tells by these two that a message has come or gone */
    /* engine → supervisor */
    WIRE_HELLO = 100, /* "pid P\nversion V\nformat F\n": the supervisor ends an engine of another format (plan/format.h) */
    WIRE_PREPARED,    /* "generation N\n" */
    WIRE_FAILED,      /* "generation N\n", blank line, text for people */
    WIRE_COMMITTED,   /* "generation N\n": every worker accepts on the new sockets and no longer on the retired ones */
    WIRE_RELOAD,      /* "id N\n" ["force 1\n"]: the console or the hub asks for a reload; answered by WIRE_RELOAD_RESULT */
    WIRE_EDIT, /* "id N\ndry 0|1\nforce 0|1\nwho TEXT\n", blank line, then a line a change: "set FILE ENTRY VALUE" or "remove FILE ENTRY" (ENTRY
                            may be NAME.*); at most EDIT_MOST (super/edit.h); answered by WIRE_RELOAD_RESULT */
    WIRE_DRAINED, /* nothing runs any more; the engine exits */
    WIRE_QUIET,   /* a draining engine: its workers accept nobody any more */
    WIRE_PROOFS,  /* "generation N\n", blank line, then one line a socket (plan/proof.h): what the self-probe found; only what is new */
    WIRE_REHEARSED, /* "generation N\nrefused 0|1\n", blank line, text for people: why it would be refused, or lines of warnings, or nothing */
    WIRE_TO_SUPERVISOR_END
};

struct wire_socket {
    uint32_t index;  /* which plan_socket of the plan */
    uint32_t worker; /* which worker owns this fd; may repeat: a worker can own several sockets of one address */
    uint16_t port;   /* the port really bound (differs from the plan's where that is 0) */
    uint16_t pad;
};

struct wire_kept { /* the sockets index, index + 1, … of this plan are the sockets old, old + 1, … of the base's */
    uint32_t index, old, count;
};

/* Readers of a NUL-terminated text payload. Keys are looked for above the first blank line only. */
bool wire_number(const char *payload, const char *key, uint64_t *out);       /* strict decimal */
bool wire_text(const char *payload, const char *key, char *out, size_t cap); /* the rest of the line; false where absent or too long */
const char *wire_body(const char *payload);                                  /* what follows the blank line; "" where there is none */
#endif
