/* The whole C test harness: each check prints one TAP line. A test program is main() with checks and `return tap_end();`. */
#ifndef PORTREEVE_TESTS_TAP_H
#define PORTREEVE_TESTS_TAP_H
#include <stdio.h>
#include <string.h>
static int tap_run, tap_bad;
static inline int tap_line(int ok, const char *file, int line, const char *what) {
    tap_run++;
    if (!ok) tap_bad++;
    printf("%sok %d - %s", ok ? "" : "not ", tap_run, what);
    if (!ok) printf(" (%s:%d)", file, line);
    putchar('\n');
    fflush(stdout);
    return ok;
}
#define ok(cond, ...) (snprintf(tap_text, sizeof tap_text, __VA_ARGS__), tap_line(!!(cond), __FILE__, __LINE__, tap_text))
static char tap_text[512];
static inline int tap_end(void) {
    printf("1..%d\n", tap_run);
    return tap_bad ? 1 : 0;
}
#endif
