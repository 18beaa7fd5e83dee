/* SIGUSR2: engines of the program that lies on disk now. The one we have is kept until an engine of the new one has taken over; where that
 * fails, it serves on, and what differs and what to do stands in the log and in `status`. */
#include "base/clock.h"
#include "base/log.h"
#include "plan/format.h"
#include "plan/wire.h"
#include "super/super.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RESTART "stop and start the server (`portreeve stop`, then `portreeve run`; with systemd `systemctl restart portreeve`)"

void replace_failed(struct super *s, const char *why) {
    char when[32], who[64] = "engines are started from the program that ran before";
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    if (s->live >= 0) snprintf(who, sizeof who, "engine %ld serves on", (long)s->engine[s->live].pid);
    size_t n = strlen(why);
    while (n > 0 && why[n - 1] == '\n') n--;
    snprintf(s->not_replaced, sizeof s->not_replaced, "%s: %.*s; %s", when, (int)(n < 1500 ? n : 1500), why, who);
    log_error("engine", "the engine is not replaced by the one on disk: %.*s; %s", (int)(n < 1500 ? n : 1500), why, who);
    program_close(&s->fresh);
}

static bool take(struct super *s) {
    struct err e;
    s->replace_wanted = false;
    program_close(&s->fresh);
    if (program_take(&s->fresh, s->engine_path, &e)) return true;
    replace_failed(s, e.text);
    return false;
}

void replace_ask(struct super *s) {
    struct err e;
    if (s->stopping || !s->gen) return;
    unsigned slot = s->live == 0 ? 1 : 0;
    if (s->live < 0 && s->restart_at != NEVER) { /* one is about to start anyway */
        if (take(s)) s->restart_at = clock_mono_ms();
        return;
    }
    if (s->live < 0 || s->replacing >= 0 || s->reload.phase != RELOAD_IDLE || s->engine[slot].phase != ENGINE_NONE) {
        s->replace_wanted = true;
        return;
    }
    if (!take(s)) return;
    if (engine_start(s, slot, s->gen, &e)) s->replacing = (int)slot;
    else replace_failed(s, e.text);
}

bool replace_may_speak(const struct engine *en, const char *hello, char *why, size_t cap) {
    uint64_t theirs = 0;
    char format[32] = "an older format"; /* one that said nothing of formats */
    if (wire_number(hello, "format", &theirs)) snprintf(format, sizeof format, "format %" PRIu64, theirs);
    if (theirs == format_number()) return true;
    snprintf(why, cap,
             "portreeve-engine (version %s) takes plan and bundle of %s, and this server (version %s) holds them in format %u: %s%s",
             en->version[0] ? en->version : "unknown", format, PORTREEVE_VERSION, (unsigned)format_number(), RESTART,
             en->fresh ? " to change to it" : " with programs of one version");
    return false;
}

void replace_over(struct super *s, struct engine *en) {
    if (!en->fresh) return;
    en->fresh = false;
    program_close(&s->program);
    s->program = s->fresh;
    s->fresh = PROGRAM_NONE;
    s->not_replaced[0] = 0;
}

bool replace_text(const struct super *s, struct buf *out) {
    bool engine = program_replaced(&s->program, s->engine_path), self = program_replaced(&s->self, s->self_path);
    if (s->not_replaced[0] && !buf_fmt(out, "SIGUSR2 REFUSED at %s\n", s->not_replaced)) return false;
    if (!engine && !self) return true;
    return buf_fmt(out, "the programs on disk are not those that run (%s%s%s): %s%s\n", self ? s->self_path : "",
                   self && engine ? ", " : "", engine ? s->engine_path : "",
                   engine && !s->not_replaced[0] ? "SIGUSR2 takes up the engine alone, without a refused connection; or " : "", RESTART);
}

bool replace_json(const struct super *s, struct buf *out) {
    return buf_fmt(out, "\"programs\":{\"format\":%u,\"engine_differs\":%s,\"server_differs\":%s", (unsigned)format_number(),
                   program_replaced(&s->program, s->engine_path) ? "true" : "false",
                   program_replaced(&s->self, s->self_path) ? "true" : "false") &&
           buf_member(out, "not_replaced", s->not_replaced) && buf_str(out, "}");
}
