#include "engine/replay.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void moment(int64_t ms, char out[24]) {
    time_t s = (time_t)(ms / 1000);
    struct tm tm = {0};
    localtime_r(&s, &tm);
    strftime(out, 24, "%Y-%m-%d %H:%M:%S", &tm);
}

static bool say_examples(const struct replay_group *g, struct buf *out) {
    char who[ADDR_TEXT], when[24];
    for (unsigned i = 0; i < g->nexamples; i++) {
        const struct replay_example *x = &g->example[i];
        addr_format_ip(&x->remote, who);
        moment(x->ms, when);
        if (!buf_fmt(out, "%s%s at %s, %s", i ? "; " : "    such as ", who, x->listener, when)) return false;
        if (x->line && !buf_fmt(out, " (line %" PRIu32 ")", x->line)) return false;
    }
    return buf_str(out, "\n");
}

static bool say_group(const struct replay_group *g, struct buf *out) {
    static const char *const said[] = {"let in", "refused without a word", "refused with a reset", "answered and closed"};
    bool good = buf_fmt(out, "  %" PRIu64 " %s", g->n, g->n == 1 ? "was " : "were ") && buf_str(out, said[g->was]) &&
                (!g->by[0][0] || buf_fmt(out, " (%s)", g->by[0])) && buf_fmt(out, " and would be %s", said[g->now]) &&
                (!g->by[1][0] || buf_fmt(out, " (%s)", g->by[1]));
    return good && buf_str(out, "\n") && say_examples(g, out);
}

bool replay_say(const struct replay *r, struct buf *out) {
    char since[24];
    if (!r->oldest_ms) return true;
    moment(r->oldest_ms, since);
    bool good = buf_fmt(out, "callers: of %" PRIu64 " decision%s %ssince %s, judged again as they were taken, ", r->judged,
                        r->judged == 1 ? "" : "s", r->cut ? "(the newest) " : "", since);
    good = good && (r->differ ? buf_fmt(out, "%" PRIu64 " would come out differently\n", r->differ)
                              : buf_str(out, "none would come out differently\n"));
    for (unsigned i = 0; good && i < r->ngroups; i++) good = say_group(&r->group[i], out);
    if (good && r->ungrouped) good = buf_fmt(out, "  %" PRIu64 " more differ in other ways\n", r->ungrouped);
    if (good && r->gone) good = buf_fmt(out, "  %" PRIu64 " called sockets that these files do not open\n", r->gone);
    if (good && r->unknown)
        good = buf_fmt(
            out,
            "  %" PRIu64
            " cannot be told: they depend on what is not remembered (rates, bans that have ended, room; fingerprint, certificate, request)\n",
            r->unknown);
    return good;
}
