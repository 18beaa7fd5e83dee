#include "engine/refusal_log.h"
#include "base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECOND_MS 1000
#define PLACE     400
#define AREA      "refusals" /* has its own bound: log.c does not thin it again */

static void say_held(struct refusal_kind *k) {
    char n[24];
    if (!k->held) return;
    snprintf(n, sizeof n, "%" PRIu64, k->held);
    const char *kv[] = {"listener", k->listener, "reason", k->reason, "suppressed", n, NULL};
    log_kv(LOG_LVL_NOTICE, AREA, kv, "… and more refused");
    k->held = 0;
}

/* Its place, or that of the kind that has been silent longest among those it may take. */
static struct refusal_kind *kind_of(struct refusal_log *l, const struct decision *d) {
    uint32_t h = 2166136261u;
    for (const char *s = d->listener; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
    for (const char *s = d->reason; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
    struct refusal_kind *oldest = NULL;
    for (uint32_t i = 0; i < 8; i++) {
        struct refusal_kind *k = &l->kind[(h + i) % REFUSAL_KINDS];
        if (strcmp(k->reason, d->reason) == 0 && strcmp(k->listener, d->listener) == 0) return k;
        if (!oldest || k->refilled_ms < oldest->refilled_ms) oldest = k;
    }
    say_held(oldest);
    *oldest = (struct refusal_kind){.tokens = REFUSAL_BURST};
    snprintf(oldest->listener, sizeof oldest->listener, "%s", d->listener);
    snprintf(oldest->reason, sizeof oldest->reason, "%s", d->reason);
    return oldest;
}

static void refill(struct refusal_kind *k, int64_t now) {
    int64_t seconds = k->refilled_ms ? (now - k->refilled_ms) / SECOND_MS : REFUSAL_BURST;
    if (seconds <= 0) return;
    k->tokens = k->tokens + seconds > REFUSAL_BURST ? REFUSAL_BURST : k->tokens + (int)seconds;
    k->refilled_ms = now;
}

static void put(const struct decision *d, uint64_t held) {
    char who[ADDR_TEXT] = "?", policy[PLACE], place[PLACE], n[24];
    const char *file = *d->list_file ? d->list_file : d->entry_file;
    uint32_t line = *d->list_file ? d->list_line : d->entry_line;
    if (d->remote.family) addr_format_ip(&d->remote, who);
    snprintf(policy, sizeof policy, "%s:%" PRIu32, d->policy_file, d->policy_line);
    snprintf(place, sizeof place, "%s:%" PRIu32, file, line);
    snprintf(n, sizeof n, "%" PRIu64, held);
    const char *kv[20], **p = kv;
    *p++ = "address", *p++ = who, *p++ = "listener", *p++ = d->listener, *p++ = "reason", *p++ = d->reason;
    *p++ = "stage", *p++ = stage_name(d->stage), *p++ = "because", *p++ = d->because;
    if (*file && strcmp(place, d->because) != 0) *p++ = "by", *p++ = place;
    if (*d->policy_file) *p++ = "policy", *p++ = policy;
    if (held) *p++ = "suppressed", *p++ = n;
    *p = NULL;
    log_kv(LOG_LVL_NOTICE, AREA, kv, "refused");
}

void refusal_log_say(struct refusal_log *l, const struct decision *d, int64_t now) {
    struct refusal_kind *k = kind_of(l, d);
    refill(k, now);
    if (k->tokens == 0) {
        k->held++;
        return;
    }
    k->tokens--;
    put(d, k->held);
    k->held = 0;
}

void refusal_log_sweep(struct refusal_log *l, int64_t now, bool all) {
    for (uint32_t i = 0; i < REFUSAL_KINDS; i++) {
        struct refusal_kind *k = &l->kind[i];
        if (k->held && (all || now - k->refilled_ms >= 2 * SECOND_MS)) say_held(k);
    }
}
