/* Address lists (L1–L6): text to prefix set. Pure but for the callback that fetches an included list.
 *
 * One item a line: an address, a range `a-b` (both ends belong to it), or `address/bits`. `!` before an item takes it out of what the lines
 * above built. `;` begins a comment. `#name` puts the lines of another list in this place, as if they stood here. */
#ifndef PORTREEVE_PLAN_ALIST_H
#define PORTREEVE_PLAN_ALIST_H
#include "base/pset.h"

#define ALIST_DEPTH     16u            /* lists inside lists */
#define ALIST_FILES     4096u          /* includes altogether, each counted as often as it is reached */
#define ALIST_MAX_BYTES (512ull << 20) /* text altogether, counted likewise */
#define ALIST_NAME      64             /* bytes of an included list's name with its NUL */

/* Fetch the text of list `name` ("clients" for `#clients`): false = no such list. Everything stays the callee's and must be valid
 * until alist_load returns. Two names of one list must give the same display (cycles are found by it). */
struct alist_text {
    const char *text;
    size_t n;
    const char *display;
    const uint8_t *hash; /* SHA-256 of the text, for pset_source_hash; NULL = none */
};
typedef bool alist_fetch(void *ctx, const char *name, struct alist_text *out);

/* Parse the list `name` and everything it includes. NULL with e filled ("clients.list:7: …"; a cycle names the way round). The caller
 * owns the set. Bounds above; exceeding one is an error. */
struct pset *alist_load(const char *name, alist_fetch *fetch, void *ctx, struct err *e);
/* A list written into an entry of an INI file: the same items between commas, no includes and no comments. All of them stand in `line` of
 * `display`; hash: of the text, or NULL. An empty text is an error. */
struct pset *alist_inline(const char *text, size_t n, const char *display, unsigned line, const uint8_t hash[32], struct err *e);
#endif
