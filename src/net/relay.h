/* Bytes both ways between two streams, with half-close and back pressure. Pure but for the streams' own calls: no poll set, no clock.
 *
 * Nothing is held while bytes flow: they are read into a buffer that all relays of a worker share and written at once. Only what the other side
 * does not take is kept, at most one buffer's worth each way, and nothing more is read from that side before it has left. (Measured beside
 * splice(2): the same processor time at 64 KiB a pipe, a fifth less at 256 KiB, for two pipes, four descriptors and 512 KiB of kernel memory more
 * a relay; and TLS could not use it.)
 *
 * Who has said all he will say is passed on as just that (FIN, close_notify): the other direction goes on. A stream whose reading breaks (reset)
 * breaks the relay, so that nobody takes half for a whole; one that only takes no more is still read to its end: its last words may be there. */
#ifndef PORTREEVE_NET_RELAY_H
#define PORTREEVE_NET_RELAY_H
#include "net/stream.h"
#include <stdint.h>

enum { RELAY_READABLE = 1, RELAY_WRITABLE = 2 };
enum relay_result {
    RELAY_WAIT,  /* go on when one end is ready for what relay_wants says */
    RELAY_MORE,  /* there may be more at once: others first, then go on */
    RELAY_DONE,  /* both have said all, and all has been passed on */
    RELAY_BROKEN /* one end broke, or there is no memory: reset both */
};
struct relay_end {
    const struct stream_ops *ops;
    void *stream; /* the caller's, as the fd is */
    int fd;
    uint8_t ready;         /* what the poll set has announced, latched; cleared here when a call found it untrue */
    uint8_t reads, writes; /* what a read or a write waits for: TLS may want the other */
    bool hung;             /* the poll set has announced its end: a short read is no proof that nothing is left */
    bool ended, shut;      /* it will send no more; we have told it that we will not */
};
struct relay_way { /* from end[i] to end[1 - i] */
    char *held;    /* what the other side did not take yet; NULL = nothing */
    size_t n, at;
    uint64_t bytes; /* taken by the other side; see relay_bytes */
    bool blocked;   /* it waits for a write */
    bool dead;      /* the other side takes no more */
};
struct relay {
    struct relay_end end[2];
    struct relay_way way[2];
};

void relay_init(struct relay *r, const struct stream_ops *ops0, void *stream0, int fd0, const struct stream_ops *ops1, void *stream1,
                int fd1);
void relay_finish(struct relay *r);
/* Bytes that go to end[1] before any others; copied. false = no memory, or something is held already. */
bool relay_first(struct relay *r, const void *p, size_t n);
uint64_t relay_bytes(const struct relay *r, unsigned way); /* moved from end[way] to the other, without those of relay_first */
/* Move what can be moved, by way of the n bytes at buffer; about `budget` bytes each way at most. */
enum relay_result relay_run(struct relay *r, char *buffer, size_t n, size_t budget);
uint8_t relay_wants(const struct relay *r, unsigned end); /* what that end has to be ready for before there is anything to do */
#endif
