#include "engine/console_call.h"
#include "svc/consock.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool console_call_init(struct console_call *c, const char *state_dir, struct err *e) {
    c->fd = -1;
    if ((size_t)snprintf(c->path, sizeof c->path, "%s/run/console.sock", state_dir) < sizeof c->path) return true;
    return err_set(e, "%.100s…: this path is too long", state_dir);
}

void console_call_finish(struct console_call *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

/* An engine that was replaced has closed its end: that is known before a line is sent, so nothing is ever asked twice. */
static bool connected(struct console_call *c, struct err *e) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->fd >= 0 && poll(&p, 1, 0) != 0) console_call_finish(c);
    if (c->fd < 0) c->fd = consock_connect(c->path, e);
    if (c->fd < 0 && access(c->path, F_OK) != 0 && errno == EACCES)
        err_set(e, "%s: %s; ask as root or as the user portreeve runs as", c->path, strerror(errno));
    return c->fd >= 0;
}

static bool call(struct console_call *c, struct buf *rq, bool *ok, struct buf *out, struct err *e) {
    bool fine = connected(c, e) && consock_ask(c->fd, rq, ok, out, e);
    if (!fine) console_call_finish(c);
    buf_free(rq);
    return fine;
}

bool console_call_eval(struct console_call *c, const char *text, bool json, bool *ok, struct buf *out, struct err *e) {
    struct buf rq = {0};
    buf_str(&rq, "{");
    buf_member(&rq, "eval", text);
    buf_fmt(&rq, ",\"json\":%s}", json ? "true" : "false");
    bool asked = call(c, &rq, ok, out, e);
    while (asked && !*ok && out->n > 0 && out->p[out->n - 1] == '\n') out->n--; /* who shows an error ends the line */
    return asked;
}

bool console_call_complete(struct console_call *c, const char *word, struct buf *out, struct err *e) {
    struct buf rq = {0};
    bool ok = false;
    buf_str(&rq, "{");
    buf_member(&rq, "complete", word);
    buf_str(&rq, "}");
    return call(c, &rq, &ok, out, e) && (ok || err_set(e, "%.*s", (int)out->n, out->p ? out->p : ""));
}
