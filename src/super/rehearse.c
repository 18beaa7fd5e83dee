/* What a rehearsed edit would do, in the words of `portreeve plan --diff`. */
#include "plan/bundle.h"
#include "plan/plan_diff.h"
#include "super/super.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct side {
    uint16_t *port;
    struct running_file *file;
};

static bool side_make(const struct generation *g, struct side *s, struct diff_side *out) {
    struct err e;
    struct bundle *b = bundle_map(g->bundle_fd, &e);
    uint32_t n = 0;
    s->port = generation_ports(g);
    bool good = b && s->port && running_files(b, &s->file, &n);
    bundle_unmap(b);
    *out = (struct diff_side){.plan = &g->plan, .port = s->port, .file = s->file, .nfiles = n};
    return good;
}

bool rehearse_text(const struct super *s, const struct generation *next, struct buf *out) {
    struct side old = {0}, now = {0};
    struct diff_input in = {0};
    struct plan_diff diff;
    struct err e;
    char who[80];
    snprintf(who, sizeof who, "generation %" PRIu64 " (pid %ld)", s->gen->number, (long)getpid());
    bool good = side_make(s->gen, &old, &in.old) && side_make(next, &now, &in.now) && plan_diff_make(&in, &diff, &e);
    if (good) {
        good = plan_diff_text(&in, &diff, who, out);
        plan_diff_finish(&diff);
    }
    free(old.port);
    free(old.file);
    free(now.port);
    free(now.file);
    return good;
}
