/* The supervisor: what its parts share. One thread, one poll loop (super.c); every part has its own file:
 *   reload.c      one change of generation at a time: planner, sockets, offer, commit; reload_end.c how it ends
 *   edit.c        changes of entries that hub and console ask for, edit_file.c the writing of them
 *   reserve.c     the planner that waits for the next reload
 *   replace.c     SIGUSR2: another program of engines, and what became of it
 *   engines.c     the life of engine processes: start, answers, death, restart, replacement, drain
 *   control.c     the control socket
 *   follow.c      the addresses of this machine as they come and go
 *   shutdown.c    the shutdown port
 *   prove.c       the self-probe: when an engine does it, and what it said
 *   remember.c    the flight recorder's memory
 *   lend.c        what commands may look at
 *   status.c      what is said about all this
 * Times are CLOCK_MONOTONIC ms unless they end in at_ms/since_ms (real time, for people). */
#ifndef PORTREEVE_SUPER_SUPER_H
#define PORTREEVE_SUPER_SUPER_H
#include "base/fdlink.h"
#include "base/log.h"
#include "gate/counters.h"
#include "gate/recorder.h"
#include "super/edit.h"
#include "super/held.h"
#include "super/holder.h"
#include "super/notify.h"
#include "super/options.h"
#include "super/planner.h"
#include "super/program.h"
#include "super/settle.h"
#include <poll.h>

#ifndef PORTREEVE_VERSION
#define PORTREEVE_VERSION "0.1.0"
#endif

#define CONTROL_CLIENTS  64
#define WAITERS          (CONTROL_CLIENTS + 64)
#define SHUTDOWN_CALLERS 8
#define NEVER            INT64_MAX

enum engine_phase {
    ENGINE_NONE,       /* no process */
    ENGINE_STARTING,   /* started, HELLO awaited */
    ENGINE_PREPARING,  /* offered a generation, PREPARED or FAILED awaited */
    ENGINE_COMMITTING, /* COMMIT sent, COMMITTED awaited */
    ENGINE_LIVE,
    ENGINE_DRAINING, /* told to finish */
    ENGINE_DYING     /* killed, not reaped yet */
};

struct engine {
    enum engine_phase phase;
    unsigned instance;
    pid_t pid;
    int link;                 /* -1 = closed */
    bool serving;             /* has committed a generation */
    bool reaped;              /* the pid is no longer ours to signal */
    struct generation *offer; /* what it was offered last: s->gen, s->reload.next or, when that has gone, NULL; never owned */
    uint64_t serves;          /* number of the generation it committed last; 0 = none */
    int64_t deadline;         /* of the phase; NEVER = none */
    int64_t live_since;
    bool fresh; /* was started from s->fresh */
    bool quiet; /* drains, and takes no callers any more */
    char version[32];
};

struct waiter {  /* somebody who is told how a reload went */
    bool engine; /* the engine's console (pid, id), else a control client (id) */
    pid_t pid;
    uint64_t id;
};

enum reload_phase { RELOAD_IDLE, RELOAD_PLANNING, RELOAD_OFFERING, RELOAD_OFFERED, RELOAD_SETTLING };

struct reload {
    enum reload_phase phase;
    bool force, forced;  /* asked for so; the one under way */
    bool initial, again; /* again: asked for while one ran; one more serves all who asked */
    bool follow;         /* this one puts in force what the machine's addresses change, see follow.c */
    bool refused;        /* the planner has said no, and will again */
    unsigned gone_again; /* an address was there for the planner and not for us: so often in this reload */
    struct planner planner;
    bool from_reserve;       /* it had been waiting */
    struct generation *next; /* being offered */
    struct buf text;         /* warnings so far */
    int64_t deadline;        /* of RELOAD_OFFERING */
    struct settle settle;    /* RELOAD_SETTLING: it is done, but for callers on their way to a socket that goes */
    struct buf result;       /* of RELOAD_SETTLING: what will be said */
    struct waiter now[WAITERS], later[WAITERS];
    unsigned nnow, nlater;
    struct edit *edit;              /* what this one is for; NULL = files that people have changed */
    struct edit *edits[EDIT_QUEUE]; /* waiting */
    unsigned nedits;
    struct { /* the last one that ended */
        bool any, ok;
        int64_t at_ms;
        uint64_t generation;
        struct buf text;
    } last;
};

struct ifwatch;
struct follow {
    struct ifwatch *watch; /* NULL: addresses are not watched */
    int64_t first, due;    /* of a burst of changes: when it began, when to plan (NEVER = nothing waits) */
    bool wanted;           /* plan as soon as nothing else goes on */
    bool retry;            /* what is due is only another try */
    unsigned tries;
    struct buf fresh, taken; /* what changed, a line each: since the planner was last started, and what it was started for */
    bool more;               /* … and more than fitted */
    struct buf refused;      /* why the last plan was refused: said once */
    struct buf warned;       /* warnings of the living generation: the next one says what is new */
};

struct control_client {
    int fd; /* -1 = free */
    uint64_t id;
    bool stranger; /* its request is read and refused: hanging up first would lose the answer */
    enum { CLIENT_READING, CLIENT_WAITING, CLIENT_WRITING, CLIENT_HELD } phase; /* held: kept open until we are gone (stop) */
    char in[256];
    size_t nin, sent;
    struct buf out;
    int64_t deadline;
};

struct shutdown_caller {
    int fd; /* -1 = free */
    struct addr from;
    int64_t deadline;
    char in[11]; /* the command with CRLF, and one byte too many */
    size_t n;
};

struct super {
    struct options opt;
    char engine_path[4096], self_path[4096];
    struct program program;  /* of engines and planners, as it was taken up: at the start, or when the one that SIGUSR2 brought took over */
    struct program self;     /* ours */
    struct program fresh;    /* the file on disk since SIGUSR2, until its engine has taken over or failed */
    char not_replaced[2048]; /* why the last SIGUSR2 came to nothing; "" = it did not */
    struct account user;     /* name "" = nobody was named */
    bool dropped;            /* capabilities are gone */
    bool unclean;            /* the run before ended without tidying: its engine may need a moment to leave */
    int pid_fd, signal_fd, control_fd, counters_fd;
    struct counters *counters;
    int recorder_fd, recorder_look, counters_look; /* for engines; for those who may only read */
    struct recorder *recorder;
    struct adopted adopted;
    struct notify notify;
    int64_t since_ms;
    uint64_t attempts; /* generations numbered so far */

    struct held_retired retired;
    struct generation *gen; /* the living one; NULL before the first commit */
    struct reload reload;
    struct planner reserve; /* for the next reload, where planning takes long */
    uint64_t reserve_for;   /* the generation after which it was started */
    struct follow follow;
    struct engine engine[2];
    int live;      /* index of the serving engine, -1 = none */
    int replacing; /* index of the engine that is to take over (SIGUSR2), -1 = none */
    bool replace_wanted;
    int64_t restart_at; /* NEVER = no restart is due */
    int64_t backoff_ms;
    uint64_t restarts;

    struct control_client client[CONTROL_CLIENTS];
    uint64_t client_ids;

    int shutdown_fd[PLAN_SHUTDOWNS]; /* the living generation's */
    unsigned nshutdown;
    struct shutdown_caller caller[SHUTDOWN_CALLERS];

    bool stopping, done;
    int exit_code;
    struct fdlink_msg msg; /* one message is read at a time */
};

/* super.c */
enum log_level super_log_level(void);                            /* PORTREEVE_DEBUG=1: each step of a change of sockets is logged */
int super_run(const struct options *o, const char *engine_path); /* returns the exit status */
void super_stop(struct super *s, const char *who);               /* first call: drain; second: at once */

/* reload.c */
void reload_ask(struct super *s, const struct waiter *w, bool force, const char *who); /* w may be NULL */
void reload_edit(struct super *s, struct edit *d);                                     /* takes d */
void reload_start_first(struct super *s);
void reload_planner_ended(struct super *s, int status);
void reload_continue(struct super *s); /* every turn of the loop: offer what is ready, begin what waits */
bool reload_may_commit(const struct super *s, const struct generation *g, struct err *e); /* last look before COMMIT */
void reload_done(struct super *s);                                                        /* the offered generation is live */
void reload_failed(struct super *s, const char *why);                                     /* reload_end.c */
void reload_log(enum log_level lvl, const char *text);                                    /* reload_say.c */
void reload_print_plan(const struct super *s);
int64_t reload_deadline(const struct super *s);
void reload_tick(struct super *s, int64_t now);
void reload_cancel(struct super *s); /* we are stopping */

/* follow.c */
enum follow_end { FOLLOW_DONE, FOLLOW_REFUSED, FOLLOW_MAY_PASS }; /* may pass: not for what the plan is, but for how things stand */
void follow_open(struct super *s);
void follow_close(struct super *s);
int follow_fd(const struct super *s); /* -1 = none */
void follow_readable(struct super *s);
void follow_tick(struct super *s, int64_t now);
void follow_began(struct super *s);                             /* reload.c: a planner is started */
void follow_news(const struct super *s, char *out, size_t cap); /* what this one was started for */
bool follow_refused_before(struct super *s, const char *why);   /* an unchanged refusal is not said again */
bool follow_result(struct super *s, struct buf *text);          /* every reload that succeeds: its warnings, and for ours what changed */
void follow_ended(struct super *s, enum follow_end end);        /* every reload, ours or not */

/* remember.c */
bool remember_open(struct super *s, struct err *e);                    /* the flight recorder's memory */
void remember_generation(struct super *s, const struct generation *g); /* as many decisions as its settings say */

/* lend.c: "ok" and descriptors, to a control client */
void lend_decisions(const struct super *s, int fd); /* the flight recorder's memory */
void lend_rules(const struct super *s, int fd);     /* the bundle in force, and the counters; there is a generation */

/* rehearse.c: an edit that only wants to know. Everything is tried but the commit; the engine that serves is asked whom it would shut out. */
void rehearse_ask(struct super *s);                          /* RELOAD_OFFERING: s->reload.next is bound, and goes again */
void rehearse_heard(struct super *s, struct engine *engine); /* WIRE_REHEARSED is in s->msg */

/* engines.c */
bool engine_start(struct super *s, unsigned slot, struct generation *offer, struct err *e);
bool engine_offer(struct super *s, struct engine *en, struct generation *g); /* false: it is being ended */
void engines_kill(struct super *s);
void engine_readable(struct super *s, struct engine *en);
void engine_gone(struct super *s, struct engine *en, int status);
void engines_tick(struct super *s, int64_t now);
void engines_drain(struct super *s); /* we are stopping */
bool engines_none(const struct super *s);
void engine_tell_last(struct super *s, struct engine *en);
bool engine_send(struct engine *en, uint32_t type, const char *text, size_t n); /* false: it has no link (any more) */
void engine_answer(struct super *s, const struct waiter *w, bool ok, const char *text);

/* replace.c */
void replace_ask(struct super *s); /* SIGUSR2, or when one that had to wait may begin */
bool replace_may_speak(const struct engine *en, const char *hello, char *why, size_t cap); /* HELLO: is it of our format? */
void replace_over(struct super *s, struct engine *en);     /* an engine of s->fresh has committed: its program is kept */
void replace_failed(struct super *s, const char *why);     /* s->fresh is of no use: the one we have is kept */
bool replace_text(const struct super *s, struct buf *out); /* for status: what differs on disk, why it was refused */
bool replace_json(const struct super *s, struct buf *out);

/* prove.c */
void prove_ask(struct super *s);                              /* tell the serving engine to prove its sockets, if it alone takes callers */
void prove_moved(struct super *s, const struct buf *sockets); /* their addresses have come or gone: "INDEX\n" each */
void prove_heard(struct super *s, const struct engine *en);   /* WIRE_PROOFS is in s->msg */
void prove_inherit(struct generation *g, const struct generation *old); /* what is known of sockets that stay */
void prove_forget(struct super *s);                                     /* the engine that proved them has gone */

#define RESERVE_FROM 256 /* sockets from which a planner is kept in reserve: below that planning takes hardly longer than starting it */
/* reserve.c */
bool reserve_call(struct super *s); /* it becomes the planner of this reload; false: there is none, or it has gone */
void reserve_keep(struct super *s); /* one that does not stay is not started again and again, but once after every generation */
void reserve_ended(struct super *s, int status);

/* control.c */
bool control_open(struct super *s, struct err *e);
void control_close(struct super *s);
unsigned control_polls(struct super *s, struct pollfd *p, unsigned room);
void control_ready(struct super *s, const struct pollfd *p);
void control_tick(struct super *s, int64_t now);
int64_t control_deadline(const struct super *s);
void control_answer(struct super *s, uint64_t id, bool ok, const char *text);

/* shutdown.c */
void shutdown_init(struct super *s);
void shutdown_generation(struct super *s); /* a generation has come to life */
unsigned shutdown_polls(struct super *s, struct pollfd *p, unsigned room);
bool shutdown_ready(struct super *s, const struct pollfd *p); /* false: not one of its descriptors */
void shutdown_tick(struct super *s, int64_t now);
int64_t shutdown_deadline(const struct super *s);
void shutdown_close(struct super *s);

/* status.c */
bool status_text(const struct super *s, struct buf *out);
bool status_json(const struct super *s, struct buf *out);
bool status_plan(const struct super *s, struct buf *out); /* the running plan as plan/running.h writes it; s->gen must be there */
bool status_last_reload(const struct super *s, size_t most_text, struct buf *out); /* the WIRE_LAST_RELOAD object */
#endif
