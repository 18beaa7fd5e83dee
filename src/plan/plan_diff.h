/* What a new plan changes in a running one, socket by socket, and what each change does to the connections that live there. A pure function
 * of two plans and of facts that the caller may or may not have (addresses of the machine, live connections); says it as text for people,
 * as one paragraph, and as JSON. */
#ifndef PORTREEVE_PLAN_PLAN_DIFF_H
#define PORTREEVE_PLAN_PLAN_DIFF_H
#include "plan/plan.h"
#include "plan/running.h"

#define DIFF_PLACE (ADDR_TEXT + PLAN_NAME + 32) /* bytes for an address and port, or words for a port that is not chosen yet */

enum diff_kind {
    DIFF_KEPT,    /* the same socket, the same service */
    DIFF_CHANGED, /* the same socket, served differently: `fields` says how */
    DIFF_OPENED,
    DIFF_CLOSED,
    DIFF_WAITS,   /* in the new plan only, and its address is not on this machine */
    DIFF_UNWAITS, /* the old one waited for its address, the new one does not */
    DIFF_KINDS
};
enum diff_field { /* bits */
                  DIFF_SCHEME = 1,
                  DIFF_TLS_FRONT = 2,
                  DIFF_CERTIFICATE = 4, /* another one */
                  DIFF_RENEWED = 8,     /* the same name, other bytes */
                  DIFF_SERVICES = 16,
                  DIFF_RESTRICTION = 32,
                  DIFF_LIST = 64, /* the same restriction, its list has other lines */
                  DIFF_LIMITS = 128,
                  DIFF_BACKLOG = 256,
                  DIFF_LISTENER = 512,
                  DIFF_BACKENDS = 1024, /* where a tunnel leads, or what it tells the backend of its caller */
                  DIFF_PROXY = 2048,    /* the header that callers begin with, or the devices it is believed from */
                  DIFF_CLIENT = 4096    /* whether callers are asked for a certificate, or the CAs it must come from */
};

struct diff_live { /* connections of one local address and port */
    struct addr at;
    uint32_t n;
};
struct diff_side {
    const struct plan *plan;
    const uint16_t *port; /* really bound; NULL = as planned */
    const struct running_file *file;
    uint32_t nfiles;
};
struct diff_input {
    struct diff_side old, now;
    const struct addr *host; /* addresses of this machine: what a wildcard stands for; may be empty */
    uint32_t nhost;
    const struct diff_live *live; /* in order of plan_by_place */
    uint32_t nlive;
    bool live_known;
};

struct diff_item {
    enum diff_kind kind;
    int32_t old, now; /* sockets; -1 = none */
    uint32_t fields;
    uint32_t live; /* connections on the old socket now */
    int32_t swap;  /* it is part of that swap; -1 = of none */
};
/* One address that a swap is about: served before, afterwards, or both. */
struct diff_reach {
    struct addr at;
    int32_t old, now;
    uint32_t fields, live;
};
/* A wildcard that gives way to single addresses of its port, or the other way round. */
struct diff_swap {
    uint8_t family;
    bool udp, to_wildcard;
    uint16_t port;
    uint32_t first, n; /* of plan_diff.reach */
};
struct plan_diff {
    struct diff_item *item; /* in order of place */
    uint32_t n;
    uint32_t count[DIFF_KINDS];
    struct diff_swap *swap;
    uint32_t nswaps;
    struct diff_reach *reach;
    uint32_t nreach;
    uint32_t lost, gained; /* services that no socket carries afterwards, or none carried before */
};

bool plan_diff_make(const struct diff_input *in, struct plan_diff *out, struct err *e);
void plan_diff_finish(struct plan_diff *d);
bool plan_diff_same(const struct diff_input *in, const struct plan_diff *d); /* no socket, setting or file differs */

/* plan_diff_say.c. who: what the new plan is compared with, "generation 3 (pid 4711)". */
bool plan_diff_text(const struct diff_input *in, const struct plan_diff *d, const char *who, struct buf *out);
/* One paragraph of bounded length. */
bool plan_diff_summary(const struct diff_input *in, const struct plan_diff *d, const char *who, struct buf *out);
/* plan_diff_json.c: {"same":…, "counts":{…}, "changes":[…], "settings":[…], "files":[…], "text":…}; more: what else stands in it, from its comma on. */
bool plan_diff_json(const struct diff_input *in, const struct plan_diff *d, const char *who, const char *more, struct buf *out);

/* Shared by the two. One address and port, what happens there and to whom: "closes: …". */
bool plan_diff_effect(const struct diff_input *in, const struct plan_diff *d, const struct diff_item *i, struct buf *out);
bool plan_diff_reach_effect(const struct diff_input *in, const struct diff_swap *s, const struct diff_reach *r, struct buf *out);
void plan_diff_place(const struct diff_input *in, const struct diff_item *i, char out[DIFF_PLACE]);
/* Settings and files that differ, one after the other: false at the end. *at begins as 0. */
struct diff_setting {
    const struct plan_setting_def *def;
    int64_t old, now;
};
bool plan_diff_setting(const struct diff_input *in, uint32_t *at, struct diff_setting *out);
bool plan_diff_file(const struct diff_input *in, uint32_t at[2], const char **path, const char **what); /* "changed", "new", "gone" */
#endif
