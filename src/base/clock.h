/* Time. Deadlines use clock_mono_ms (CLOCK_MONOTONIC); stamps in events, logs and certificates use clock_real_ms.
 * Tests replace both with clock_fake. */
#ifndef PORTREEVE_BASE_CLOCK_H
#define PORTREEVE_BASE_CLOCK_H
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void); /* never faked */
int64_t clock_real_ms(void);
/* "2026-11-17T09:30:00.042Z" of unix time, as logs and records have it. What no year of four digits holds becomes the nearest that one does. */
#define CLOCK_TEXT 32
const char *clock_text(int64_t ms, char out[CLOCK_TEXT]);
void clock_fake(int64_t (*mono)(void), int64_t (*real)(void)); /* NULL restores; tests only, before threads start */
#endif
