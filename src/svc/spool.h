/* The spool: events on their way to the ui, made durable by group commit (SQLite, WAL, synchronous=FULL, one writer thread).
 * A commit starts as soon as the last is done, never on a timer. One row holds one commit's events as a blob, so that the cost of SQLite
 * is paid per commit and not per event; an event's key stays (tracker id, epoch, gapless seq).
 *   batch(pos INTEGER PRIMARY KEY, epoch, first, count, total, bytes BLOB) · cursor(reader, pos, seen_ms) · epoch(epoch, started_ms, tracker)
 * An epoch is one life of one engine process; its number is the unix ms of its start or more, so it never comes again, not even in a fresh
 * file. pos grows in commit order even while two engines overlap (change of binary), and over a fresh file too. */
#ifndef PORTREEVE_SVC_SPOOL_H
#define PORTREEVE_SVC_SPOOL_H
#include "base/addr.h"
#include "base/buf.h"
#include "svc/token.h"

/* Bits of event.reasons: why an event is thought to come from a machine. They are told in the order of the bits (spool_read). */
enum event_reason {
    REASON_BURST = 1,   /* several links in a short time */
    REASON_EARLY = 2,   /* within seconds of sending */
    REASON_PURPOSE = 4, /* Purpose, Sec-Purpose */
    REASON_AGENT = 8,   /* a known machine */
    REASON_NO_AGENT = 16,
    REASON_TRAP = 32, /* after a trap link */
    REASON_HEAD = 64
};
enum event_type { EV_OPEN = 1, EV_CLICK, EV_UNSUBSCRIBE, EV_RESUBSCRIBE, EV_TRAP };
enum event_class { CLASS_UNKNOWN, CLASS_HUMAN, CLASS_PROXY, CLASS_PREFETCH, CLASS_SCANNER, CLASS_BOT };
enum event_tls { EV_TLS_NONE, EV_TLS_OWN, EV_TLS_EXTERNAL };
extern const char *const event_type_words[], *const event_class_words[]; /* in the order of the enums, NULL at the end; no type is "" */

struct event {                      /* plain; strings are borrowed during spool_push only */
    uint8_t type, cls, tls, method; /* method: enum method of exchange.h */
    uint32_t reasons;               /* bit mask of event_reason */
    int64_t ms;                     /* unix ms */
    struct token token;             /* level already lowered to what is in force */
    struct addr address;            /* cut as the level says by spool_push: whole only at LEVEL_NETWORK */
    const char *agent;              /* kept at LEVEL_NETWORK only */
    uint32_t agent_n;
    const char *listener; /* socket name, ≤ 63 bytes */
};

struct spool;
struct spool_config {
    const char *dir;        /* STATE/spool: spool.db lives here; made 0700 */
    const char *tracker_id; /* 1–63 of [a-z0-9-] */
    int64_t max_bytes;      /* pages in use; beyond it events are refused until readers acknowledge */
    unsigned producers;     /* worker threads: producer i may call spool_push(…, i, …) without locking others out for long */
    /* Called by the spool thread after each commit (or failure) for every producer that had events in it:
     * everything of that producer up to and including its ticket `upto` is durable (ok) or refused (!ok: disk full, I/O error). */
    void (*done)(void *ctx, unsigned producer, uint64_t upto, bool ok);
    void *ctx;
};
/* Opens (or quarantines a damaged file beside a fresh one, loudly), begins a new epoch, starts the thread. */
struct spool *spool_start(const struct spool_config *cfg, struct err *e);
void spool_stop(struct spool *s); /* commits what is queued, joins, closes; NULL is legal */

/* Queue one event. Copies it. Returns this producer's ticket (1, 2, 3 …), or 0 where the queue is full or the spool is failing:
 * the event is then dropped and counted. At LEVEL_OFF only unsubscribe and resubscribe are taken (they are orders and always name their
 * recipient); anything else at that level is 0 and is not counted. Never blocks beyond a short mutex. */
uint64_t spool_push(struct spool *s, unsigned producer, const struct event *ev);
/* What was pushed is to be committed: called once after a turn of pushing, so that a turn's events share a commit. */
void spool_wake(struct spool *s);

struct spool_stats {
    uint64_t queued;             /* waiting for a commit */
    uint64_t committed, dropped; /* events of this life */
    uint64_t commits, failures;
    uint64_t epoch, last_seq;
    int64_t bytes;   /* of the file's pages in use */
    int64_t backlog; /* events in the file that not every reader has acknowledged */
    int64_t last_commit_us;
    bool failing; /* commits fail, or the file is at max_bytes: spool_push returns 0 until that passes */
};
void spool_stats(struct spool *s, struct spool_stats *out);

const char *spool_tracker(const struct spool *s);
uint64_t spool_last_pos(struct spool *s); /* newest position known to be committed */

/* Reading, from any thread, each with its own handle (own SQLite connection). */
struct spool_reader;
struct spool_reader *spool_reader_open(const char *dir, struct err *e);
void spool_reader_close(struct spool_reader *r);
/* Append events after batch position `after` as NDJSON lines to out, whole batches, until about max_bytes; *last = position of the last
 * batch written (== after where there was none). Line fields: tracker epoch seq type ms campaign recipient|pseudonym link level class
 * reasons[] since address agent listener tls method (components.md "Event"). */
bool spool_read(struct spool_reader *r, uint64_t after, size_t max_bytes, struct buf *out, uint64_t *last, struct err *e);
/* Wait until something beyond `after` is committed by this process's spool, at most ms. */
bool spool_wait(struct spool *s, uint64_t after, unsigned ms);
/* Who waits in spool_wait now returns: a change of generation has ended the fetcher here, and nobody reads the answer to its long poll, which
 * would hold a thread and a connection for half a minute. Other readers ask again. */
void spool_turn(struct spool *s);
/* From now on spool_wait returns at once: the engine drains and long polls must end. */
void spool_hurry(struct spool *s);
/* Reader `name` has durably stored everything up to pos: delete what all known readers acknowledged. Idempotent; runs on the spool thread,
 * returns when committed. pos beyond the end is an error. A reader is known from its first ack on (pos 0 will do) and holds back deletion
 * until it has not been heard of for 30 days. 1–64 of [A-Za-z0-9._-], at most 16 readers. */
bool spool_ack(struct spool *s, const char *reader, uint64_t pos, struct err *e);
#endif
