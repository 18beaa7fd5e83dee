/* A connection and, while one is under way, its request. An idle kept connection is `struct conn` alone (and its SSL): input, output and
 * parser state live in a request_state that goes back to the worker's pool between requests.
 *
 *   PREFACE → (judged: PARKED) → HANDSHAKE → TALK (speech.h), which in HTTP is
 *   HEAD → (judged: PARKED) ⇄ BODY → (APP | COMMIT) → WRITE → HEAD …            any → LINGER → closed
 *
 * There is one conn_close; it logs once, gives the ticket back once, and only marks: the memory goes at the end of the loop's turn. */
#ifndef PORTREEVE_ENGINE_CONN_H
#define PORTREEVE_ENGINE_CONN_H
#include "engine/speech.h"
#include "engine/worker.h"
#include "gate/facts.h"
#include "net/stream.h"
#include "net/tls.h"
#include "proto/h1.h"

enum conn_state {
    CONN_PREFACE,
    CONN_PARKED,
    CONN_HANDSHAKE,
    CONN_TALK,
    CONN_HEAD,
    CONN_BODY,
    CONN_APP,
    CONN_COMMIT,
    CONN_WRITE,
    CONN_LINGER,
    CONN_DEAD
};

struct request_state {
    struct request_state *next; /* in the pool */
    char *in;                   /* raw input; head slices point into it */
    uint32_t in_n, in_cap, pos; /* filled, size, start of what is not parsed yet */
    struct h1_scan scan;
    struct h1_body body_state;
    struct exchange x;
    struct peer peer;
    struct buf body, rest; /* decoded body; raw bytes of the next requests that came with the body's end */
    struct buf out;
    uint32_t out_sent, out_hold; /* sent; where the answer that waits for a commit begins */
    bool close_after, must_commit;
    bool abandoned; /* the input is no longer understood: linger, do not read on */
    bool body_next; /* after this write the body is read */
    int status;
    uint32_t service;
    uint64_t ticket; /* of the spool, while in CONN_COMMIT */
    struct conn *commit_next;
    struct job *job; /* while in CONN_APP */
    int64_t began_ms;
    struct field field[REQUEST_FIELDS];
};

enum { CONN_READABLE = 1, CONN_WRITABLE = 2 };

/* What only some connections have: made when a policy says more than yes or no, or asks about TLS. */
struct guest {
    struct tags tags;
    struct room *room; /* giveway.c: the letter under way for it */
    uint8_t rooms;     /* letters so far */
    uint32_t only;     /* services open to it, of its socket's */
    uint16_t status;   /* not 0: it is to be answered with this and text, and closed (G15) */
    char text[VERDICT_TEXT];
    uint32_t thrown; /* bytes thrown away of one that is seen off */
    bool has_hello, has_identity;
    struct tls_hello hello;
    struct tls_identity identity;
};

/* How it came, where a device in front has named the caller with a PROXY header. One block of memory, texts and all. */
struct via {
    struct addr device, to;        /* to: whom the caller called, as the device says; family 0 = not said */
    bool local;                    /* it speaks for itself (LOCAL) */
    bool ssl, tls, cert, verified; /* ssl: the device says of TLS what follows: spoken, certificate shown, found good */
    const char *sni, *alpn, *id, *version, *cipher, *cn; /* NUL-terminated, without control characters; "" = not said */
};

struct conn {
    int fd;
    uint8_t state;
    uint8_t parked;        /* enum stage it goes on behind, while in CONN_PARKED */
    uint8_t ready, want;   /* CONN_READABLE, CONN_WRITABLE: latched by the poll set; what the state machine waits for */
    bool polled, poll_out; /* in the poll set; for writability too */
    bool ended;            /* the peer has said that it will send no more */
    bool leaving;          /* its handshake has ended with an alert that it is to hear; in CONN_HANDSHAKE */
    bool speaking;         /* c->speech has been started */
    bool retired;          /* its listener is no longer in the plan: answer with close */
    struct conn *prev, *next;
    struct worker *w;
    struct generation *gen;
    struct gen_listener *listener;
    const struct stream_ops *ops;
    void *stream;
    struct wheel_node timer;
    const struct speech *speech;
    struct request_state *rq; /* HTTP's; NULL while idle */
    void *talk;               /* other speeches' */
    struct guest *guest;      /* NULL as a rule */
    struct via *via;          /* NULL where no PROXY header is expected, and until it has come */
    struct ticket ticket;
    struct addr remote, local; /* local.family 0 until somebody asks */
    int64_t since_ms;
    uint32_t requests;
};

/* accept.c: a new connection, judged by its address. Takes the fd; NULL = refused or no memory (closed). */
struct conn *conn_open(struct acceptor *a, int fd, const struct sockaddr *sa);
void conn_start(struct conn *c); /* try to read at once; else wait */

/* conn_admit.c: the one place that takes tickets, judges, counts, records and closes. */
enum judged {
    JUDGED_IN,  /* go on */
    JUDGED_OUT, /* it is closed, or on its way out with an answer */
    JUDGED_WAIT /* parked: conn_unpark goes on */
};
enum judged conn_judge(struct conn *c, enum stage s);
/* Behind the peer stage: TLS where planned, else what it speaks. Where a PROXY header comes first: c->remote is set, then conn_judge(c, STAGE_PEER),
 * and where that says JUDGED_IN, this. */
void conn_enter(struct conn *c);
void conn_speak(struct conn *c);  /* TLS is done, or there is none */
void conn_unpark(struct conn *c); /* its delay is over */
/* For its PROXY header or its certificate (LIMIT_CLIENT), which no rule judges: counted, recorded, closed without a byte. list: "" or the line that decided. */
void conn_turn_away(struct conn *c, enum plan_limit entry, const char *list, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool conn_judge_device(struct conn *c);                         /* may its PROXY header be believed? false: it is closed */
struct guest *conn_guest(struct conn *c);                       /* made where there is none; NULL = out of memory */
void conn_facts(struct conn *c, enum stage s, struct facts *f); /* what is known now; borrowed from the connection */
void conn_close(struct conn *c, const char *why);
void conn_event(struct conn *c, uint32_t events); /* from the worker's poll set */
void conn_reap(struct worker *w);                 /* end of turn: free what was closed */
/* Give back an eighth of the request states that were spare all the time since the last call (or all of them). */
void conn_trim(struct worker *w, bool all);
void conn_timeout(struct wheel_node *n, void *ctx);
void conn_resume(struct conn *c); /* the answer stands in rq->out: send it */
void conn_committed(struct conn *c, bool ok);
void conn_renew(struct conn *c, struct generation *g); /* g is in force now: move to it, or do what the speech does instead */
void conn_move(struct conn *c, struct generation *g);  /* idle: change to generation g */
void conn_deadline(struct conn *c, int64_t ms);        /* from this turn of the loop */
void conn_drain(struct conn *c);                       /* the engine ends: idle ones get half a second, ones nobody waits for go now */
uint8_t conn_secure(const struct conn *c);             /* as struct peer has it */
bool conn_idle(const struct conn *c);
const struct addr *conn_local(struct conn *c);
const char *conn_state_name(const struct conn *c);

/* respond.c: a whole request stands in rq; decide, and either fill rq->out (true) or wait for an app thread or the spool (false). */
bool respond(struct conn *c);
/* The answer of an app thread into rq->out. The job stays the caller's. */
void respond_job(struct conn *c, struct job *j);
/* A plain error page into rq->out; closes afterwards when `close`. */
void respond_error(struct conn *c, int status, bool close);
/* The page of a request that a policy refuses, into rq->out; the connection ends with it. */
void respond_refused(struct conn *c, int status, const char *text);
void respond_log(struct conn *c); /* count and access line, once per exchange */
#endif
