/* The whole C test harness: each check prints one TAP line. A test program is main() with checks and `return tap_end();`. */
#ifndef PORTREEVE_TESTS_TAP_H
#define PORTREEVE_TESTS_TAP_H
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
static int tap_run, tap_bad, tap_cond;
__attribute__((format(printf, 4, 5))) static inline int tap_line(int good, const char *file, int line, const char *fmt, ...) {
    va_list ap;
    tap_run++;
    if (!good) tap_bad++;
    printf("%sok %d - ", good ? "" : "not ", tap_run);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    if (!good) printf(" (%s:%d)", file, line);
    putchar('\n');
    fflush(stdout);
    return good;
}
/* The condition first, so that the text may show what it left behind. */
#define ok(cond, ...) (tap_cond = !!(cond), tap_line(tap_cond, __FILE__, __LINE__, __VA_ARGS__))
static inline int tap_end(void) {
    printf("1..%d\n", tap_run);
    return tap_bad ? 1 : 0;
}
#endif
