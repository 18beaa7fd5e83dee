/* The number of what programs hand each other is raised when its shape changes, and messages name numbers. */
#include "plan/format.h"
#include "gate/counters.h"
#include "gate/recorder_i.h"
#include "plan/plan.h"
#include "unit/tap.h"
#include <inttypes.h>
#include <stddef.h>

/* Supervisor and engine share these memories too: their sizes, and the names and places of the counts, belong to the shape. */
static uint64_t shared_memory(void) {
    const size_t parts[] = {sizeof(struct counters),         offsetof(struct counters, live),   offsetof(struct counters, rates),
                            offsetof(struct counters, bans), offsetof(struct counters, admins), sizeof(struct counters_block),
                            sizeof(struct recorder),         sizeof(struct record_slot)};
    uint64_t hash = format_mix(1, parts, sizeof parts);
    for (const struct counter_def *d = counter_defs; d->field; d++)
        hash = format_mix(format_mix(hash, d->field, strlen(d->field)), &d->offset, sizeof d->offset);
    return hash;
}

int main(void) {
    uint64_t shape = format_shape(shared_memory());
    bool same = shape == FORMAT_SHAPE;
    ok(same, "the shape of plan, bundle and shared memory is that of format %d%s", FORMAT,
       same ? "" : ": it has changed, so raise FORMAT in src/plan/format.h by one, unless main's is raised already, and set FORMAT_SHAPE");
    if (!same) printf("# FORMAT_SHAPE is 0x%016" PRIx64 " now\n", shape);
    ok(format_shape(1) != format_shape(2), "what the caller mixes in counts");
    ok(format_number() == FORMAT, "the number is the one in the first line of a plan");

    struct plan p;
    struct err e = {""};
    const char newer[] = "portreeve-plan 4711\n[plan]\n", none[] = "hello\n";
    ok(!plan_decode(newer, sizeof newer - 1, &p, &e) && strstr(e.text, "format 4711") && strstr(e.text, "reads format"),
       "another plan is named by its number: %s", e.text);
    ok(!plan_decode(none, sizeof none - 1, &p, &e) && strstr(e.text, "no plan"), "what is no plan is said to be none: %s", e.text);
    return tap_end();
}
