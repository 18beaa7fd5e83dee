/* The difference for scripts and the hub. */
#include "plan/plan_diff.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[DIFF_KINDS] = {"kept", "changed", "opened", "closed", "waits", "unwaits"};

static bool field_names(uint32_t f, struct buf *out) {
    static const char *const names[] = {
        "scheme", "external_tls", "certificate", "certificate_content", "services", "restriction", "list_content", "limits", "backlog",
        "name",   "backends",     "proxy",       "client_certificate"};
    bool good = buf_str(out, "["), first = true;
    for (unsigned i = 0; good && i < sizeof names / sizeof *names; i++) {
        if (!(f & 1u << i)) continue;
        good = buf_fmt(out, "%s\"%s\"", first ? "" : ",", names[i]);
        first = false;
    }
    return good && buf_str(out, "]");
}

/* `as`: the item whose socket it is. What is kept is bound already, on the port that it has. */
static bool before(const struct diff_input *in, const struct diff_item *as, struct buf *out) {
    return buf_str(out, ",\"before\":") &&
           (as->old < 0 ? buf_str(out, "null")
                        : plan_json_socket(in->old.plan, &(struct plan_view){.port = in->old.port}, (uint32_t)as->old, out));
}

static bool after(const struct diff_input *in, const struct diff_item *as, struct buf *out) {
    if (as->now < 0) return buf_str(out, ",\"after\":null");
    struct plan_socket s = in->now.plan->socket[as->now];
    bool bound = as->old >= 0 && (as->kind == DIFF_KEPT || as->kind == DIFF_CHANGED) && in->old.port && in->old.port[as->old];
    if (bound) s.at.port = in->old.port[as->old];
    const struct plan one = {.socket = &s, .nsockets = 1, .backend = in->now.plan->backend, .nbackends = in->now.plan->nbackends};
    const char state[1][PLAN_SHOWN] = {"bound"};
    const struct plan_view as_bound = {.state = state};
    return buf_str(out, ",\"after\":") && plan_json_socket(&one, bound ? &as_bound : NULL, 0, out);
}

static bool live(const struct diff_input *in, uint32_t n, struct buf *out) {
    return in->live_known ? buf_fmt(out, ",\"connections\":%" PRIu32, n) : buf_str(out, ",\"connections\":null");
}

/* ,"effect":"…" from what `fill` has put into a buffer of its own. */
static bool effect(struct buf *words, bool good, struct buf *out) {
    good = good && buf_str(out, ",\"effect\":") && buf_json(out, words->p, words->n);
    buf_free(words);
    return good;
}

static bool put_item(const struct diff_input *in, const struct plan_diff *d, const struct diff_item *i, struct buf *out) {
    char at[DIFF_PLACE];
    struct buf words = {0};
    plan_diff_place(in, i, at);
    bool good = buf_fmt(out, "{\"change\":\"%s\"", kinds[i->kind]) && buf_member(out, "at", at) && buf_str(out, ",\"fields\":") &&
                field_names(i->fields, out) && live(in, i->live, out) && effect(&words, plan_diff_effect(in, d, i, &words), out);
    if (good && i->swap >= 0) good = buf_fmt(out, ",\"swap\":%" PRId32, i->swap);
    return good && before(in, i, out) && after(in, i, out) && buf_str(out, "}");
}

static bool put_reach(const struct diff_input *in, const struct diff_swap *s, const struct diff_reach *r, struct buf *out) {
    char at[ADDR_TEXT];
    struct buf words = {0};
    addr_format(&r->at, at);
    return buf_str(out, "{") && buf_member(out, "at", at) &&
           buf_fmt(out, ",\"before\":%s,\"after\":%s", r->old >= 0 ? "true" : "false", r->now >= 0 ? "true" : "false") &&
           live(in, r->live, out) && effect(&words, plan_diff_reach_effect(in, s, r, &words), out) && buf_str(out, "}");
}

static bool put_swaps(const struct diff_input *in, const struct plan_diff *d, struct buf *out) {
    bool good = buf_str(out, ",\"swaps\":[");
    for (uint32_t i = 0; good && i < d->nswaps; i++) {
        const struct diff_swap *s = &d->swap[i];
        good = buf_fmt(out, "%s{\"family\":%u,\"port\":%u,\"to_wildcard\":%s,\"reachable\":[", i ? ",\n " : "\n ", (unsigned)s->family,
                       (unsigned)s->port, s->to_wildcard ? "true" : "false");
        for (uint32_t k = 0; good && k < s->n; k++)
            good = buf_str(out, k ? ",\n  " : "\n  ") && put_reach(in, s, &d->reach[s->first + k], out);
        good = good && buf_str(out, "]}");
    }
    return good && buf_str(out, "]");
}

static bool put_services(const char *key, uint32_t set, struct buf *out) {
    char names[128];
    plan_services_text(set, names, sizeof names);
    return buf_member(out, key, names);
}

static bool put_rest(const struct diff_input *in, struct buf *out) {
    struct diff_setting s;
    const char *path, *how;
    uint32_t at = 0, files[2] = {0, 0};
    bool good = buf_str(out, ",\"settings\":["), first = true;
    while (good && plan_diff_setting(in, &at, &s)) {
        good =
            buf_fmt(out, "%s{\"entry\":\"%s\",\"before\":%" PRId64 ",\"after\":%" PRId64 "}", first ? "" : ",", s.def->entry, s.old, s.now);
        first = false;
    }
    good = good && buf_str(out, "],\"files\":[");
    first = true;
    while (good && plan_diff_file(in, files, &path, &how)) {
        good = buf_str(out, first ? "{" : ",{") && buf_member(out, "path", path) && buf_fmt(out, ",\"change\":\"%s\"}", how);
        first = false;
    }
    return good && buf_str(out, "]");
}

bool plan_diff_json(const struct diff_input *in, const struct plan_diff *d, const char *who, const char *more, struct buf *out) {
    struct buf words = {0};
    bool good = buf_fmt(out, "{\"same\":%s,\"counts\":{", plan_diff_same(in, d) ? "true" : "false");
    for (int i = 0; good && i < DIFF_KINDS; i++) good = buf_fmt(out, "%s\"%s\":%" PRIu32, i ? "," : "", kinds[i], d->count[i]);
    good = good && buf_str(out, "},\"changes\":[");
    for (uint32_t i = 0; good && i < d->n; i++) good = buf_str(out, i ? ",\n " : "\n ") && put_item(in, d, &d->item[i], out);
    good = good && buf_str(out, "]") && put_swaps(in, d, out) && put_services("lost", d->lost, out) &&
           put_services("gained", d->gained, out) && put_rest(in, out) && buf_str(out, ",\"text\":") &&
           plan_diff_text(in, d, who, &words) && buf_json(out, words.p, words.n) && buf_str(out, more) && buf_str(out, "}\n");
    buf_free(&words);
    return good;
}
