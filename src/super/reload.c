/* One change of generation at a time: the planner reads everything, the sockets are bound beside the living ones, the engine prepares,
 * and only then it is committed. A failure at any step throws away what was new and nothing else. */
#include "base/clock.h"
#include "base/log.h"
#include "plan/plan_check.h"
#include "super/dirs.h"
#include "super/foreign.h"
#include "super/reload_i.h"
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OFFER_MS    60000
#define EDIT_LOGGED 3000 /* bytes of a request */
#define GONE_TRIES  5    /* how often the planner is asked again because an address that it saw has gone before it could be bound */
#define LEAVE_TRIES 40   /* how often, 50 ms apart, a start after a crash tries a port that the old engine may still be leaving */

void reload_ask(struct super *s, const struct waiter *w, bool force, const char *who) {
    struct reload *r = &s->reload;
    if (s->stopping || (w && r->nlater == WAITERS)) {
        if (w) reload_answer(s, w, false, s->stopping ? "portreeve is stopping\n" : "too many reloads are asked for at once\n");
        return;
    }
    if (w) r->later[r->nlater++] = *w;
    r->again = true;
    r->force |= force;
    log_info("reload", "asked for by %s%s", who, force ? ", whomever it shuts out" : "");
}

void reload_edit(struct super *s, struct edit *d) {
    struct reload *r = &s->reload;
    if (s->stopping || r->nedits == EDIT_QUEUE) {
        reload_answer_edit(s, d, false, s->stopping ? "portreeve is stopping\n" : "too many changes are asked for at once\n");
        return;
    }
    r->edits[r->nedits++] = d;
    struct buf what = {.max = EDIT_LOGGED};
    for (unsigned i = 0; i < d->n; i++)
        if (!buf_fmt(&what, "%s%s %s", i ? ", " : "", strcmp(d->arg[2 * i], "--edit") == 0 ? "set" : "remove", d->arg[2 * i + 1])) break;
    log_notice("edit", "%s by %s: %.*s", d->dry ? "rehearsed" : "asked for", d->who, (int)what.n, what.p ? what.p : "");
    buf_free(&what);
}

static void start_planner(struct super *s) {
    struct reload *r = &s->reload;
    struct err e;
    r->phase = RELOAD_PLANNING;
    follow_began(s);
    r->from_reserve = !r->follow && !r->edit && reserve_call(s);
    const struct planner_from from = {&s->program, s->engine_path, &s->user};
    int running = s->gen ? s->gen->bundle_fd : -1;
    bool started = r->follow ? planner_start_again(&r->planner, &from, running, &e)
                   : r->edit ? planner_start_edited(&r->planner, &from, &s->opt, running, r->edit->arg, &e)
                             : r->from_reserve || planner_start(&r->planner, &from, &s->opt, running, &e);
    if (!started) reload_failed(s, e.text);
    else if (s->gen && s->gen->plan.nsockets >= RESERVE_FROM) foreign_ahead(&(struct mine){.old = s->gen, .retired = &s->retired});
}

void reload_start_first(struct super *s) {
    s->reload.initial = true;
    start_planner(s);
}

/* The files first, as people asked before; an edit works on what is in force. */
static void begin_edit(struct super *s) {
    struct reload *r = &s->reload;
    r->edit = r->edits[0];
    memmove(r->edits, r->edits + 1, --r->nedits * sizeof *r->edits);
    if (!r->edit->dry) notify_reloading(&s->notify);
    start_planner(s);
}

static void begin(struct super *s) {
    struct reload *r = &s->reload;
    memcpy(r->now, r->later, r->nlater * sizeof *r->now);
    r->nnow = r->nlater;
    r->nlater = 0;
    r->again = false;
    r->forced = r->force;
    r->force = false;
    notify_reloading(&s->notify);
    start_planner(s);
}

/* The plan is the one in force: nobody need know. Where the last one was refused the reason has gone. */
static void nothing_new(struct super *s) {
    struct buf text = {0};
    if (s->follow.refused.n == 0) {
        reload_end(s, FOLLOW_DONE);
        return;
    }
    buf_clear(&s->follow.refused);
    if (!buf_fmt(&text, "the addresses of this machine are again as generation %" PRIu64 " wants them\n", s->gen->number)) buf_clear(&text);
    reload_finish(s, true, &text);
}

/* User of portreeve.ini. */
static bool find_user(const char *name, struct account *out, struct err *e) {
    struct err why;
    return account_find(name, out, &why) || err_set(e, "portreeve.ini: User=%s: %s", name, why.text);
}

/* portreeve.ini names a user and we are root without --user: from here on planner and engine are that user. */
static bool adopt_user(struct super *s, const char *name, struct err *e) {
    if (!find_user(name, &s->user, e)) return false;
    if (!dirs_prepare(s->opt.state, &s->user, e)) return false;
    caps_bound(true, false);
    return true;
}

static bool user_differs(const struct super *s, const char *said) {
    return said[0] && geteuid() == 0 && strcmp(said, s->user.name) != 0;
}

static bool bind_patiently(struct super *s, struct generation *g, struct err *e) {
    const struct timespec pause = {.tv_nsec = 50 * 1000000};
    for (int tries = s->reload.initial && s->unclean ? LEAVE_TRIES : 1;; tries--) {
        bool taken;
        if (generation_bind(g, s->gen, &s->adopted, &s->retired, &taken, e)) return true;
        if (!taken || tries <= 1) return false;
        nanosleep(&pause, NULL);
    }
}

/* The planner is content: decode, check and bind here. false with e. */
static bool take_plan(struct super *s, struct planner_result *p, struct err *e) {
    struct reload *r = &s->reload;
    struct generation *g = generation_create(p->bundle_fd, p->plan_fd, e);
    if (!g) return false;
    p->bundle_fd = p->plan_fd = -1;
    if (r->follow && plan_same(&s->gen->plan, &g->plan)) {
        generation_destroy(g);
        nothing_new(s);
        return true;
    }
    if (!bind_patiently(s, g, e)) {
        bool again = !r->edit && (!r->initial || s->adopted.n == 0) && r->gone_again < GONE_TRIES && generation_gone(g);
        generation_destroy(g);
        if (!again) return false;
        r->gone_again++;
        buf_clear(&r->text);
        start_planner(s);
        return true;
    }
    g->number = ++s->attempts;
    g->forced = r->follow || r->initial || (r->edit ? r->edit->force : r->forced);
    r->next = g;
    r->phase = RELOAD_OFFERING;
    r->deadline = clock_mono_ms() + OFFER_MS;
    if (r->initial) adopted_finish(&s->adopted);
    if (!s->dropped) {
        if (geteuid() == 0) caps_bound(s->user.name[0] != 0, !s->user.name[0]);
        caps_drop_self(geteuid() == 0 && s->user.name[0]);
        s->dropped = true;
    }
    return true;
}

static void unchanged(struct super *s) {
    struct buf text = {0};
    if (!buf_str(&text, "nothing to change:\n") || !buf_add(&text, s->reload.text.p, s->reload.text.n)) buf_clear(&text);
    reload_finish(s, true, &text);
}

void reload_planner_ended(struct super *s, int status) {
    struct reload *r = &s->reload;
    struct planner_result p;
    struct err e;
    planner_end(&r->planner, status, &p);
    if (r->phase != RELOAD_PLANNING || s->stopping) {
        planner_result_finish(&p);
        return;
    }
    if (r->from_reserve && WIFSIGNALED(status)) { /* ended while it waited, or for that: a fresh one decides */
        planner_result_finish(&p);
        start_planner(s);
        return;
    }
    bool differs = user_differs(s, p.user);
    if (differs && r->initial && !s->user.name[0]) { /* it ran as root: what counts is what that user can read */
        if (adopt_user(s, p.user, &e)) start_planner(s);
        else reload_failed(s, e.text);
        planner_result_finish(&p);
        return;
    }
    bool good = p.ok && buf_add(&r->text, p.text.p, p.text.n);
    struct account next;
    bool told = !s->opt.user && !r->follow; /* following addresses needs no accounts, and must not wait for whoever keeps them */
    if (good && differs && told && !find_user(p.user, &next, &e)) { /* the next start would be refused, at night */
        reload_failed(s, e.text);
        planner_result_finish(&p);
        return;
    }
    if (good && differs) {
        good = buf_fmt(&r->text, "warning: portreeve.ini: User: %s: planner and engine run as %s until portreeve is started anew\n", p.user,
                       s->user.name[0] ? s->user.name : "root");
    }
    r->refused = !p.ok;
    if (!p.ok) reload_failed(s, p.text.n ? p.text.p : "out of memory");
    else if (!good) reload_failed(s, "out of memory");
    else if (r->edit && !edit_stage(r->edit, &s->opt, &s->user, p.bundle_fd, s->gen->bundle_fd, &e)) reload_failed(s, e.text);
    else if (r->edit && r->edit->same) unchanged(s);
    else if (!take_plan(s, &p, &e)) reload_failed(s, e.text);
    planner_result_finish(&p);
}

static void offer_beside(struct super *s) {
    struct engine *en = &s->engine[s->live];
    if (en->phase != ENGINE_LIVE) return;
    s->reload.phase = RELOAD_OFFERED;
    engine_offer(s, en, s->reload.next);
}

/* No engine serves: one is started with the new generation instead of the old. */
static void offer_alone(struct super *s) {
    for (unsigned i = 0; i < 2; i++) {
        if (s->engine[i].phase != ENGINE_NONE && s->engine[i].phase != ENGINE_DRAINING) return; /* it comes up with the old one first */
    }
    struct err e;
    unsigned slot = s->engine[0].phase == ENGINE_NONE ? 0 : 1;
    if (s->engine[slot].phase != ENGINE_NONE) return;
    s->restart_at = NEVER;
    s->reload.phase = RELOAD_OFFERED;
    if (engine_start(s, slot, s->reload.next, &e)) return;
    if (s->gen) s->restart_at = clock_mono_ms();
    reload_failed(s, e.text);
}

void reload_continue(struct super *s) {
    struct reload *r = &s->reload;
    if (s->stopping || s->done) return;
    if (r->phase == RELOAD_OFFERING && r->edit && r->edit->dry) rehearse_ask(s);
    else if (r->phase == RELOAD_OFFERING && s->live >= 0) offer_beside(s);
    else if (r->phase == RELOAD_OFFERING) offer_alone(s);
    if (r->phase == RELOAD_IDLE && s->gen && s->replacing < 0) {
        if (s->replace_wanted) replace_ask(s);
        else if (r->again) begin(s);
        else if (r->nedits) begin_edit(s);
        else if (s->follow.wanted) {
            r->follow = true;
            start_planner(s);
        }
    }
    if ((r->phase == RELOAD_IDLE || r->phase == RELOAD_SETTLING) && !r->again && s->gen) reserve_keep(s);
}

bool reload_may_commit(const struct super *s, const struct generation *g, struct err *e) {
    const struct reload *r = &s->reload;
    if (r->edit && r->edit->dry && g == r->next) return err_set(e, "this was a rehearsal");
    return !r->edit || g != r->next || edit_still(r->edit, s->gen->bundle_fd, e);
}

/* The engine closes retired sockets, and whoever asked is answered, when nobody is on his way to one any more. */
static void settled(struct super *s, int64_t now) {
    struct reload *r = &s->reload;
    if (r->phase != RELOAD_SETTLING || (s->live >= 0 && !settle_over(&r->settle, now))) return;
    struct buf text = r->result;
    r->result = (struct buf){0};
    settle_finish(&r->settle);
    reload_finish(s, true, &text);
}

int64_t reload_deadline(const struct super *s) {
    const struct reload *r = &s->reload;
    return r->phase == RELOAD_OFFERING ? r->deadline : r->phase == RELOAD_SETTLING ? r->settle.next : NEVER;
}

void reload_done(struct super *s) {
    struct reload *r = &s->reload;
    struct generation *old = s->gen, *now = r->next;
    struct buf text = {0};
    bool good =
        buf_fmt(&text, "generation %" PRIu64 " is live: ", now->number) && generation_changes(now, old, &text) && follow_result(s, &text);
    struct err e;
    if (r->edit && !edit_write(r->edit, old->bundle_fd, &e)) good = good && buf_fmt(&text, "warning: %s\n", e.text);
    if (!good) buf_clear(&text);
    if (old) prove_inherit(now, old);
    generation_commit(now);
    s->gen = now;
    r->next = NULL;
    shutdown_generation(s);
    for (unsigned i = 0; i < 2; i++) {
        if (s->engine[i].offer == old) s->engine[i].offer = NULL;
    }
    if (old) {
        settle_begin(&r->settle, old, now, clock_mono_ms());
        generation_retire(old, now, &s->retired);
    }
    generation_destroy(old);
    atomic_store(&s->counters->super.generation, (int64_t)now->number);
    remember_generation(s, now);
    log_setup(STDERR_FILENO, now->plan.set.log_json != 0, super_log_level());
    if (r->initial) reload_print_plan(s);
    else if (!r->follow) atomic_fetch_add(&s->counters->super.reloads_ok, 1);
    r->result = text;
    r->phase = RELOAD_SETTLING;
    settled(s, clock_mono_ms());
}

void reload_tick(struct super *s, int64_t now) {
    struct reload *r = &s->reload;
    planner_tick(&r->planner, now);
    settled(s, now);
    if (r->phase == RELOAD_OFFERING && now >= r->deadline) reload_failed(s, "there was no engine to take the new generation within 60 s");
}

void reload_cancel(struct super *s) {
    struct reload *r = &s->reload;
    r->settle.until = r->settle.next = 0; /* a change that is made is told as made */
    settled(s, clock_mono_ms());
    planner_kill(&r->planner);
    planner_kill(&s->reserve);
    for (unsigned i = 0; i < r->nnow; i++) reload_answer(s, &r->now[i], false, "portreeve is stopping\n");
    for (unsigned i = 0; i < r->nlater; i++) reload_answer(s, &r->later[i], false, "portreeve is stopping\n");
    r->nnow = r->nlater = 0;
    if (r->edit) reload_answer_edit(s, r->edit, false, "portreeve is stopping\n");
    for (unsigned i = 0; i < r->nedits; i++) reload_answer_edit(s, r->edits[i], false, "portreeve is stopping\n");
    r->edit = NULL;
    r->nedits = 0;
    r->again = false;
    r->phase = RELOAD_IDLE;
    r->follow = false;
    reload_drop(s);
}
