/* Bundle: every file of a generation, read once, in one sealed memfd. Planner writes it, supervisor keeps it (a restarted engine
 * gets the same bytes whatever happened on disk), engine maps it read-only.
 * Logical paths: "tomcat.ini" "hub.ini" "lui.ini" "tracker.ini" "ssl.ini" "my.ini" "listeners.ini" "portreeve.ini" "certificates.ini"
 * "services" "lists/NAME.list" (its hash; the text stays with the planner) "sets/NAME" (its prefix set, base/pset.h) "policies/NAME.lua" "certs/…" and "--set" (the overrides as an INI text `file:entry=value`). */
#ifndef PORTREEVE_PLAN_BUNDLE_H
#define PORTREEVE_PLAN_BUNDLE_H
#include "base/err.h"
#include <stdint.h>

#define BUNDLE_MAX_BYTES (512ull << 20)
#define BUNDLE_MAX_FILES 4096u
#define BUNDLE_PATH      256

struct bundle_file {
    char path[BUNDLE_PATH];    /* logical path */
    char display[BUNDLE_PATH]; /* as the operator knows it: "conf/tomcat.ini" */
    uint8_t hash[32];          /* SHA-256 of the text */
    uint64_t offset, size;     /* of the text in the image; offset is a multiple of 8 */
    uint32_t mode;             /* st_mode when read */
    uint32_t pad;
};

struct bundle_writer; /* collects files, writes the image at the end */
struct bundle_writer *bundle_writer_create(void (*sha256)(const void *p, size_t n, uint8_t out[32]));
void bundle_writer_destroy(struct bundle_writer *w);
/* Where a text's SHA-256 is known, or the file stands for others: bundle_add with it. */
bool bundle_add_hashed(struct bundle_writer *w, const char *path, const char *display, const void *text, size_t n, uint32_t mode,
                       const uint8_t hash[32], struct err *e);
/* Free a file's text; path, display and hash stay. */
void bundle_forget(struct bundle_writer *w, const char *path);
/* Copy text in. A second file of the same logical path is an error. */
bool bundle_add(struct bundle_writer *w, const char *path, const char *display, const void *text, size_t n, uint32_t mode, struct err *e);
const struct bundle_file *bundle_writer_find(const struct bundle_writer *w, const char *path, const char **text);
bool bundle_write(struct bundle_writer *w, int memfd, struct err *e); /* writes and seals */

struct bundle;                                       /* a read-only mapping, MADV_DONTDUMP */
struct bundle *bundle_map(int memfd, struct err *e); /* checks every offset; the fd stays the caller's */
void bundle_unmap(struct bundle *b);                 /* NULL is legal */
unsigned bundle_count(const struct bundle *b);
const struct bundle_file *bundle_at(const struct bundle *b, unsigned i);
const struct bundle_file *bundle_find(const struct bundle *b, const char *path); /* NULL = absent */
const char *bundle_text(const struct bundle *b, const struct bundle_file *f);    /* f->size bytes, not NUL-terminated */
#endif
