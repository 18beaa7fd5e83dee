#include "engine/app.h"
#include "engine/conn.h"
#include "engine/worker.h"
#include <stdio.h>
#include <stdlib.h>

static bool keep(struct job *j, const char *p, uint32_t n, uint32_t *at, uint32_t *len) {
    *at = (uint32_t)j->text.n;
    *len = n;
    return buf_add(&j->text, p ? p : "", n);
}

struct job *job_make(struct request_state *rq, struct worker *w, struct conn *c, uint16_t local_port) {
    static const char *const secure[] = {"none", "own", "external"};
    struct job *j = calloc(1, sizeof *j);
    if (!j) return NULL;
    const struct request *req = &rq->x.req;
    j->worker = w;
    j->conn = c;
    j->service = rq->service;
    j->local_port = local_port;
    j->secure = secure[rq->peer.secure];
    j->has_query = req->query.p != NULL;
    snprintf(j->listener, sizeof j->listener, "%s", rq->peer.listener);
    char ip[ADDR_TEXT], at[ADDR_TEXT];
    size_t ipn = addr_format_ip(&rq->peer.remote, ip), atn = addr_format_ip(&c->listener->plan->at, at);
    bool fine = keep(j, req->method_text.p, req->method_text.n, &j->method.at, &j->method.n) &&
                keep(j, req->path.p, req->path.n, &j->path.at, &j->path.n) &&
                keep(j, req->query.p, req->query.n, &j->query.at, &j->query.n) &&
                keep(j, req->host.p, req->host.n, &j->host.at, &j->host.n) && keep(j, req->body.p, req->body.n, &j->body.at, &j->body.n) &&
                keep(j, ip, (uint32_t)ipn, &j->address.at, &j->address.n) && keep(j, at, (uint32_t)atn, &j->socket.at, &j->socket.n);
    j->field = calloc(req->nfields ? req->nfields : 1, sizeof *j->field);
    j->letter = calloc(1, sizeof *j->letter);
    fine = fine && j->field && j->letter;
    for (uint16_t i = 0; fine && i < req->nfields; i++, j->nfields++) {
        const struct field *f = &req->field[i];
        fine = keep(j, f->name.p, f->name.n, &j->field[i].name_at, &j->field[i].name_n) &&
               keep(j, f->value.p, f->value.n, &j->field[i].value_at, &j->field[i].value_n);
    }
    if (fine) return j;
    job_free(j);
    return NULL;
}

void job_free(struct job *j) {
    if (!j) return;
    buf_free(&j->text);
    buf_free(&j->fields);
    buf_free(&j->reply);
    free(j->field);
    free(j->letter);
    free(j);
}
