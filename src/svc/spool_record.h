/* One event as bytes in a batch, and as a line of NDJSON. For the spool*.c files only; layout in spool_record.c. */
#ifndef PORTREEVE_SVC_SPOOL_RECORD_H
#define PORTREEVE_SVC_SPOOL_RECORD_H
#include "svc/spool.h"

#define RECORD_MAX    512 /* bytes of the largest record */
#define RECORD_AGENT  256 /* bytes of a user agent kept; the rest is cut */
#define BATCH_HEAD    5   /* bytes before the first record of a batch */
#define PSEUDONYM_KEY 32

/* Makes pseudonyms: 64 bits of HMAC-SHA-256 over campaign and recipient. One per thread. */
struct pseudonyms;
struct pseudonyms *pseudonyms_create(const uint8_t key[PSEUDONYM_KEY]);
void pseudonyms_destroy(struct pseudonyms *p); /* NULL is legal */

/* Bytes written to out; 0 = this event must not or cannot be stored (level off, unknown type, pseudonym not computable). */
size_t record_encode(const struct event *ev, struct pseudonyms *who, uint8_t out[RECORD_MAX]);
/* Fill in the head of a batch whose records stand behind it. n counts head and records. */
void batch_seal(uint8_t *p, size_t n);
/* A batch as NDJSON lines; seq of the first record is `first`. false: e says what is damaged; out is as before. */
bool batch_lines(const uint8_t *p, size_t n, const char *tracker, uint64_t epoch, uint64_t first, uint32_t count, struct buf *out,
                 struct err *e);
#endif
