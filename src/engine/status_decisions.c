/* Remembered decisions, for the console and the pages. */
#include "engine/engine.h"
#include "engine/status.h"
#include <inttypes.h>

bool status_decisions(void *ctx, const struct decision_query *q, struct buf *out) {
    struct engine *eng = ctx;
    struct recorder_view *v = recorder_view_create(eng->recorder);
    struct recorder_stats s;
    struct decision d;
    unsigned n = 0;
    int64_t oldest = 0;
    recorder_stats(eng->recorder, &s);
    bool good = v && buf_str(out, "{\"list\":[");
    while (good && recorder_next(v, &d)) {
        oldest = d.ms;
        if (n == q->limit || !decision_matches(q, &d)) continue;
        good = buf_str(out, n++ ? ",\n" : "") && decision_json(&d, recorder_run(eng->recorder), out);
    }
    recorder_view_destroy(v);
    return good && buf_fmt(out, "],\"room\":%" PRIu32 ",\"oldest_ms\":%" PRId64 "}", s.room, oldest);
}
