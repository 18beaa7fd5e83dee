/* The difference for people: equal fates are one sentence. */
#include "plan/plan_diff.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS   64 /* sentences; what does not fit is counted */
#define NAMES    8  /* sockets named in a sentence; the rest is counted */
#define IN_BRIEF 3  /* sentences of the summary */

struct group { /* what shares one fate */
    struct buf fate;
    char name[NAMES][DIFF_PLACE];
    uint32_t n;
};
struct groups {
    struct group g[GROUPS];
    uint32_t n, left_out;
};

static void groups_free(struct groups *gs) {
    for (uint32_t i = 0; i < gs->n; i++) buf_free(&gs->g[i].fate);
    free(gs);
}

/* Takes the fate. */
static void add(struct groups *gs, struct buf *fate, const char *name) {
    struct group *g = NULL;
    for (uint32_t i = gs->n; !g && i-- > 0;)
        if (gs->g[i].fate.n == fate->n && memcmp(gs->g[i].fate.p, fate->p, fate->n) == 0) g = &gs->g[i];
    if (!g && gs->n < GROUPS) {
        g = &gs->g[gs->n++];
        g->fate = *fate;
        *fate = (struct buf){0};
    }
    if (!g) gs->left_out++;
    else if (g->n++ < NAMES) snprintf(g->name[g->n - 1], sizeof g->name[0], "%s", name);
    buf_free(fate);
}

/* "A", "A and B", "A, B and 5 more" */
static bool put_names(const struct group *g, struct buf *out) {
    uint32_t shown = g->n < NAMES ? g->n : NAMES;
    bool good = true;
    for (uint32_t i = 0; good && i < shown; i++)
        good = buf_fmt(out, "%s%s", i == 0 ? "" : i + 1 == shown && g->n == shown ? " and " : ", ", g->name[i]);
    return good && (g->n == shown || buf_fmt(out, " and %" PRIu32 " more", g->n - shown));
}

static bool put_group(const struct group *g, struct buf *out) {
    return buf_str(out, g->n > 1 ? "each of " : "") && put_names(g, out) && buf_str(out, " ") && buf_add(out, g->fate.p, g->fate.n);
}

/* ---- one swap ---- */

static struct groups *reach_groups(const struct diff_input *in, const struct plan_diff *d, const struct diff_swap *s) {
    struct groups *gs = calloc(1, sizeof *gs);
    for (uint32_t i = s->first; gs && i < s->first + s->n; i++) {
        struct buf fate = {0};
        char at[ADDR_TEXT];
        addr_format(&d->reach[i].at, at);
        if (plan_diff_reach_effect(in, s, &d->reach[i], &fate)) add(gs, &fate, at);
        else buf_free(&fate);
    }
    return gs;
}

/* "0.0.0.0:80 gives way to 192.0.2.10:80 and 192.0.2.11:80" */
static bool swap_head(const struct diff_input *in, const struct plan_diff *d, int32_t swap, struct buf *out) {
    struct group single = {0};
    char wild[DIFF_PLACE] = "", at[DIFF_PLACE];
    for (uint32_t i = 0; i < d->n; i++) {
        const struct diff_item *x = &d->item[i];
        if (x->swap != swap) continue;
        const struct plan_socket *s = x->now >= 0 ? &in->now.plan->socket[x->now] : &in->old.plan->socket[x->old];
        plan_diff_place(in, x, at);
        if (addr_is_any(&s->at)) snprintf(wild, sizeof wild, "%s", at);
        else if (single.n++ < NAMES) snprintf(single.name[single.n - 1], sizeof single.name[0], "%s", at);
    }
    bool opens = d->swap[swap].to_wildcard;
    return buf_fmt(out, "%s (all %s addresses) %s ", wild, d->swap[swap].family == 6 ? "IPv6" : "IPv4",
                   opens ? "takes the place of" : "gives way to") &&
           put_names(&single, out);
}

static bool put_swap(const struct diff_input *in, const struct plan_diff *d, int32_t swap, struct buf *out) {
    const struct diff_swap *s = &d->swap[swap];
    struct groups *gs = reach_groups(in, d, s);
    bool good = gs && swap_head(in, d, swap, out) && buf_str(out, ":\n");
    for (uint32_t i = 0; good && i < gs->n; i++) good = buf_str(out, "  ") && put_group(&gs->g[i], out) && buf_str(out, "\n");
    if (good && gs->left_out) good = buf_fmt(out, "  and %" PRIu32 " more addresses\n", gs->left_out);
    if (gs) groups_free(gs);
    return good && buf_fmt(out, "  an address that this machine gets later %s\n",
                           s->to_wildcard ? "is served too" : "is no longer served by itself");
}

/* ---- the whole ---- */

static bool counted(const struct plan_diff *d, struct buf *out) {
    static const struct {
        enum diff_kind kind;
        const char *one, *many;
    } words[] = {{DIFF_OPENED, "opens", "open"},
                 {DIFF_CLOSED, "closes", "close"},
                 {DIFF_CHANGED, "changes", "change"},
                 {DIFF_WAITS, "is to wait", "are to wait"},
                 {DIFF_UNWAITS, "is not waited for any more", "are not waited for any more"},
                 {DIFF_KEPT, "stays as it is", "stay as they are"}};
    bool good = true, first = true;
    for (size_t i = 0; good && i < sizeof words / sizeof *words; i++) {
        uint32_t n = d->count[words[i].kind];
        if (!n) continue;
        good = buf_fmt(out, "%s%" PRIu32 "%s %s", first ? "" : ", ", n,
                       !first   ? ""
                       : n == 1 ? " socket"
                                : " sockets",
                       n == 1 ? words[i].one : words[i].many);
        first = false;
    }
    return good;
}

/* Items that are not told by a swap; kinds: bits of those wanted. */
static struct groups *item_groups(const struct diff_input *in, const struct plan_diff *d, unsigned kinds) {
    struct groups *gs = calloc(1, sizeof *gs);
    for (uint32_t i = 0; gs && i < d->n; i++) {
        struct buf fate = {0};
        char at[DIFF_PLACE];
        if (d->item[i].swap >= 0 || !(kinds & 1u << d->item[i].kind)) continue;
        plan_diff_place(in, &d->item[i], at);
        if (plan_diff_effect(in, d, &d->item[i], &fate)) add(gs, &fate, at);
        else buf_free(&fate);
    }
    return gs;
}

static bool put_items(const struct diff_input *in, const struct plan_diff *d, unsigned kinds, struct buf *out) {
    struct groups *gs = item_groups(in, d, kinds);
    bool good = gs != NULL;
    for (uint32_t i = 0; good && i < gs->n; i++) good = put_group(&gs->g[i], out) && buf_str(out, "\n");
    if (good && gs->left_out) good = buf_fmt(out, "and %" PRIu32 " more sockets: --json names them all\n", gs->left_out);
    if (gs) groups_free(gs);
    return good;
}

static void value_text(const struct plan_setting_def *d, int64_t v, char out[48]) {
    const char *p = d->unit;
    for (int64_t i = 0; strchr(d->unit, '|') && p; i++) {
        if (i == v) {
            snprintf(out, 48, "%.*s", (int)strcspn(p, "|"), p);
            return;
        }
        p = strchr(p, '|');
        if (p) p++;
    }
    snprintf(out, 48, "%" PRId64, v);
}

static bool put_settings(const struct diff_input *in, struct buf *out) {
    struct diff_setting s;
    bool good = true;
    for (uint32_t at = 0; good && plan_diff_setting(in, &at, &s);) {
        char a[48], b[48];
        value_text(s.def, s.old, a);
        value_text(s.def, s.now, b);
        good = buf_fmt(out, "%s (%s): %s before, %s now\n", s.def->entry, s.def->what, a, b);
    }
    if (good && strcmp(in->old.plan->components, in->now.plan->components) != 0)
        good = buf_fmt(out, "Components: %s before, %s now\n", in->old.plan->components, in->now.plan->components);
    return good;
}

static bool put_files(const struct diff_input *in, struct buf *out) {
    uint32_t at[2] = {0, 0}, n = 0;
    const char *path, *how;
    bool good = true;
    while (good && plan_diff_file(in, at, &path, &how)) {
        n++;
        if (n <= NAMES) good = buf_fmt(out, "%s%s (%s)", n == 1 ? "files that differ: " : ", ", path, how);
    }
    if (good && n > NAMES) good = buf_fmt(out, " and %" PRIu32 " more", n - NAMES);
    return good && (n == 0 || buf_str(out, "\n"));
}

static bool put_services(const struct plan_diff *d, struct buf *out) {
    char text[128];
    bool good = true;
    plan_services_text(d->lost, text, sizeof text);
    if (d->lost) good = buf_fmt(out, "no socket carries %s any more\n", text);
    plan_services_text(d->gained, text, sizeof text);
    if (d->gained) good = good && buf_fmt(out, "no socket carried %s before\n", text);
    return good;
}

#define SAYS (1u << DIFF_CLOSED | 1u << DIFF_CHANGED | 1u << DIFF_OPENED | 1u << DIFF_WAITS | 1u << DIFF_UNWAITS)

bool plan_diff_text(const struct diff_input *in, const struct plan_diff *d, const char *who, struct buf *out) {
    if (plan_diff_same(in, d))
        return buf_fmt(out, "nothing changes: %s has these %" PRIu32 " sockets, settings and files already\n", who, d->n);
    bool good = buf_fmt(out, "compared with %s: ", who);
    if (good && d->count[DIFF_KEPT] == d->n) good = buf_fmt(out, "no socket changes (%" PRIu32 " stay as they are)", d->n);
    else good = good && counted(d, out);
    good = good && buf_str(out, "\n");
    for (uint32_t i = 0; good && i < d->nswaps; i++) good = put_swap(in, d, (int32_t)i, out);
    return good && put_items(in, d, SAYS, out) && put_items(in, d, 1u << DIFF_KEPT, out) && put_services(d, out) && put_settings(in, out) &&
           put_files(in, out);
}

/* ---- in brief ---- */

static bool brief_sentences(const struct diff_input *in, const struct plan_diff *d, struct buf *out) {
    uint32_t said = 0, left = 0;
    bool good = true;
    for (uint32_t i = 0; good && i < d->nswaps; i++) {
        if (said == IN_BRIEF) left++;
        else good = buf_str(out, ". ") && swap_head(in, d, (int32_t)i, out), said++;
    }
    struct groups *gs = item_groups(in, d, SAYS);
    for (uint32_t i = 0; good && gs && i < gs->n; i++) {
        if (said == IN_BRIEF) left += gs->g[i].n;
        else good = buf_str(out, ". ") && put_group(&gs->g[i], out), said++;
    }
    good = good && gs;
    if (gs) left += gs->left_out;
    if (gs) groups_free(gs);
    return good && (left == 0 || buf_fmt(out, ". And %" PRIu32 " more: `portreeve plan --diff` tells them", left));
}

bool plan_diff_summary(const struct diff_input *in, const struct plan_diff *d, const char *who, struct buf *out) {
    uint32_t settings = 0, files = 0, at = 0, fat[2] = {0, 0};
    struct diff_setting s;
    const char *path, *how;
    while (plan_diff_setting(in, &at, &s)) settings++;
    while (plan_diff_file(in, fat, &path, &how)) files++;
    if (plan_diff_same(in, d)) return buf_fmt(out, "compared with %s nothing changes\n", who);
    bool good = buf_fmt(out, "compared with %s: ", who);
    if (d->count[DIFF_KEPT] == d->n) good = good && buf_fmt(out, "no socket changes");
    else good = good && counted(d, out) && brief_sentences(in, d, out);
    if (good && settings)
        good = buf_fmt(out, "; %" PRIu32 " setting%s differ%s", settings, settings == 1 ? "" : "s", settings == 1 ? "s" : "");
    if (good && files) good = buf_fmt(out, "; %" PRIu32 " file%s differ%s", files, files == 1 ? "" : "s", files == 1 ? "s" : "");
    return good && buf_str(out, "\n");
}
