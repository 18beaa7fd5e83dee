/* Time. Deadlines use clock_mono_ms (CLOCK_MONOTONIC); stamps in events, logs and certificates use clock_real_ms.
 * Tests replace both with clock_fake. */
#ifndef PORTREEVE_BASE_CLOCK_H
#define PORTREEVE_BASE_CLOCK_H
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void); /* never faked */
int64_t clock_real_ms(void);
void clock_fake(int64_t (*mono)(void), int64_t (*real)(void)); /* NULL restores; tests only, before threads start */
#endif
