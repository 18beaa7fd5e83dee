/* The prober's targets: what each socket promises, what was found, what others are told of it. */
#include "base/clock.h"
#include "base/fdlink.h"
#include "base/log.h"
#include "engine/probe_i.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST_MS 1000u
#define BACKOFF_MOST_MS  60000u
#define SURE_MS          500 /* a stranger must be seen twice: during a change of generation our own new sockets look like one */
#define SEND_MS          3000

/* ---- results ---- */

static uint32_t longer(uint32_t ms) {
    return ms == 0 ? BACKOFF_FIRST_MS : ms > BACKOFF_MOST_MS / 2 ? BACKOFF_MOST_MS : ms * 2;
}

/* What others are told of a target: its last answer, unless somebody shares its place (who may be the one that answered). */
static void judge(const struct target *t, struct proof *out) {
    *out = t->answer;
    if (!t->sharer || (t->answer.state != PROOF_PROVED && t->answer.state != PROOF_FAILED)) return;
    out->state = t->shared ? PROOF_FAILED : PROOF_PROBING;
    out->us = 0;
    out->text[0] = '\0';
    if (t->shared)
        snprintf(out->text, sizeof out->text,
                 "another process (of uid %u) listens there too and gets a share of the callers: `ss -ltnp sport = :%u` names it",
                 t->sharer_uid, t->at.port);
}

static void say_change(const struct target *t, enum proof_state was) {
    char at[ADDR_TEXT];
    addr_format(&t->at, at);
    const char *scheme = plan_scheme_text(t->plan);
    if (t->shown.state == PROOF_FAILED)
        log_warn("probe", "%s %s (listener %s) is not proved: %s", scheme, at, t->plan->name, t->shown.text);
    if (t->shown.state == PROOF_PROVED && was == PROOF_FAILED)
        log_notice("probe", "%s %s (listener %s) is proved now", scheme, at, t->plan->name);
}

static void show(struct probe *p, struct target *t) {
    struct proof now, was = t->shown;
    judge(t, &now);
    bool same_text = strcmp(now.text, was.text) == 0;
    if (now.state == was.state && same_text && now.state != PROOF_PROVED) return;
    pthread_mutex_lock(&p->lock);
    p->probing += (unsigned)(now.state == PROOF_PROBING) - (unsigned)(was.state == PROOF_PROBING);
    p->failed += (unsigned)(now.state == PROOF_FAILED) - (unsigned)(was.state == PROOF_FAILED);
    t->shown = now;
    pthread_mutex_unlock(&p->lock);
    t->news = p->news = true;
    if (now.state != was.state || !same_text) say_change(t, was.state);
}

void probe_answer(struct probe *p, struct target *t, enum proof_state state, uint32_t us, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->answer.text, sizeof t->answer.text, fmt, ap);
    va_end(ap);
    t->answer.state = state;
    t->answer.us = us;
    t->answer.at_ms = clock_real_ms();
    p->unanswered -= t->fresh;
    t->fresh = false;
    t->backoff_ms = state == PROOF_PROVED ? 0 : longer(t->backoff_ms);
    t->due = t->backoff_ms ? clock_mono_ms() + t->backoff_ms : NEVER;
    if (t->due < p->next_due) p->next_due = t->due;
    show(p, t);
}

/* Was a change of generation committed meanwhile? Then the supervisor may have dropped what was said of the old one: it is said again. */
static void repeat_late(struct probe *p) {
    pthread_mutex_lock(&p->lock);
    bool late = p->coming != NULL;
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n; i++) {
        p->target[i].news |= p->target[i].sent && late;
        p->target[i].sent = false;
    }
    p->news |= late;
}

/* What is new goes to the supervisor, which shows it in its status; not for each socket by itself, and not before it has said that this generation
 * is the living one. */
void probe_tell(struct probe *p) {
    if (!p->news || !p->begun || (p->probing && clock_mono_ms() - p->told_ms < PROBE_TELL_MS)) return;
    struct buf b = {.max = FDLINK_DATA};
    struct err e;
    p->news = false;
    p->told_ms = clock_mono_ms();
    for (uint32_t i = 0; i <= p->n; i++) {
        bool last = i == p->n;
        if (b.n && (last || b.n + PROOF_TEXT + 64 > FDLINK_DATA)) {
            if (!fdlink_send(p->eng->wire, WIRE_PROOFS, b.p, b.n, NULL, 0, SEND_MS, &e))
                log_warn("probe", "the supervisor cannot be told: %s", e.text);
            buf_clear(&b);
        }
        if (last || !p->target[i].news) continue;
        p->target[i].news = false;
        p->target[i].sent = true;
        if (!b.n) buf_fmt(&b, "generation %llu\n\n", (unsigned long long)p->gen->id);
        proof_put(&b, i, &p->target[i].shown);
    }
    buf_free(&b);
    repeat_late(p);
}

void probe_end_round(struct probe *p) {
    if (!p->counting || p->unanswered || p->probing) return;
    p->counting = false;
    pthread_mutex_lock(&p->lock);
    p->answered = p->taken;
    pthread_cond_broadcast(&p->round);
    pthread_mutex_unlock(&p->lock);
    uint32_t proved = 0, ours = 0, waiting = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        proved += p->target[i].shown.state == PROOF_PROVED;
        waiting += p->target[i].shown.state == PROOF_WAITING;
        ours += p->target[i].shown.state != PROOF_NONE;
    }
    char wait[64] = "";
    if (waiting) snprintf(wait, sizeof wait, ", %u waiting for %s", waiting, waiting == 1 ? "its address" : "their addresses");
    log_say(p->failed ? LOG_LVL_WARN : LOG_LVL_INFO, "probe", "generation %llu: %u of %u sockets proved within %lld ms%s%s",
            (unsigned long long)p->gen->id, proved, ours - waiting, (long long)(clock_mono_ms() - p->round_ms), wait,
            p->failed ? ", not all: see `portreeve status`" : "");
}

/* ---- a new generation ---- */

static int by_inode(const void *a, const void *b) {
    const struct target *x = *(struct target *const *)a, *y = *(struct target *const *)b;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static bool same_promise(const struct target *a, const struct target *b) {
    return a->at.port == b->at.port && addr_same_ip(&a->at, &b->at) && a->tls == b->tls &&
           memcmp(&a->print, &b->print, sizeof a->print) == 0;
}

/* What was found out of a socket stays true while it is the same socket and promises the same. */
static void inherit(struct probe *p, struct target *t, uint32_t n) {
    struct target **old = calloc(p->n ? p->n : 1, sizeof(struct target *));
    if (!old) return; /* then all are asked again */
    for (uint32_t i = 0; i < p->n; i++) old[i] = &p->target[i];
    qsort(old, p->n, sizeof(struct target *), by_inode);
    for (uint32_t i = 0; i < n; i++) {
        struct target *key = &t[i], **was = bsearch(&key, old, p->n, sizeof(struct target *), by_inode);
        if (!was || !t[i].inode) continue;
        t[i].news = true;
        if (!same_promise(*was, &t[i]) || (*was)->answer.state != PROOF_PROVED) continue;
        t[i].news = (*was)->news; /* the supervisor takes over what it was told */
        t[i].answer = (*was)->answer;
        t[i].sharer = (*was)->sharer;
        t[i].sharer_uid = (*was)->sharer_uid;
        t[i].shared = (*was)->shared;
        judge(&t[i], &t[i].shown);
        t[i].due = NEVER;
    }
    free(old);
}

/* The names of each certificate are asked for on the first socket that has it. */
static const char *names_for(const struct generation *g, uint32_t i) {
    const struct plan_socket *s = g->listener[i].plan;
    for (uint32_t k = 0; k < i; k++)
        if (g->listener[k].plan->scheme == SCHEME_HTTPS && g->listener[k].inode &&
            strcmp(g->listener[k].plan->certificate, s->certificate) == 0)
            return "";
    for (uint32_t k = 0; k < g->plan.ncerts; k++)
        if (strcmp(g->plan.cert[k].name, s->certificate) == 0 && g->plan.cert[k].names[0]) return g->plan.cert[k].names;
    return tls_certs_names(g->certs, s->certificate);
}

static void describe(const struct generation *g, uint32_t i, struct target *t) {
    const struct gen_listener *l = &g->listener[i];
    *t = (struct target){.plan = l->plan, .at = l->plan->at, .inode = l->inode, .tls = l->plan->scheme == SCHEME_HTTPS, .names = ""};
    t->at.port = l->port;
    if (!l->inode) {
        t->answer.state = l->plan->waiting ? PROOF_WAITING : PROOF_NONE;
        if (l->plan->waiting) plan_state_text(l->plan, true, t->answer.text);
        else snprintf(t->answer.text, sizeof t->answer.text, "held by the supervisor itself");
        t->due = NEVER;
    } else if (t->tls) {
        if (!tls_certs_print(g->certs, l->plan->certificate, &t->print))
            log_warn("probe", "certificate %s cannot be read", l->plan->certificate);
        t->names = names_for(g, i);
    }
    t->shown = t->answer;
    t->news = t->shown.state != PROOF_PROBING; /* which is what the supervisor thinks of every new socket */
}

void probe_adopt(struct probe *p, struct generation *g) {
    uint32_t n = g->plan.nsockets;
    struct target *t = calloc(n ? n : 1, sizeof *t), *old = p->target;
    struct generation *before = p->gen;
    for (unsigned i = 0; i < PROBE_SLOTS; i++) probe_hang_up(p, &p->slot[i]);
    bool fine = t && probe_own(p, g);
    if (!fine) log_error("probe", "out of memory: generation %llu is not proved", (unsigned long long)g->id);
    for (uint32_t i = 0; fine && i < n; i++) describe(g, i, &t[i]);
    if (fine) inherit(p, t, n);
    uint32_t probing = 0, failed = 0;
    for (uint32_t i = 0; fine && i < n; i++) {
        probing += t[i].shown.state == PROOF_PROBING;
        failed += t[i].shown.state == PROOF_FAILED;
    }
    if (!fine) free(t);
    pthread_mutex_lock(&p->lock);
    p->gen = g;
    p->target = fine ? t : NULL;
    p->n = fine ? n : 0;
    p->probing = fine ? probing : 1; /* never ready */
    p->failed = failed;
    p->adopting = false;
    pthread_mutex_unlock(&p->lock);
    free(old);
    generation_unref(before);
    p->begun = p->counting = false;
    p->unanswered = 0;
    p->news = fine;
    p->cursor = 0;
}

void probe_look_around(struct probe *p, int64_t now) {
    if (now < p->look_ms) return;
    bool unsure = false, any = false;
    if (!probe_sharers(p)) log_debug("probe", "the kernel does not tell who listens");
    for (uint32_t i = 0; i < p->n; i++) {
        struct target *t = &p->target[i];
        bool again = t->seen && t->seen == t->sharer;
        if (!t->seen && !t->sharer) continue;
        t->sharer = t->seen;
        t->shared = again;
        any |= t->seen != 0;
        unsure |= t->seen && !again;
        show(p, t);
    }
    p->look_backoff_ms = !any || unsure ? 0 : longer(p->look_backoff_ms);
    p->look_ms = !any ? NEVER : now + (unsure ? SURE_MS : p->look_backoff_ms);
}
