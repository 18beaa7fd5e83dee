#include "base/clock.h"
#include <time.h>

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

void clock_fake(int64_t (*mono)(void), int64_t (*real)(void)) {
    fake_mono = mono;
    fake_real = real;
}
