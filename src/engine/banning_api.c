/* What console and hub may do about bans. */
#include "engine/banning_api.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/banning.h"
#include "engine/guards.h"
#include "engine/reap.h"
#include "engine/worker.h"
#include <stdio.h>
#include <string.h>

#define LONGEST_MS (366ll * 86400 * 1000)

static bool say(struct buf *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool say(struct buf *text, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_str(text, line);
    return false;
}

static bool api_ban(void *ctx, const struct ban_request *q, struct buf *text) {
    struct engine *eng = ctx;
    struct ban b = {.expires_ms = BANS_FOREVER};
    struct err e;
    char words[512];
    if (!bans_parse(q->range, strlen(q->range), &b.lo, &b.hi, &e)) return say(text, "%s", e.text);
    if (q->ms < 0 || q->ms > LONGEST_MS) return say(text, "a ban lasts at most 366 days; without a time it lasts until it is taken back");
    if (!q->force && !guards_ban(eng, &b.lo, &b.hi, &e)) return say(text, "%s", e.text);
    int64_t now = clock_mono_ms();
    if (q->ms) b.expires_ms = now + q->ms, b.until_ms = clock_real_ms() + q->ms;
    snprintf(b.reason, sizeof b.reason, "%s", q->reason);
    snprintf(b.who, sizeof b.who, "%s", q->who);
    enum bans_done done = bans_add(&eng->counters->bans, eng->holder, &b, now);
    if (done == BANS_FULL)
        return say(text, "there are %u bans already, and no room for another: take some back, or put addresses into lists/denied.list",
                   BANS_MAX);
    if (!banning_renew(eng)) return say(text, "out of memory: the ban is noted and will be in force as soon as there is some");
    bans_because(&b, words, sizeof words);
    log_notice("ban", "%s%s%s", words, done == BANS_CHANGED ? " (in place of the one before)" : "", q->force ? " (forced)" : "");
    say(text, "%s%s", words, done == BANS_CHANGED ? ", in place of the one before" : "");
    return true;
}

/* An address that lies in a ban of more than itself cannot be taken out of it: which ban is it? */
static bool not_banned(struct engine *eng, const char *range, const struct addr *lo, struct buf *text) {
    struct ban_set *s = banning_current(eng);
    const struct ban *b = ban_set_find(s, lo, clock_mono_ms());
    char words[512];
    if (b) bans_because(b, words, sizeof words);
    if (b) say(text, "there is no ban of exactly %s; it is in the %s", range, words);
    else say(text, "there is no ban of %s", range);
    ban_set_unref(s);
    return false;
}

static bool api_unban(void *ctx, const char *range, const char *who, struct buf *text) {
    struct engine *eng = ctx;
    struct addr lo = {0}, hi = {0};
    struct ban was;
    struct err e;
    char words[512];
    if (!bans_parse(range, strlen(range), &lo, &hi, &e)) return say(text, "%s", e.text);
    if (!bans_remove(&eng->counters->bans, eng->holder, &lo, &hi, clock_mono_ms(), &was)) return not_banned(eng, range, &lo, text);
    if (!banning_renew(eng)) return say(text, "out of memory: the ban is taken back as soon as there is some");
    bans_because(&was, words, sizeof words);
    log_notice("ban", "taken back by %s: %s", who, words);
    say(text, "taken back: %s", words);
    return true;
}

static bool api_bans(void *ctx, struct buf *out) {
    struct ban_set *s = banning_current(ctx);
    int64_t now = clock_mono_ms();
    bool good = buf_str(out, "["), first = true;
    for (uint32_t i = 0; good && i < ban_set_count(s); i++) {
        const struct ban *b = ban_set_at(s, i);
        char range[BANS_RANGE];
        if (now >= b->expires_ms) continue;
        bans_range_text(&b->lo, &b->hi, range);
        good = buf_fmt(out, "%s{\"address\":\"%s\",\"since_ms\":%lld,", first ? "" : ",", range, (long long)b->made_ms);
        if (good && b->until_ms)
            good = buf_fmt(out, "\"until_ms\":%lld,\"left_ms\":%lld,", (long long)b->until_ms, (long long)(b->expires_ms - now));
        good = good && buf_member(out, "reason", b->reason) && buf_member(out, "who", b->who) &&
               buf_fmt(out, ",\"hits\":%llu}", (unsigned long long)ban_set_hits(s, b));
        first = false;
    }
    ban_set_unref(s);
    return good && buf_str(out, "]");
}

static void api_administrator(void *ctx, const char *address) {
    struct engine *eng = ctx;
    struct addr a;
    struct err e;
    if (addr_parse_ip(address, strlen(address), &a, &e)) admins_seen(&eng->counters->admins, eng->holder, &a, clock_mono_ms());
}

static bool api_reap(void *ctx, bool dry, const char *who, struct buf *out) {
    return reap_run(ctx, dry, who, out);
}

void banning_api(struct engine_api *out) {
    out->ban = api_ban;
    out->unban = api_unban;
    out->bans = api_bans;
    out->reap = api_reap;
    out->administrator = api_administrator;
}
