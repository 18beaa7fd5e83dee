#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char ELLIPSIS[] = "…";

/* Cut at a character's beginning, so that a message is always whole UTF-8. */
static void cut_short(struct err *e) {
    size_t at = sizeof e->text - sizeof ELLIPSIS;
    while (at > 0 && ((unsigned char)e->text[at] & 0xc0) == 0x80) at--;
    memcpy(e->text + at, ELLIPSIS, sizeof ELLIPSIS);
}

/* The arguments may point into e itself (a message that wraps a lower one), so the text is made aside first. */
static void fill(struct err *e, const char *file, unsigned line, const char *fmt, va_list ap) {
    struct err made;
    int head = 0;
    if (file && line) head = snprintf(made.text, sizeof made.text, "%s:%u: ", file, line);
    else if (file) head = snprintf(made.text, sizeof made.text, "%s: ", file);
    if (head < 0) head = 0;
    bool cut = (size_t)head >= sizeof made.text;
    if (!cut) {
        int body = vsnprintf(made.text + head, sizeof made.text - (size_t)head, fmt, ap);
        if (body < 0) made.text[head] = 0;
        cut = body >= 0 && (size_t)body >= sizeof made.text - (size_t)head;
    }
    if (cut) cut_short(&made);
    memcpy(e->text, made.text, strlen(made.text) + 1);
}

bool err_set(struct err *e, const char *fmt, ...) {
    if (!e) return false;
    va_list ap;
    va_start(ap, fmt);
    fill(e, NULL, 0, fmt, ap);
    va_end(ap);
    return false;
}

bool err_at(struct err *e, const char *file, unsigned line, const char *fmt, ...) {
    if (!e) return false;
    va_list ap;
    va_start(ap, fmt);
    fill(e, file, line, fmt, ap);
    va_end(ap);
    return false;
}
