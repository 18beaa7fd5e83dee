/* What the control thread's files share. */
#ifndef PORTREEVE_ENGINE_CONTROL_I_H
#define PORTREEVE_ENGINE_CONTROL_I_H
#include "base/fdlink.h"
#include "engine/worker.h"
#include <ev.h>

struct control {
    struct engine eng;
    struct ev_loop *loop;
    ev_io wire;
    ev_timer second;
    char user[64];
    bool ready; /* SETUP has come and the engine is hardened */
    struct console *console;
    struct generation *pending;
    bool forced; /* nobody is asked whom it shuts out */
    struct app_states *pending_states;
    int64_t drain_until;
    bool stopping, welcomed, quiet;
    struct fdlink_msg msg;
};

/* To the supervisor. */
void control_say(struct control *k, uint32_t type, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* control_offer.c: messages about the generation that is offered; those about another one are passed over. */
void control_begin(struct control *k, struct fdlink_msg *m);
void control_sockets(struct control *k, struct fdlink_msg *m);
void control_kept(struct control *k, struct fdlink_msg *m);
void control_prepare(struct control *k, uint64_t id);
void control_commit(struct control *k, uint64_t id);
void control_rehearse(struct control *k, struct fdlink_msg *m); /* of a generation that is not offered: what would guards say? */
void control_throw(struct control *k);                          /* what is offered, if anything */
/* Post the same letter to every worker and wait until each has done it. */
void control_all(struct engine *eng, enum mail_kind kind, struct generation *g);
#endif
