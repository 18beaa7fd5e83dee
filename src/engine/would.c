#include "engine/would.h"
#include "base/clock.h"
#include "engine/banning.h"
#include "gate/hash.h"
#include "gate/record.h"
#include "gate/rule_counts.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct place {
    struct addr caller, local; /* local.family 0 = not said */
    uint32_t socket, several;  /* the one that fits best; how many fit as well */
};

struct asking {
    const struct would_world *w;
    const struct question *q;
    struct buf *out;
    struct facts f;
    struct tls_hello hello;
    struct tls_identity identity;
    struct exchange x;
    struct peer peer;
    struct tags tags;
    struct place place;
    uint32_t only, delay_ms;
    unsigned rules; /* told at this stage */
};

static bool text(struct buf *b, const char *key, const char *value) {
    return !*value || buf_member(b, key, value);
}

static uint16_t port_of(const struct would_world *w, uint32_t i) {
    return w->port && w->port[i] ? w->port[i] : w->plan->socket[i].at.port;
}

/* How well: 0 = he cannot come here, else more is better. One of his family, one that speaks TLS where a name is asked for, one that is bound
 * rather than one that waits. */
static unsigned socket_fits(const struct would_world *w, const struct question *q, const struct place *p, uint32_t i) {
    const struct plan_socket *s = &w->plan->socket[i];
    bool here = p->local.family && addr_same_ip(&s->at, &p->local);
    if (strcmp(s->name, q->listener) != 0 || s->services & SVC_SHUTDOWN || (q->port && port_of(w, i) != q->port)) return 0;
    if (p->local.family && !here && (!addr_is_any(&s->at) || s->at.family != p->local.family)) return 0;
    return 1u + (here ? 8u : 0) + (s->at.family == p->caller.family ? 4u : 0) + (q->sni && s->scheme == SCHEME_HTTPS ? 2u : 0) +
           !s->waiting;
}

static bool find_socket(const struct would_world *w, const struct question *q, struct place *p, struct err *e) {
    unsigned best = 0;
    bool named = false;
    for (uint32_t i = 0; i < w->plan->nsockets; i++) {
        unsigned fits = socket_fits(w, q, p, i);
        named |= strcmp(w->plan->socket[i].name, q->listener) == 0;
        if (fits == 0 || fits < best) continue;
        p->several = fits > best ? 1 : p->several + 1;
        if (fits > best) p->socket = i;
        best = fits;
    }
    if (best) return true;
    if (named && q->local)
        return err_set(e, "listener %.60s has no socket for %.60s%s", q->listener, q->local, q->port ? " on this port" : "");
    if (named) return err_set(e, "listener %.60s has no socket on port %u", q->listener, q->port);
    return err_set(e, "there is no listener '%.60s': `portreeve status` shows all", q->listener);
}

static bool read_place(const struct question *q, struct place *p, struct err *e) {
    *p = (struct place){.several = 0};
    return addr_parse_ip(q->address, strlen(q->address), &p->caller, e) &&
           (!q->local || addr_parse_ip(q->local, strlen(q->local), &p->local, e));
}

/* ---- facts ---- */

static void put(char *out, size_t cap, const char *s) {
    snprintf(out, cap, "%s", s ? s : "");
}

static void set_request(struct asking *a) {
    const struct question *q = a->q;
    struct request *r = &a->x.req;
    const char *method = q->method ? q->method : "GET", *path = q->path ? q->path : "/", *mark = strchr(path, '?');
    r->method_text = (struct slice){method, (uint32_t)strlen(method)};
    r->method = strcasecmp(method, "GET") == 0    ? M_GET
                : strcasecmp(method, "HEAD") == 0 ? M_HEAD
                : strcasecmp(method, "POST") == 0 ? M_POST
                                                  : M_OTHER;
    r->target = (struct slice){path, (uint32_t)strlen(path)};
    r->path = (struct slice){path, mark ? (uint32_t)(mark - path) : (uint32_t)strlen(path)};
    if (mark) r->query = (struct slice){mark + 1, (uint32_t)strlen(mark + 1)};
    if (q->host) r->host = (struct slice){q->host, (uint32_t)strlen(q->host)};
    r->minor = 1;
    r->keep_alive = true;
    r->content_length = -1;
    a->peer = (struct peer){.remote = a->f.remote,
                            .fd = -1,
                            .listener = a->f.listener->name,
                            .services = a->f.listener->services,
                            .sni = a->hello.sni,
                            .tls = a->identity.version,
                            .identity = a->identity.verified ? &a->identity : NULL};
    a->x.peer = &a->peer;
    a->x.at_ms = a->f.real_ms;
}

static void set_counts(struct asking *a, uint16_t id) {
    struct engine *eng = a->w->eng;
    struct facts *f = &a->f;
    struct ticket none = {0};
    f->listener_id = id;
    f->counters = eng->counters;
    f->holder = eng->holder;
    f->listener_key = hash_text(eng->counters->hash_key, f->listener->name);
    f->bans = a->w->bans;
    f->mono_ms = clock_mono_ms();
    ticket_look(&none, eng->counters, eng->live, id, &f->remote, plan_bits(f->listener, f->remote.family, false), &f->counts);
}

static void set_facts(struct asking *a) {
    const struct question *q = a->q;
    const struct would_world *w = a->w;
    uint32_t socket = a->place.socket;
    struct facts *f = &a->f;
    *f = (struct facts){.fd = -1,
                        .remote = a->place.caller,
                        .listener = &w->plan->socket[socket],
                        .local_port = port_of(w, socket),
                        .lists = w->lists,
                        .tags = &a->tags,
                        .counts = {1, 1},
                        .real_ms = q->at_ms ? q->at_ms : clock_real_ms()};
    if (w->eng) set_counts(a, w->id[socket]);
    put(a->hello.sni, sizeof a->hello.sni, q->sni);
    put(a->hello.alpn, sizeof a->hello.alpn, q->alpn);
    put(a->hello.ja4, sizeof a->hello.ja4, q->ja4);
    put(a->identity.version, sizeof a->identity.version, "TLSv1.3");
    put(a->identity.cipher, sizeof a->identity.cipher, "TLS_AES_256_GCM_SHA384");
    if (q->certificate && f->listener->client != CLIENT_OFF && !f->listener->proxy_inside) {
        a->identity.shown = a->identity.verified = true;
        put(a->identity.subject, sizeof a->identity.subject, q->certificate);
        put(a->identity.issuer, sizeof a->identity.issuer, q->certificate_issuer);
        put(a->identity.names, sizeof a->identity.names, q->certificate_names);
    }
    set_request(a);
}

/* ---- what the rules say ---- */

static void tell_changes(struct asking *a, const struct traced *t) {
    char services[128];
    for (uint32_t i = t->before->tags.n; i < t->after->tags.n; i++) text(a->out, "tag", t->after->tags.name[i]);
    if (t->after->delay_ms != t->before->delay_ms) buf_fmt(a->out, ",\"delay_ms\":%" PRIu32, t->after->delay_ms - t->before->delay_ms);
    if (t->after->only == t->before->only) return;
    plan_services_text(t->after->only & a->f.listener->services, services, sizeof services);
    buf_fmt(a->out, ",\"only\":\"%s\"", services);
}

static void tell(void *ctx, const struct traced *t) {
    static const char *const said[] = {"nothing", "allow", "refuse", "failed"};
    struct asking *a = ctx;
    char place[PLAN_PATH + 16];
    snprintf(place, sizeof place, "%s:%" PRIu32, t->rule->file, t->rule->line);
    buf_fmt(a->out, "%s\n   {\"rule\":\"%s\",\"lua\":%s,\"says\":\"%s\"", a->rules++ ? "," : "", t->rule->op->name,
            t->rule->lua ? "true" : "false", t->concerned ? said[t->said] : "not concerned");
    text(a->out, "policy", t->rule->line ? place : t->rule->file);
    text(a->out, "about", t->rule->list);
    if (t->said == TRACED_REFUSE || t->said == TRACED_FAILED) text(a->out, "because", t->after->because);
    tell_changes(a, t);
    buf_str(a->out, "}");
}

/* One stage. Returns whether the caller is still in. */
static bool ask_stage(struct asking *a, enum stage s, struct verdict *v) {
    struct err e;
    a->f.stage = s;
    a->f.hello = s >= STAGE_HELLO && a->f.listener->scheme == SCHEME_HTTPS ? &a->hello : NULL;
    a->f.identity = s >= STAGE_IDENTITY && a->f.listener->scheme == SCHEME_HTTPS ? &a->identity : NULL;
    a->f.request = s == STAGE_REQUEST ? &a->x : NULL;
    a->rules = 0;
    buf_fmt(a->out, "%s\n  {\"stage\":\"%s\",\"rules\":[", s == STAGE_PEER ? "" : ",", stage_name(s));
    (void)hooks_trace(a->w->hooks, &a->f, v, tell, a, &e);
    buf_str(a->out, "]}");
    for (uint32_t i = 0; i < v->tags.n; i++) (void)tags_add(&a->tags, v->tags.name[i]);
    a->only &= v->only;
    a->delay_ms += v->delay_ms;
    return v->kind == VERDICT_ALLOW;
}

/* With Require the handshake of who shows none ends before any rule is asked. */
static bool none_shown(struct asking *a, enum stage s, struct verdict *v) {
    const struct plan_socket *l = a->f.listener;
    if (s != STAGE_IDENTITY || l->client != CLIENT_REQUIRE || l->proxy_inside || a->identity.shown) return false;
    a->f.stage = s;
    verdict_clear(v, s);
    v->kind = VERDICT_REFUSE;
    v->refusal = REFUSE_CERTIFICATE;
    v->limit = LIMIT_CLIENT;
    snprintf(v->because, sizeof v->because, "ClientCertificate=Require of listener %s: no certificate is said to be shown", l->name);
    buf_fmt(a->out, ",\n  {\"stage\":\"%s\",\"rules\":[]}", stage_name(s));
    return true;
}

static bool stage_comes(const struct asking *a, enum stage s) {
    const struct question *q = a->q;
    if (s == STAGE_HELLO || s == STAGE_IDENTITY) return a->f.listener->scheme == SCHEME_HTTPS;
    return s == STAGE_PEER || q->path || q->method || q->host;
}

/* ---- the answer ---- */

static bool put_decision(struct asking *a, const struct verdict *v) {
    struct record_texts t;
    struct decision d;
    record_make(&a->f, v, a->w->generation, &t, &d);
    return buf_str(a->out, ",\n \"decision\":") && decision_json(&d, 0, a->out);
}

static bool put_rates(struct asking *a) {
    struct rate_left r[RATES_AT_ONCE];
    unsigned told = 0;
    buf_str(a->out, ",\"rates\":[");
    for (unsigned kind = 0; kind < RATE_KINDS; kind++) {
        unsigned n = facts_rates_left(&a->f, (enum rate_kind)kind, r);
        for (unsigned i = 0; i < n; i++) {
            const struct plan_rate *rate = &a->f.listener->rate[r[i].limit - LIMIT_RATES];
            buf_fmt(a->out, "%s{\"entry\":\"%s\",\"n\":%" PRIu32 ",\"ms\":%" PRIu32 ",\"left\":%" PRIu32 "}", told++ ? "," : "",
                    plan_limit_name(r[i].limit), rate->n, rate->ms, r[i].left);
        }
    }
    return buf_str(a->out, "]");
}

static bool put_left(struct asking *a) {
    const struct plan_socket *s = a->f.listener;
    const struct ticket_counts *c = &a->f.counts;
    buf_fmt(a->out, ",\n \"left\":{\"active\":%" PRIu32 ",\"active_from_address\":%" PRIu32, c->active - 1,
            c->from_address == UINT32_MAX ? c->from_address : c->from_address - 1);
    if (s->max_connections)
        buf_fmt(a->out, ",\"maximum\":%" PRIu32 ",\"places\":%" PRIu32, s->max_connections,
                c->active <= s->max_connections ? s->max_connections - c->active + 1 : 0);
    if (s->max_per_address)
        buf_fmt(a->out, ",\"per_address\":%" PRIu32 ",\"places_of_address\":%" PRIu32, s->max_per_address,
                c->from_address <= s->max_per_address ? s->max_per_address - c->from_address + 1 : 0);
    if (s->reserve) buf_fmt(a->out, ",\"reserve\":%" PRIu32, s->reserve);
    return put_rates(a) && buf_str(a->out, "}");
}

static bool put_outcome(struct asking *a, const struct verdict *v) {
    char services[128], at[ADDR_TEXT];
    plan_at_text(a->f.listener, a->f.local_port, at);
    plan_services_text(a->only & a->f.listener->services, services, sizeof services);
    buf_fmt(a->out,
            ",\n \"in\":%s,\"generation\":%" PRIu64 ",\"socket\":\"%s\",\"sockets\":%" PRIu32 ",\"services\":\"%s\",\"delay_ms\":%" PRIu32,
            v->kind == VERDICT_ALLOW ? "true" : "false", a->w->generation, at, a->place.several, services, a->delay_ms);
    return put_decision(a, v) && put_left(a) && buf_str(a->out, "}");
}

bool would_answer(const struct would_world *w, const struct question *q, struct buf *out, struct err *e) {
    struct verdict v;
    struct asking *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, "out of memory");
    *a = (struct asking){.w = w, .q = q, .out = out, .only = UINT32_MAX};
    bool good = read_place(q, &a->place, e) && find_socket(w, q, &a->place, e);
    if (good) {
        bool in = true;
        set_facts(a);
        buf_str(out, "{\"stages\":[");
        for (enum stage s = STAGE_PEER; s < STAGES && in; s++)
            if (stage_comes(a, s)) in = !none_shown(a, s, &v) && ask_stage(a, s, &v);
        good = (buf_str(out, "]") && put_outcome(a, &v)) || err_set(e, "out of memory");
    }
    free(a);
    return good;
}

/* ---- the generation in force ---- */

static bool ask_generation(struct engine *eng, const struct generation *g, const struct question *q, struct buf *out, struct err *e) {
    uint32_t n = g->plan.nsockets ? g->plan.nsockets : 1;
    uint16_t *port = calloc(n, sizeof *port), *id = calloc(n, sizeof *id);
    struct policy_health health = {.suspended = health_suspended(&g->health)};
    struct hooks_config cfg = {
        .bundle = g->bundle, .plan = &g->plan, .lists = &g->lists, .ring = g->ring, .luadir = eng->luadir, .health = &health};
    struct would_world w = {
        .plan = &g->plan, .port = port, .id = id, .lists = &g->lists, .eng = eng, .bans = banning_current(eng), .generation = g->id};
    bool good = (port && id) || err_set(e, "out of memory");
    for (uint32_t i = 0; good && i < g->plan.nsockets; i++) {
        port[i] = g->listener[i].port;
        id[i] = g->listener[i].id;
    }
    good = good && (w.hooks = hooks_create(&cfg, e)) && would_answer(&w, q, out, e);
    hooks_destroy(w.hooks);
    ban_set_unref(w.bans);
    free(port);
    free(id);
    return good;
}

bool would_running(struct engine *eng, const struct question *q, struct buf *out, struct err *e) {
    struct generation *g = engine_current(eng);
    if (!g) return err_set(e, "no generation is in force yet");
    bool good = ask_generation(eng, g, q, out, e);
    generation_unref(g);
    return good;
}
