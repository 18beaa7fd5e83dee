#include "base/clock.h"
#include <stdio.h>
#include <time.h>

#define FIRST_MS (-30610224000000) /* 1000-01-01 */
#define LAST_MS  253402300799999   /* the end of 9999 */

static int64_t (*fake_mono)(void);
static int64_t (*fake_real)(void);

static int64_t read_ms(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_mono_ms(void) {
    return fake_mono ? fake_mono() : read_ms(CLOCK_MONOTONIC);
}

int64_t clock_mono_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_real_ms(void) {
    return fake_real ? fake_real() : read_ms(CLOCK_REALTIME);
}

const char *clock_text(int64_t ms, char out[CLOCK_TEXT]) {
    struct tm tm;
    ms = ms < FIRST_MS ? FIRST_MS : ms > LAST_MS ? LAST_MS : ms;
    int part = (int)((ms % 1000 + 1000) % 1000);
    time_t s = (time_t)((ms - part) / 1000);
    gmtime_r(&s, &tm);
    size_t n = strftime(out, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, CLOCK_TEXT - n, ".%03dZ", part);
    return out;
}

void clock_fake(int64_t (*mono)(void), int64_t (*real)(void)) {
    fake_mono = mono;
    fake_real = real;
}
