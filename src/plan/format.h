/* The number of what supervisor, planner and engine hand each other: plan, bundle, counters, the messages' structs. Programs of different
 * numbers cannot work together, which is found out before anything is read and said in these words. Raised whenever one of them changes:
 * tests/unit/format.c fails where the shape has changed and the number has not. */
#ifndef PORTREEVE_PLAN_FORMAT_H
#define PORTREEVE_PLAN_FORMAT_H
#include "base/err.h"
#include <stdint.h>

#define FORMAT       6
#define FORMAT_SHAPE 0x2c77ed619ef96c5dull /* format_shape() of that number */

/* A hash over names, order, kinds and sizes of all that has this number. seed: whatever else the caller wants in it. */
uint64_t format_shape(uint64_t seed);
uint64_t format_mix(uint64_t hash, const void *p, size_t n);
extern const char format_head[]; /* the first line of a plan: "portreeve-plan N" */
uint32_t format_number(void);    /* the number in it: there is no other place that a program tells it from */
/* Why a plan that begins with these bytes is not read: names both numbers. Always false. */
bool format_differs(const char *text, size_t n, struct err *e);
#endif
