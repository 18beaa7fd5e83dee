#include "gate/decision.h"
#include "base/clock.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool put_text(struct buf *b, const char *key, const char *value) {
    return !*value || buf_member(b, key, value);
}

static bool put_place(struct buf *b, const char *key, const char *file, uint32_t line) {
    char place[400];
    if (!*file) return true;
    if (line) snprintf(place, sizeof place, "%.380s:%" PRIu32, file, line);
    else snprintf(place, sizeof place, "%.380s", file);
    return put_text(b, key, place);
}

static bool put_number(struct buf *b, const char *key, uint32_t n) {
    return !n || buf_fmt(b, ",\"%s\":%" PRIu32, key, n);
}

static bool put_time(struct buf *b, int64_t ms) {
    char stamp[CLOCK_TEXT];
    return buf_fmt(b, "{\"time\":\"%s\",\"ms\":%" PRId64, clock_text(ms, stamp), ms);
}

static bool put_ends(struct buf *b, const struct decision *d) {
    char ip[ADDR_TEXT];
    if (d->remote.family) addr_format_ip(&d->remote, ip);
    bool good = put_text(b, "address", d->remote.family ? ip : "?") && put_number(b, "port", d->remote.port) &&
                put_text(b, "listener", d->listener);
    if (d->local.family) addr_format_ip(&d->local, ip);
    return good && (!d->local.family || put_text(b, "local", ip)) && put_number(b, "local_port", d->local.port);
}

static bool put_counts(struct buf *b, const struct decision *d) {
    bool full = d->from_address == UINT32_MAX; /* the table of live addresses had no room: no number, but a fact */
    return buf_fmt(b, ",\"active\":%" PRIu32, d->active) &&
           (full ? buf_str(b, ",\"active_from_address\":null") : buf_fmt(b, ",\"active_from_address\":%" PRIu32, d->from_address)) &&
           put_number(b, "maximum", d->maximum) && put_number(b, "per_address", d->per_address) && put_number(b, "reserve", d->reserve) &&
           (d->rate_left < 0 || buf_fmt(b, ",\"rate_left\":%" PRId32, d->rate_left));
}

bool decision_json(const struct decision *d, uint64_t run, struct buf *b) {
    return put_time(b, d->ms) && buf_fmt(b, ",\"us\":%u", d->us) && put_ends(b, d) &&
           buf_fmt(b, ",\"stage\":\"%s\",\"verdict\":\"%s\"", stage_name(d->stage), verdict_name(d->verdict)) &&
           put_text(b, "reason", d->reason) && put_text(b, "because", d->because) &&
           put_place(b, "policy", d->policy_file, d->policy_line) && put_place(b, "list", d->list_file, d->list_line) &&
           put_place(b, "entry", d->entry_file, d->entry_line) && put_counts(b, d) && put_number(b, "status", d->status) &&
           put_number(b, "delay_ms", d->delay_ms) && put_text(b, "sni", d->sni) && put_text(b, "tags", d->tags) &&
           buf_fmt(b, ",\"generation\":%" PRIu64 ",\"id\":\"%" PRIx64 "-%" PRIx64 "\"}", d->generation, run, d->id);
}
