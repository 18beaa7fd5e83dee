/* Following the addresses of this machine: when one appears, goes or ends its check for duplicates, the bind policy is asked again, on the
 * running generation's own files, and the difference is put in force like a reload. Bursts are waited out, equal plans are no news. */
#include "base/clock.h"
#include "base/log.h"
#include "net/ifwatch.h"
#include "net/sock.h"
#include "super/super.h"
#include <stdio.h>
#include <string.h>

#define QUIET_MS    50  /* without news a burst has ended … */
#define BURST_MS    500 /* … and is not waited for longer than this */
#define RETRY_MS    100 /* then twice that, and so on */
#define RETRIES     8
#define NEWS_BYTES  4096
#define LOGGED_NEWS 8

void follow_open(struct super *s) {
    struct follow *f = &s->follow;
    struct err e;
    f->due = NEVER;
    f->fresh.max = f->taken.max = NEWS_BYTES;
    f->watch = ifwatch_create(&e);
    if (!f->watch) log_warn("follow", "%s: after a change of addresses `portreeve reload` is needed", e.text);
}

void follow_close(struct super *s) {
    struct follow *f = &s->follow;
    ifwatch_destroy(f->watch);
    buf_free(&f->fresh);
    buf_free(&f->taken);
    buf_free(&f->refused);
    buf_free(&f->warned);
    f->watch = NULL;
}

int follow_fd(const struct super *s) {
    return s->follow.watch ? ifwatch_fd(s->follow.watch) : -1;
}

static void plan_at(struct follow *f, int64_t when) {
    if (f->due == NEVER || when < f->due) f->due = when;
}

/* News is what people read; where there is more than fits they know enough. */
static void note_news(struct follow *f, const char *text) {
    if (!buf_fmt(&f->fresh, "%s\n", text)) f->more = true;
}

static void heard(void *ctx, const struct ifchange *c) {
    struct follow *f = ctx;
    char text[160];
    int64_t now = clock_mono_ms();
    ifchange_text(c, text, sizeof text);
    note_news(f, text);
    if (f->due == NEVER || f->retry) f->first = now;
    f->retry = false;
    f->tries = 0;
    f->due = now + QUIET_MS < f->first + BURST_MS ? now + QUIET_MS : f->first + BURST_MS;
}

void follow_readable(struct super *s) {
    struct follow *f = &s->follow;
    struct err e;
    if (!f->watch || ifwatch_read(f->watch, heard, f, &e)) return;
    log_error("follow", "%s: after a change of addresses `portreeve reload` is needed", e.text);
    ifwatch_destroy(f->watch);
    f->watch = NULL;
}

void follow_tick(struct super *s, int64_t now) {
    struct follow *f = &s->follow;
    if (now < f->due) return;
    f->due = NEVER;
    f->wanted = true;
}

/* A planner is started, for us or for a reload: either sees the machine as it is now. */
void follow_began(struct super *s) {
    struct follow *f = &s->follow;
    if (f->fresh.n && !buf_add(&f->taken, f->fresh.p, f->fresh.n)) f->more = true;
    buf_clear(&f->fresh);
    f->due = NEVER;
    f->wanted = f->retry = false;
}

/* "192.0.2.7 appeared on eth0, 192.0.2.8 has gone from eth0 and more" */
void follow_news(const struct super *s, char *out, size_t cap) {
    const struct follow *f = &s->follow;
    size_t n = 0, said = 0;
    const char *p = f->taken.p, *end = p + f->taken.n;
    snprintf(out, cap, "%s", f->taken.n ? "" : "they were looked at again");
    for (; p < end && said < LOGGED_NEWS; said++) {
        size_t len = strcspn(p, "\n");
        int more = snprintf(out + n, cap - n, "%s%.*s", said ? ", " : "", (int)len, p);
        if (more < 0 || (size_t)more >= cap - n) break;
        n += (size_t)more;
        p += len + 1;
    }
    if ((p < end || f->more) && n < cap) snprintf(out + n, cap - n, " and more");
}

/* Addresses may come and go for days. */
bool follow_refused_before(struct super *s, const char *why) {
    struct buf *said = &s->follow.refused;
    if (said->n && strcmp(said->p, why) == 0) return true;
    buf_clear(said);
    if (!buf_add(said, why, strlen(why) + 1)) buf_clear(said);
    return false;
}

/* Warnings that the generation before had already are said again only when people asked for this one. */
static bool add_warnings(struct super *s, struct buf *text) {
    const struct reload *r = &s->reload;
    struct buf *before = &s->follow.warned;
    bool good = true;
    for (const char *p = r->text.p, *end = p + r->text.n; good && p < end;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf ? (size_t)(lf - p) + 1 : (size_t)(end - p);
        if (!r->follow || before->n == 0 || !memmem(before->p, before->n, p, n)) good = buf_add(text, p, n);
        p += n;
    }
    buf_clear(before);
    return good && (r->text.n == 0 || buf_add(before, r->text.p, r->text.n));
}

bool follow_result(struct super *s, struct buf *text) {
    char news[512];
    buf_clear(&s->follow.refused);
    if (!add_warnings(s, text)) return false;
    if (!s->reload.follow) return true;
    follow_news(s, news, sizeof news);
    return buf_fmt(text, "because the addresses of this machine have changed: %s\n", news);
}

/* A socket stays when its address goes (else this would be a plan that changed): nobody is harmed, and it works again when the address is
 * back. But people must know why nobody calls. */
static void look_for_away(struct super *s) {
    struct buf moved = {0};
    for (uint32_t i = 0; s->gen && s->follow.watch && i < s->gen->plan.nsockets; i++) {
        struct plan_socket *p = &s->gen->plan.socket[i];
        struct held *h = s->gen->held[i];
        char at[ADDR_TEXT], ip[ADDR_TEXT];
        if (!h || addr_is_any(&h->at)) continue;
        bool away = !ifwatch_has(s->follow.watch, &h->at) && !sock_here(&h->at);
        if (away != h->away) {
            buf_fmt(&moved, "%u\n", (unsigned)i);
            addr_format(&h->at, at);
            addr_format_ip(&h->at, ip);
            if (!away) log_notice("follow", "%s is back: %s (listener %s) serves again", ip, at, p->name);
            else if (!h->freebind)
                log_warn("follow", "%s is not on this machine any more: %s (listener %s) stays bound and serves again when it is back", ip,
                         at, p->name);
        }
        p->away = h->away = away;
    }
    prove_moved(s, &moved);
    buf_free(&moved);
}

/* Does a socket wait whose address is there? Then the planner looked a moment too early. */
static bool waits_in_vain(const struct super *s) {
    for (uint32_t i = 0; s->gen && i < s->gen->plan.nsockets; i++) {
        const struct plan_socket *p = &s->gen->plan.socket[i];
        if (p->waiting && !p->zone[0] && sock_here(&p->at)) return true;
    }
    return false;
}

static void retry(struct follow *f) {
    if (f->tries >= RETRIES || f->due != NEVER) return;
    f->retry = true;
    plan_at(f, clock_mono_ms() + (RETRY_MS << f->tries++));
}

void follow_ended(struct super *s, enum follow_end end) {
    struct follow *f = &s->follow;
    bool ours = s->reload.follow;
    char news[512];
    if (!ours && f->taken.n && end == FOLLOW_DONE) {
        follow_news(s, news, sizeof news);
        log_info("follow", "that reload also saw: %s", news);
    }
    if (!ours && f->taken.n && end != FOLLOW_DONE) { /* what it should have seen is still to be followed */
        f->wanted = true;
        if (f->fresh.n && !buf_add(&f->taken, f->fresh.p, f->fresh.n)) f->more = true;
        struct buf keep = f->fresh;
        f->fresh = f->taken;
        f->taken = keep;
    }
    if (end == FOLLOW_MAY_PASS && ours) retry(f);
    else if (end == FOLLOW_DONE && waits_in_vain(s)) retry(f);
    buf_clear(&f->taken);
    f->more = false;
    s->reload.follow = false;
    look_for_away(s);
}
