/* One run of the planner: a child under limits that reads everything once and leaves a bundle and a plan in two memfds. */
#ifndef PORTREEVE_SUPER_PLANNER_H
#define PORTREEVE_SUPER_PLANNER_H
#include "base/buf.h"
#include "super/account.h"
#include "super/options.h"
#include "super/program.h"
#include <stdint.h>

#define PLANNER_TEXT 65536 /* bytes of its report that are kept */

struct planner { /* .pid = 0: none runs */
    pid_t pid;
    int out; /* its standard output and error, non-blocking; -1 = closed */
    int bundle_fd, plan_fd;
    int call;               /* of one in reserve: the pipe by which it is called; -1 = it works */
    struct program program; /* of one in reserve: which one it is; the descriptor is not its own */
    struct buf text;
    bool cut, late;
    int64_t deadline; /* CLOCK_MONOTONIC ms */
};

struct planner_from { /* what is started, and for whom */
    const struct program *program;
    const char *path;         /* where it lay */
    const struct account *as; /* run as this user (name "" = as we are) */
};

struct planner_result { /* the caller takes the fds and frees the text */
    bool ok;
    int bundle_fd, plan_fd; /* sealed; -1 where not ok */
    struct buf text;        /* for people, NUL-terminated: warnings, or why not */
    char user[64];          /* User of portreeve.ini, "" = not said */
};

void planner_init(struct planner *p);
/* base_fd: the running generation's bundle, so that lists that have not changed need not be read
 * again; -1 = none. */
bool planner_start(struct planner *p, const struct planner_from *from, const struct options *o, int base_fd, struct err *e);
/* One that reads and tries everything ahead and then waits. planner_call makes it the planner of a reload; false: our program is
 * another now, so it is of no use. */
bool planner_reserve(struct planner *p, const struct planner_from *from, const struct options *o, struct err *e);
bool planner_call(struct planner *p, const struct program *now);
/* Put edits (options of the planner, NULL at the end) into the files of the running generation's bundle base_fd; a bundle of its own comes of
 * it. */
bool planner_start_edited(struct planner *p, const struct planner_from *from, const struct options *o, int base_fd, char *const *edits,
                          struct err *e);
/* Plan the files in a running generation's bundle once more (planner_run_again in engine/planner.h); the result has a descriptor of its own
 * for that bundle. */
bool planner_start_again(struct planner *p, const struct planner_from *from, int bundle_fd, struct err *e);
void planner_read(struct planner *p); /* when .out is readable */
/* It has said all and left bundle and plan sealed: nothing that it still does matters, and its exit status would be 0. */
bool planner_done(const struct planner *p);
void planner_tick(struct planner *p, int64_t now_ms);
void planner_kill(struct planner *p); /* it will be reaped later */
/* The child has been reaped with `status`; leaves the planner empty. */
void planner_end(struct planner *p, int status, struct planner_result *r);
void planner_result_finish(struct planner_result *r);
#endif
