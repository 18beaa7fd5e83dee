/* One human error message, complete with the place it is about.
 * Every function that can refuse input fills a caller's `struct err` and returns false (or -1, or NULL);
 * on success it leaves it alone.  The text says what, where (file:line, entry, value) and what to do. */
#ifndef PORTREEVE_BASE_ERR_H
#define PORTREEVE_BASE_ERR_H
#include <stdbool.h>
#include <stddef.h>

struct err {
    char text[1024]; /* NUL-terminated UTF-8, no trailing newline; truncated with "…" */
};

/* Format into e (e may be NULL).  Both always return false, so that `return err_set(e, …)` reads well. */
bool err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with "file:line: " in front (line 0: "file: "). */
bool err_at(struct err *e, const char *file, unsigned line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
#endif
