/* Syslog: what a message says (RFC 5424, and RFC 3164 in the looseness that devices write), how messages follow each other on a stream
 * (RFC 6587, RFC 5425), and one as a line or as JSON. Pure: no I/O, no memory of its own but for the caller's buf. Slices point into the input. */
#ifndef PORTREEVE_PROTO_SYSLOG_H
#define PORTREEVE_PROTO_SYSLOG_H
#include "base/buf.h"
#include "proto/exchange.h"

#define SYSLOG_MOST 8192u /* bytes of a message that are kept: the rest is cut off, and that is said (RFC 5425 4.3.1) */

enum syslog_form {
    SYSLOG_5424, /* all of it as the RFC demands */
    SYSLOG_3164, /* <PRI>, then as much as can be understood */
    SYSLOG_BARE  /* no <PRI>: all of it is text, user.notice (RFC 3164 4.3.3) */
};
struct syslog {
    enum syslog_form form;
    uint8_t facility, severity; /* 0 … 23, 0 … 7 */
    /* As written; n 0 = not there, or "-" in RFC 5424. `data` is the structured data with its brackets. */
    struct slice time, host, app, pid, msgid, data, text;
};
/* Any bytes are a message: what is not RFC 5424 is read as RFC 3164, and what is neither is text. Line ends at the end are not part of it. */
void syslog_parse(const char *p, size_t n, struct syslog *out);
const char *syslog_facility(uint8_t f); /* "kern" … "local7" */
const char *syslog_severity(uint8_t s); /* "emerg" … "debug" */

/* ---- messages on a stream ---- */

struct syslog_frames { /* zero-initialised at the beginning of a stream */
    size_t skip;       /* bytes of a counted message that are still to come and are not kept */
    bool skip_line;    /* the rest of a line is not kept */
};
/* The next message in the n bytes at p. true: *msg is it (never empty), *used bytes are done with, *cut says that more of it came than is kept. false: there is
 * none yet; *used bytes are done with all the same (blank lines, what is skipped), and more input is needed. A message is either counted
 * ("52 <34>1 …") or ends with LF or NUL, whichever its first byte says; both may stand on one stream. What is longer than SYSLOG_MOST is cut,
 * so with SYSLOG_MOST + SYSLOG_COUNT bytes of input there is always something that can be used. */
#define SYSLOG_COUNT 16u
bool syslog_next(struct syslog_frames *f, const char *p, size_t n, size_t *used, struct slice *msg, bool *cut);
/* The stream has ended: the message that had no end, if any. */
bool syslog_last(const struct syslog_frames *f, const char *p, size_t n, struct slice *msg);

/* ---- written ---- */

struct syslog_from {
    int64_t ms;            /* received, unix */
    const char *address;   /* the peer's */
    const char *transport; /* "udp", "tcp", "tls" */
    const char *listener;
    bool cut;
};
/* "2026-11-22T04:04:02.123Z 192.0.2.7 udp local0.notice HOST APP[PID] MSGID [data] text …\n" ("-" for what is not there). Control characters and bytes that are no UTF-8 become
 * \xNN, so a line is a line and a terminal takes no orders; what was cut ends in " [cut]". */
bool syslog_line(const struct syslog *m, const struct syslog_from *from, struct buf *out);
bool syslog_json(const struct syslog *m, const struct syslog_from *from, struct buf *out); /* an object */
#endif
