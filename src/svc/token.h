/* Tracking tokens: who a link belongs to, signed. Binary, base64url, about 35 characters, all of it in the path; never an e-mail address.
 *   version+kind u8 · key id u8 · varint campaign · varint recipient · varint link · level+flags u8 · send minute u32 (since 2020-01-01) ·
 *   HMAC-SHA-256 truncated to 96 bits over those bytes and, for a click, the target.
 * A key per kind is derived (HKDF) from the master key of that key id, so an open token is never good for a click.
 * Source: components.md "Token". Comparison is constant-time. */
#ifndef PORTREEVE_SVC_TOKEN_H
#define PORTREEVE_SVC_TOKEN_H
#include "base/err.h"
#include <stdint.h>
#include <sys/types.h>

enum token_kind { TOKEN_OPEN = 1, TOKEN_CLICK = 2, TOKEN_LINK = 3 /* short form */, TOKEN_UNSUB = 4, TOKEN_TRAP = 5 };
enum token_level { LEVEL_OFF, LEVEL_BLIND, LEVEL_ANONYMOUS, LEVEL_PERSONAL, LEVEL_NETWORK };

extern const char *const token_kind_words[], *const token_level_words[]; /* "open" … of 1, 2 …; "off" … of 0, 1 …; NULL at the end */

struct token {
    uint8_t kind, level, flags, key_id;
    uint64_t campaign, recipient, link;
    uint32_t minute; /* minutes since 2020-01-01T00:00Z */
};
#define TOKEN_MAX        96 /* bytes of text with NUL, enough for the largest varints */
#define TOKEN_TARGET_MAX 2048

enum token_verdict {
    TOKEN_OK,
    TOKEN_EXPIRED /* signature right, key retired or too old: a click still redirects, nothing is recorded */,
    TOKEN_BAD /* anything else; no detail for strangers */
};

/* The key ring: STATE/keys/tracker.keys, mode 0600, one line `id hex64 created retired|-`; made on first use. Immutable once loaded,
 * shared by threads; every thread that opens tokens has its own token_ctx (prepared HMAC states). Memory is MADV_DONTDUMP, wiped on free. */
struct token_ring;
/* Where this state folder has its key ring, into path, and what is there: one (or what cannot be looked at); none yet, before the first start; or
 * none any more though the server has been in use, as its spool shows: a fresh one would be the end of every link that was ever sent. */
enum token_ring_is { RING_THERE, RING_NOT_YET, RING_GONE };
enum token_ring_is token_ring_at(const char *state, char *path, size_t cap);
struct token_ring *token_ring_load(const char *path, bool create, struct err *e);
void token_ring_free(struct token_ring *r);
/* Put a fresh key into the file and retire those in use: new tokens are signed by it, old ones verify for 400 days more (then EXPIRED).
 * Running engines read the ring anew at a reload. */
bool token_ring_rotate(const char *path, struct err *e);
struct token_ctx;
struct token_ctx *token_ctx_create(const struct token_ring *r); /* the ring must outlive it */
void token_ctx_free(struct token_ctx *c);

/* May this stand in a click's Location: absolute http or https with a host, printable ASCII or UTF-8 bytes without blanks, at most
 * TOKEN_TARGET_MAX bytes. token_seal refuses anything else, token_open calls it BAD. */
bool token_target_ok(const char *target, size_t n);
uint64_t token_bad_count(const struct token_ctx *c); /* BAD verdicts so far; only the thread that owns c may ask */

/* Sign with the newest key. target: for clicks the absolute URL (n bytes), else NULL. Returns text length, -1 on a fault. */
ssize_t token_seal(struct token_ctx *c, const struct token *t, const char *target, size_t n, char out[TOKEN_MAX], struct err *e);
/* Verify text as a token of `kind`. out is filled for OK and EXPIRED. now_minute decides expiry. */
enum token_verdict token_open(struct token_ctx *c, enum token_kind kind, const char *text, size_t text_n, const char *target, size_t n,
                              uint32_t now_minute, struct token *out);
#endif
