#include "base/wheel.h"
#include "unit/tap.h"
#include <stdlib.h>

struct item {
    struct wheel_node n;
    int64_t due;
    int fired;
};
static int64_t now;
static int early;

static void fire(struct wheel_node *n, void *ctx) {
    struct item *it = (struct item *)n;
    (void)ctx;
    it->fired++;
    if (now < it->due) early++;
}

int main(void) {
    static struct item item[5000];
    struct wheel w;
    now = 12345;
    wheel_init(&w, now);
    srand(7);
    for (unsigned i = 0; i < 5000; i++) { /* deadlines up to three times the horizon, moved later and earlier */
        item[i].due = now + rand() % 160000;
        wheel_set(&w, &item[i].n, now + rand() % 160000);
        wheel_set(&w, &item[i].n, item[i].due);
    }
    for (unsigned i = 0; i < 5000; i += 10) wheel_clear(&item[i].n), wheel_clear(&item[i].n);
    int late = 0;
    for (int step = 0; step < 1700; step++) {
        now += 100;
        wheel_run(&w, now, fire, NULL);
        for (unsigned i = 0; i < 5000; i++)
            if (i % 10 && !item[i].fired && now > item[i].due + 2 * WHEEL_TICK_MS) late++;
    }
    int wrong = 0;
    for (unsigned i = 0; i < 5000; i++) wrong += item[i].fired != (i % 10 ? 1 : 0);
    ok(wrong == 0, "every deadline fires exactly once, a cleared one never (%d wrong)", wrong);
    ok(early == 0, "none fires early (%d)", early);
    ok(late == 0, "none fires more than two ticks late (%d)", late);
    return tap_end();
}
