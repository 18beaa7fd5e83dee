#include "base/clock.h"
#include "base/log.h"
#include "engine/access.h"
#include "engine/app.h"
#include "engine/conn_i.h"
#include "engine/ops.h"
#include <stdio.h>
#include <string.h>

#define TRANSFER_MS 60000 /* at least: a long poll of the transfer may take 25 s, however impatient HandlerTimeout is with pages */

/* An answer stands in `out` whole or not at all: after a half one the client would read the next as its body. */
static void whole(struct conn *c, size_t before, bool fine) {
    struct request_state *rq = c->rq;
    if (fine) return;
    log_error("respond", "an answer with status %d does not fit or memory ran out: the connection is closed without it", rq->status);
    rq->out.n = before;
    rq->status = 500;
    rq->close_after = true;
}

static bool carries_body(const struct request *req, int status) {
    return !(req && req->method == M_HEAD) && status != 204 && status != 304;
}

static void write_plain(struct conn *c, int status, const char *type, const char *body, size_t n, bool close) {
    struct request_state *rq = c->rq;
    char fields[256];
    int k = snprintf(fields, sizeof fields, "Content-Type: %s\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s", type,
                     status == 405   ? "Allow: GET, HEAD\r\n"
                     : status == 503 ? "Retry-After: 5\r\n"
                                     : "");
    const struct request *req = rq->abandoned ? NULL : &rq->x.req;
    size_t before = rq->out.n;
    rq->status = status;
    rq->close_after |= close;
    whole(c, before,
          h1_write_head(&rq->out, status, fields, (size_t)k, (int64_t)n, req, close, c->w->date) &&
              (!carries_body(req, status) || buf_add(&rq->out, body, n)));
}

static void count_status(struct worker *w, int status) {
    switch (status / 100) {
    case 2: COUNT(w->count, status_2xx); break;
    case 3: COUNT(w->count, status_3xx); break;
    case 4: COUNT(w->count, status_4xx); break;
    case 5: COUNT(w->count, status_5xx); break;
    default: break;
    }
}

void respond_error(struct conn *c, int status, bool close) {
    char page[512];
    int n = snprintf(page, sizeof page,
                     "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
                     "<title>%d %s</title><h1>%d %s</h1></html>\n",
                     status, h1_reason(status), status, h1_reason(status));
    write_plain(c, status, "text/html; charset=utf-8", page, (size_t)n, close || c->rq->close_after);
    if (c->rq->abandoned) count_status(c->w, status);
}

static void via_json(const struct via *v, struct buf *b) {
    char device[ADDR_TEXT];
    addr_format_ip(&v->device, device);
    buf_fmt(b, ",\"via\":\"%s\"", device);
    if (v->id[0]) buf_member(b, "id", v->id);
}

static void access_line(struct conn *c) {
    struct worker *w = c->w;
    const struct request_state *rq = c->rq;
    const struct request *req = &rq->x.req;
    const struct field *agent = request_field(req, "user-agent");
    struct buf *b = &w->access;
    access_begin(b, rq->x.at_ms, &c->remote, c->listener->plan->name, rq->service ? plan_service_name(rq->service) : "");
    buf_str(b, ",\"method\":");
    buf_json(b, req->method_text.p, req->method_text.n);
    buf_str(b, ",\"path\":");
    buf_json(b, req->path.p, req->path.n < 512 ? req->path.n : 512);
    buf_fmt(b, ",\"status\":%d,\"ms\":%lld,\"tls\":\"%s\",\"agent\":", rq->status, (long long)(w->now_ms - rq->began_ms), rq->peer.tls);
    buf_json(b, agent ? agent->value.p : "", agent ? (agent->value.n < 256 ? agent->value.n : 256) : 0);
    if (c->via) via_json(c->via, b);
    access_end(w->eng->access, b);
}

void respond_log(struct conn *c) {
    count_status(c->w, c->rq->status);
    if (c->gen->plan.set.access_log && c->w->eng->access && !c->rq->abandoned) access_line(c);
}

static void describe_peer(struct conn *c) {
    struct request_state *rq = c->rq;
    const struct plan_socket *s = c->listener->plan;
    rq->peer = (struct peer){.remote = c->remote, .fd = c->fd, .listener = s->name, .services = s->services, .sni = "", .tls = ""};
    if (c->guest) rq->peer.services &= c->guest->only, rq->peer.tags = &c->guest->tags;
    if (c->guest && c->guest->has_identity && c->guest->identity.verified) rq->peer.identity = &c->guest->identity;
    rq->peer.secure = conn_secure(c);
    if (c->stream) rq->peer.tls = tls_version(c->stream), rq->peer.sni = tls_sni(c->stream);
    if (c->via && rq->peer.secure == 2) rq->peer.tls = c->via->version, rq->peer.sni = c->via->sni;
    rq->x.peer = &rq->peer;
}

/* Text as HTML; what does not fit is left out. */
static size_t escape_html(const char *s, char *out, size_t cap) {
    size_t n = 0;
    for (; *s && n + 8 < cap; s++) {
        const char *as = *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : *s == '&' ? "&amp;" : NULL;
        if (as) n += (size_t)snprintf(out + n, cap - n, "%s", as);
        else out[n++] = *s;
    }
    out[n] = '\0';
    return n;
}

void respond_refused(struct conn *c, int status, const char *text) {
    char page[2048], words[5 * VERDICT_TEXT + 8];
    escape_html(text, words, sizeof words);
    int n = snprintf(page, sizeof page,
                     "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
                     "<title>%d %s</title><h1>%d %s</h1><p>%s</p></html>\n",
                     status, h1_reason(status), status, h1_reason(status), words);
    describe_peer(c);
    c->rq->service = 0;
    c->rq->close_after = true;
    write_plain(c, status, "text/html; charset=utf-8", page, (size_t)n, true);
    conn_end_exchange(c);
    c->rq->abandoned = true; /* its body, if it has one, is not read */
}

static bool policy_failed(struct conn *c, const struct err *e) {
    COUNT(c->w->count, policy_errors);
    log_error("policy", "%s", e->text);
    respond_error(c, 500, false);
    return true;
}

static void write_outcome(struct conn *c, const struct outcome *o) {
    struct request_state *rq = c->rq;
    const struct request *req = &rq->x.req;
    size_t before = rq->out.n;
    rq->status = o->status;
    if (o->fixed) whole(c, before, h1_fixed_write(&rq->out, o->fixed, req, rq->close_after, c->w->date));
    else
        whole(c, before,
              h1_write_head(&rq->out, o->status, o->fields->p, o->fields->n, (int64_t)o->body->n, req, rq->close_after, c->w->date) &&
                  (!carries_body(req, o->status) || buf_add(&rq->out, o->body->p, o->body->n)));
}

/* Hand the event to the spool. false: the answer waits for the commit. */
static bool record(struct conn *c, struct outcome *o) {
    struct request_state *rq = c->rq;
    struct worker *w = c->w;
    const struct plan_settings *set = &c->gen->plan.set;
    if (o->event.token.level > set->tracking) o->event.token.level = (uint8_t)set->tracking;
    uint64_t ticket = w->eng->spool ? spool_push(w->eng->spool, w->index, &o->event) : 0;
    COUNT(w->count, events);
    if (!ticket) {
        COUNT(w->count, events_dropped);
        if (!o->wait) return true;
        rq->out.n = rq->out_hold; /* what must not be lost is refused instead: the mailbox provider tries again */
        respond_error(c, 503, false);
        return true;
    }
    w->pushed = true;
    if (!o->wait && !set->durable) return true;
    rq->ticket = ticket;
    rq->must_commit = o->wait;
    rq->commit_next = NULL;
    if (w->commit_last) w->commit_last->rq->commit_next = c;
    else w->commit_first = c;
    w->commit_last = c;
    c->state = CONN_COMMIT;
    return false;
}

static bool respond_tracker(struct conn *c, struct outcome *o) {
    c->rq->out_hold = (uint32_t)c->rq->out.n;
    write_outcome(c, o);
    return !o->has_event || record(c, o);
}

static bool respond_ops(struct conn *c) {
    struct buf body = {.max = 1 << 20};
    enum method m = c->rq->x.req.method;
    int status = m == M_GET || m == M_HEAD ? ops_answer(c->w->eng, &c->rq->x.req, &body) : 405;
    if (status == 404 || status == 405) respond_error(c, status, false);
    else
        write_plain(c, status,
                    slice_is(c->rq->x.req.path, "/metrics") ? "text/plain; version=0.0.4; charset=utf-8" : "text/plain; charset=utf-8",
                    body.p, body.n, c->rq->close_after);
    buf_free(&body);
    return true;
}

static bool respond_app(struct conn *c) {
    struct job *j = job_make(c->rq, c->w, c, c->listener->port);
    if (j && app_submit(c->w->eng->app, j)) {
        c->rq->job = j;
        c->state = CONN_APP;
        int64_t ms = c->gen->plan.set.handler_ms;
        conn_deadline(c, c->rq->service == SVC_TRANSFER && ms < TRANSFER_MS ? TRANSFER_MS : ms);
        return false;
    }
    job_free(j);
    COUNT(c->w->count, app_rejected);
    log_warn("app", "%s: the queue is full: 503", plan_service_name(c->rq->service));
    respond_error(c, 503, false);
    return true;
}

void respond_job(struct conn *c, struct job *j) {
    struct outcome o = {.status = j->status, .fields = &j->fields, .body = &j->reply};
    if (j->status) write_outcome(c, &o);
    else respond_error(c, 500, false);
}

static bool respond_as(struct conn *c, struct outcome *o) {
    struct request_state *rq = c->rq;
    if (!(o->service & rq->peer.services)) {
        respond_error(c, o->service ? 404 : o->status, false);
        return true;
    }
    rq->service = o->service;
    if (o->bad_token) COUNT(c->w->count, tokens_bad);
    if (o->answered) return respond_tracker(c, o);
    return o->service == SVC_OPS ? respond_ops(c) : respond_app(c);
}

bool respond(struct conn *c) {
    struct request_state *rq = c->rq;
    describe_peer(c);
    rq->service = 0;
    rq->status = 500;
    enum method m = rq->x.req.method;
    if (m == M_OTHER || m == M_CONNECT || m == M_TRACE) {
        respond_error(c, m == M_TRACE ? 405 : 501, false);
        return true;
    }
    struct buf fields = {.max = 65536}, body = {.max = 1 << 20};
    __attribute__((uninitialized)) struct outcome o;
    __attribute__((uninitialized)) struct err e; /* a kilobyte to zero at each request otherwise */
    o.fields = &fields;
    o.body = &body;
    bool done = hooks_serve(c->gen->hooks[c->w->index], &rq->x, &o, &e) ? respond_as(c, &o) : policy_failed(c, &e);
    if (fields.p) buf_free(&fields);
    if (body.p) buf_free(&body);
    return done;
}
