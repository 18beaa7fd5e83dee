/* The flight recorder's memory: made once, lent to engines for writing and to commands for reading. Nothing is searched here: that is not
 * this loop's work. */
#include "base/log.h"
#include "super/super.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* To be read only: a duplicate could be written to. */
static int look_at(int fd, const char *what, struct err *e) {
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int look = open(path, O_RDONLY | O_CLOEXEC);
    if (look < 0) err_set(e, "cannot open the memory of %s for reading: %s", what, strerror(errno));
    return look;
}

bool remember_open(struct super *s, struct err *e) {
    s->recorder_fd = recorder_create(&s->recorder, e);
    return s->recorder_fd >= 0 && (s->recorder_look = look_at(s->recorder_fd, "the flight recorder", e)) >= 0 &&
           (s->counters_look = look_at(s->counters_fd, "the counters", e)) >= 0;
}

void remember_generation(struct super *s, const struct generation *g) {
    if (!recorder_resize(s->recorder, (uint32_t)g->plan.set.decisions, g->workers))
        log_warn("supervisor", "out of memory: the flight recorder keeps its size");
}
