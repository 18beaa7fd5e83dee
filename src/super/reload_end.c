/* How a change of generation ends: who is told, what is kept of it for `status`, and what a refusal says. */
#include "base/clock.h"
#include "base/log.h"
#include "super/reload_i.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void reload_answer(struct super *s, const struct waiter *w, bool ok, const char *text) {
    if (w->engine) engine_answer(s, w, ok, text);
    else control_answer(s, w->id, ok, text);
}

void reload_answer_edit(struct super *s, struct edit *d, bool ok, const char *words) {
    struct waiter w = {.engine = true, .pid = d->pid, .id = d->id};
    reload_answer(s, &w, ok, words);
    edit_destroy(d);
}

/* What came of it stands in `status` until the next one. Takes the text. */
static void record(struct super *s, bool ok, struct buf *text) {
    struct reload *r = &s->reload;
    buf_free(&r->last.text);
    r->last.any = true;
    r->last.ok = ok;
    r->last.at_ms = clock_real_ms();
    r->last.generation = s->gen ? s->gen->number : 0;
    r->last.text = *text;
    *text = (struct buf){0};
    if (s->live >= 0) engine_tell_last(s, &s->engine[s->live]);
}

void reload_end(struct super *s, enum follow_end end) {
    s->reload.phase = RELOAD_IDLE;
    s->reload.refused = false;
    s->reload.gone_again = 0;
    buf_free(&s->reload.text);
    prove_ask(s);
    follow_ended(s, end);
}

void reload_finish(struct super *s, bool ok, struct buf *text) {
    struct reload *r = &s->reload;
    if (!buf_add(text, "", 1)) buf_clear(text);
    else text->n--;
    const char *words = text->n ? text->p : "out of memory\n";
    bool came_to_nothing = r->edit && (!ok || r->edit->dry || r->edit->same); /* files and generation are as they were */
    reload_log(ok ? LOG_LVL_NOTICE : LOG_LVL_ERROR, words);
    for (unsigned i = 0; i < r->nnow; i++) reload_answer(s, &r->now[i], ok, words);
    r->nnow = 0;
    if (r->edit) reload_answer_edit(s, r->edit, ok, words);
    r->edit = NULL;
    if (!came_to_nothing) record(s, ok, text);
    buf_free(text);
    r->initial = false;
    reload_end(s, came_to_nothing ? FOLLOW_REFUSED : ok ? FOLLOW_DONE : r->refused ? FOLLOW_REFUSED : FOLLOW_MAY_PASS);
    if (s->gen)
        notify_say(&s->notify, "READY=1\nSTATUS=generation %" PRIu64 "%s", s->gen->number, ok ? "" : "; the last reload was refused");
}

void reload_drop(struct super *s) {
    for (unsigned i = 0; i < 2; i++) {
        if (s->reload.next && s->engine[i].offer == s->reload.next) s->engine[i].offer = NULL;
    }
    generation_destroy(s->reload.next);
    s->reload.next = NULL;
}

void reload_failed(struct super *s, const char *why) {
    struct reload *r = &s->reload;
    struct buf text = {0};
    size_t n = strlen(why);
    char news[512] = "";
    if (r->follow) {
        reload_drop(s);
        if (follow_refused_before(s, why)) {
            reload_end(s, r->refused ? FOLLOW_REFUSED : FOLLOW_MAY_PASS);
            return;
        }
        follow_news(s, news, sizeof news);
    }
    bool good = (!r->follow || buf_fmt(&text, "the addresses of this machine have changed (%s), which cannot be followed:\n", news)) &&
                buf_fmt(&text, "%s%s", why, n && why[n - 1] == '\n' ? "" : "\n") && buf_add(&text, r->text.p, r->text.n);
    reload_drop(s);
    if (r->initial) {
        fprintf(stderr, "portreeve: not started:\n%.*s", (int)text.n, good ? text.p : "");
        buf_free(&text);
        s->done = true;
        s->exit_code = EXIT_REFUSED;
        r->phase = RELOAD_IDLE;
        return;
    }
    if (!r->edit && !r->follow) atomic_fetch_add(&s->counters->super.reloads_failed, 1);
    good = good && buf_fmt(&text, "nothing has changed: generation %" PRIu64 " serves on\n", s->gen->number);
    if (!good) buf_clear(&text);
    reload_finish(s, false, &text);
}
