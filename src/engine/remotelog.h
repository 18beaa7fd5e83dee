/* Messages of other machines, from the workers into files: STATE/log/remote/LISTENER.log, rotated, and the last ones in memory for the console.
 * A worker only copies bytes; parsing, writing and waiting for the disk belong to one thread. What does not fit into the queue between them (a disk
 * that is slower than the network, a flood) is dropped and counted, and so is what a full disk does not take: neither holds up anything else. */
#ifndef PORTREEVE_ENGINE_REMOTELOG_H
#define PORTREEVE_ENGINE_REMOTELOG_H
#include "base/addr.h"
#include "base/buf.h"

struct engine;
struct remotelog;
enum log_way { LOG_WAY_UDP, LOG_WAY_TCP, LOG_WAY_TLS };
struct log_note { /* where a message comes from */
    int64_t ms;   /* unix */
    struct addr from;
    uint16_t listener_id;
    uint8_t way; /* enum log_way */
    bool cut;
};

struct remotelog *remotelog_start(struct engine *eng, struct err *e);
void remotelog_stop(struct remotelog *r); /* what is in the queue is written; NULL is legal */
/* From the next message on: bytes a file, files a listener. Any thread. */
void remotelog_limits(struct remotelog *r, int64_t bytes, int64_t files);
/* Datagrams and streams wait in queues of their own: datagrams cannot be told to wait, and a flood of them must not make the streams wait. */
enum remotelog_kind { REMOTELOG_STREAMS, REMOTELOG_DATAGRAMS, REMOTELOG_KINDS };
static inline enum remotelog_kind remotelog_kind(const struct log_note *note) {
    return note->way == LOG_WAY_UDP ? REMOTELOG_DATAGRAMS : REMOTELOG_STREAMS;
}
/* Add a message to a worker's letter of its kind; remotelog_put hands the letter over and empties it. false: the letter is full, put it first (an empty one
 * always takes a message), or there is no memory. */
#define REMOTELOG_LETTER (1u << 20)
bool remotelog_add(struct buf *letter, const struct log_note *note, const char *p, size_t n);
void remotelog_put(struct remotelog *r, struct buf *letter);
/* Is the queue of streams more than half full? They wait then. */
bool remotelog_crowded(struct remotelog *r);
/* The last messages, newest first, as a JSON array of syslog_json objects, `limit` at most. */
bool remotelog_last(struct remotelog *r, unsigned limit, struct buf *out);
#endif
