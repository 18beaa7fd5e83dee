/* What a rehearsed edit would do, in the words of `portreeve plan --diff`, and whom it would shut out, in those of the reload that is refused for it:
 * the engine that serves says these, since its rules are in force and nothing here can ask any. */
#include "base/clock.h"
#include "plan/bundle.h"
#include "plan/plan_diff.h"
#include "plan/wire.h"
#include "super/reload_i.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SEND_MS   3000
#define ANSWER_MS 30000

struct side {
    uint16_t *port;
    struct running_file *file;
};

static bool side_make(const struct generation *g, struct side *s, struct diff_side *out) {
    struct err e;
    struct bundle *b = bundle_map(g->bundle_fd, &e);
    uint32_t n = 0;
    s->port = generation_ports(g);
    bool good = b && s->port && running_files(b, &s->file, &n);
    bundle_unmap(b);
    *out = (struct diff_side){.plan = &g->plan, .port = s->port, .file = s->file, .nfiles = n};
    return good;
}

static bool changes_text(const struct super *s, const struct generation *next, struct buf *out) {
    struct side old = {0}, now = {0};
    struct diff_input in = {0};
    struct plan_diff diff;
    struct err e;
    char who[80];
    snprintf(who, sizeof who, "generation %" PRIu64 " (pid %ld)", s->gen->number, (long)getpid());
    bool good = side_make(s->gen, &old, &in.old) && side_make(next, &now, &in.now) && plan_diff_make(&in, &diff, &e);
    if (good) {
        good = plan_diff_text(&in, &diff, who, out);
        plan_diff_finish(&diff);
    }
    free(old.port);
    free(old.file);
    free(now.port);
    free(now.file);
    return good;
}

/* words: of the guards. */
static void tell(struct super *s, bool refused, const char *words) {
    struct reload *r = &s->reload;
    struct buf text = {0};
    bool good = refused ? buf_fmt(&text, "nothing has changed yet; it would be refused: %s\nforced, it would be:\n", words)
                        : buf_str(&text, "nothing has changed yet; it would be:\n");
    good = good && changes_text(s, r->next, &text) && buf_add(&text, r->text.p, r->text.n) && (refused || buf_str(&text, words));
    if (!good) buf_clear(&text);
    reload_drop(s);
    reload_finish(s, true, &text);
}

void rehearse_ask(struct super *s) {
    struct reload *r = &s->reload;
    struct engine *en = s->live >= 0 ? &s->engine[s->live] : NULL;
    char text[80];
    struct err e = {"no engine serves"}, words;
    if (en && en->phase != ENGINE_LIVE) return;
    int n = snprintf(text, sizeof text, "generation %" PRIu64 "\n%s", r->next->number, r->next->forced ? "force 1\n" : "");
    const int fds[] = {r->next->plan_fd, r->next->bundle_fd};
    if (en && fdlink_send(en->link, WIRE_REHEARSE, text, (size_t)n, fds, 2, SEND_MS, &e)) {
        r->phase = RELOAD_OFFERED;
        en->offer = r->next;
        en->phase = ENGINE_PREPARING;
        en->deadline = clock_mono_ms() + ANSWER_MS;
        return;
    }
    err_set(&words, "warning: whom it would shut out was not asked: %.800s\n", e.text);
    tell(s, false, words.text);
}

void rehearse_heard(struct super *s, struct engine *en) {
    const struct reload *r = &s->reload;
    uint64_t number = 0, refused = 0;
    bool awaited = r->phase == RELOAD_OFFERED && r->edit && r->edit->dry && en->phase == ENGINE_PREPARING && en->offer == r->next;
    if (!awaited || !wire_number(s->msg.data, "generation", &number) || number != r->next->number) return;
    wire_number(s->msg.data, "refused", &refused);
    en->offer = s->gen;
    en->phase = ENGINE_LIVE;
    en->deadline = NEVER;
    tell(s, refused, wire_body(s->msg.data));
}
