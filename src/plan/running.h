/* What the supervisor tells of the running generation (control request `plan`) and what the commands read: the plan as it is held, the
 * ports really bound, a word about each socket, and the hash of every file behind it. Holds no secret: certificates' passwords are left
 * out. */
#ifndef PORTREEVE_PLAN_RUNNING_H
#define PORTREEVE_PLAN_RUNNING_H
#include "plan/bundle.h"
#include "plan/plan.h"

#define RUNNING_PATH 4096
#define RUNNING_SETS 256u

struct running_socket {
    uint16_t port;          /* really bound; 0 = not bound (yet) */
    char state[PLAN_SHOWN]; /* "bound", "waiting for 192.0.2.7" … */
};
struct running_file {
    char path[BUNDLE_PATH]; /* logical path in the bundle */
    uint8_t hash[32];
};
struct running {
    int64_t pid, since_ms; /* of the supervisor; real time */
    uint64_t generation;
    uint32_t workers;
    char engine[16]; /* "live", "restarting" … */
    /* What a reload reads: folders as the server was told and as they are found from anywhere ("" = not told), overrides FILE:ENTRY=VALUE.
     */
    char conf[RUNNING_PATH], conf_path[RUNNING_PATH], policies[RUNNING_PATH], policies_path[RUNNING_PATH];
    char **set; /* those that hold a secret are left out, and counted */
    uint32_t nsets, secrets;
    struct plan plan;
    struct running_socket *socket; /* plan.nsockets of them */
    struct running_file *file;     /* in order of path */
    uint32_t nfiles;
};

bool running_encode(const struct running *r, struct buf *out);
bool running_decode(const char *text, size_t n, struct running *out, struct err *e); /* on false nothing is left to free */
void running_finish(struct running *r);
/* The files of a bundle, in order of path; false on ENOMEM. NULL bundle = none. */
bool running_files(const struct bundle *b, struct running_file **out, uint32_t *n);
#endif
