#include "proto/syslog.h"

static const char *const facilities[] = {"kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
                                         "uucp",   "cron",   "authpriv", "ftp",    "ntp",    "audit",  "alert",  "clock",
                                         "local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7"};
static const char *const severities[] = {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"};

const char *syslog_facility(uint8_t f) {
    return f < sizeof facilities / sizeof *facilities ? facilities[f] : "?";
}

const char *syslog_severity(uint8_t s) {
    return s < sizeof severities / sizeof *severities ? severities[s] : "?";
}

struct cursor {
    const char *p, *end;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_print(char c) {
    return c > ' ' && c < 0x7f;
}

static struct slice piece(const char *p, const char *end) {
    return (struct slice){.p = p, .n = (uint32_t)(end - p)};
}

static bool take(struct cursor *c, char want) {
    if (c->p == c->end || *c->p != want) return false;
    c->p++;
    return true;
}

/* Exactly `width` digits, the number between least and most. */
static bool digits(struct cursor *c, unsigned width, unsigned least, unsigned most) {
    unsigned v = 0;
    if ((size_t)(c->end - c->p) < width) return false;
    for (unsigned i = 0; i < width; i++) {
        if (!is_digit(c->p[i])) return false;
        v = v * 10 + (unsigned)(c->p[i] - '0');
    }
    c->p += width;
    return v >= least && v <= most;
}

/* <0> … <191>, no leading zeros (RFC 5424 6.2.1). */
static bool priority(struct cursor *c, struct syslog *out) {
    struct cursor at = *c;
    unsigned v = 0, n = 0;
    if (!take(&at, '<')) return false;
    for (; n < 3 && at.p < at.end && is_digit(*at.p); n++) v = v * 10 + (unsigned)(*at.p++ - '0');
    if (n == 0 || v > 191 || (n > 1 && at.p[-(int)n] == '0') || !take(&at, '>')) return false;
    out->facility = (uint8_t)(v / 8);
    out->severity = (uint8_t)(v % 8);
    *c = at;
    return true;
}

/* 2026-11-22T04:04:02.123456Z or +01:00 (RFC 3339 as RFC 5424 6.2.3 narrows it). */
static bool iso_time(struct cursor *c, struct slice *out) {
    struct cursor at = *c;
    bool good = digits(&at, 4, 0, 9999) && take(&at, '-') && digits(&at, 2, 1, 12) && take(&at, '-') && digits(&at, 2, 1, 31) &&
                take(&at, 'T') && digits(&at, 2, 0, 23) && take(&at, ':') && digits(&at, 2, 0, 59) && take(&at, ':') &&
                digits(&at, 2, 0, 59);
    if (good && take(&at, '.')) {
        const char *from = at.p;
        while (at.p < at.end && at.p - from < 6 && is_digit(*at.p)) at.p++;
        good = at.p > from;
    }
    if (good && !take(&at, 'Z'))
        good = (take(&at, '+') || take(&at, '-')) && digits(&at, 2, 0, 23) && take(&at, ':') && digits(&at, 2, 0, 59);
    if (!good) return false;
    *out = piece(c->p, at.p);
    *c = at;
    return true;
}

/* ---- RFC 5424 ---- */

/* One to `most` printable ASCII characters; "-" alone is none. A space must follow. */
static bool word(struct cursor *c, size_t most, struct slice *out) {
    const char *from = c->p;
    while (c->p < c->end && is_print(*c->p)) c->p++;
    size_t n = (size_t)(c->p - from);
    *out = n == 1 && *from == '-' ? piece(from, from) : piece(from, c->p);
    return n > 0 && n <= most && take(c, ' ');
}

/* SD-NAME: 1 to 32 printable characters without = ] ". */
static bool name(struct cursor *c) {
    const char *from = c->p;
    while (c->p < c->end && is_print(*c->p) && *c->p != '=' && *c->p != ']' && *c->p != '"') c->p++;
    return c->p > from && c->p - from <= 32;
}

/* name="value": in a value " \ ] are escaped. */
static bool parameter(struct cursor *c) {
    if (!name(c) || !take(c, '=') || !take(c, '"')) return false;
    for (; c->p < c->end && *c->p != '"'; c->p++) {
        if (*c->p == ']') return false;
        if (*c->p == '\\' && c->end - c->p > 1 && (c->p[1] == '"' || c->p[1] == '\\' || c->p[1] == ']')) c->p++;
    }
    return take(c, '"');
}

static bool element(struct cursor *c) {
    if (!take(c, '[') || !name(c)) return false;
    while (take(c, ' '))
        if (!parameter(c)) return false;
    return take(c, ']');
}

static bool data(struct cursor *c, struct slice *out) {
    const char *from = c->p;
    *out = piece(from, from);
    if (take(c, '-')) return true;
    do {
        if (!element(c)) return false;
    } while (c->p < c->end && *c->p == '[');
    *out = piece(from, c->p);
    return true;
}

static struct slice text_of(const struct cursor *c) {
    bool mark = c->end - c->p >= 3 && memcmp(c->p, "\xef\xbb\xbf", 3) == 0; /* the byte order mark says UTF-8, and is no text */
    return piece(c->p + (mark ? 3 : 0), c->end);
}

/* Behind <PRI>. */
static bool modern(struct cursor c, struct syslog *out) {
    if (!take(&c, '1') || !take(&c, ' ')) return false;
    if (c.end - c.p > 1 && c.p[0] == '-' && c.p[1] == ' ') c.p += 2;
    else if (!iso_time(&c, &out->time) || !take(&c, ' ')) return false;
    if (!word(&c, 255, &out->host) || !word(&c, 48, &out->app) || !word(&c, 128, &out->pid) || !word(&c, 32, &out->msgid) ||
        !data(&c, &out->data))
        return false;
    if (c.p < c.end && !take(&c, ' ')) return false;
    out->text = text_of(&c);
    out->form = SYSLOG_5424;
    return true;
}

/* ---- RFC 3164, as it is found ---- */

static bool month(struct cursor *c) {
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (c->end - c->p < 3) return false;
    for (unsigned i = 0; i < 36; i += 3) {
        if (memcmp(c->p, names + i, 3) != 0) continue;
        c->p += 3;
        return true;
    }
    return false;
}

/* "Nov  2 04:04:02"; some write the year, or a fraction, behind it. */
static bool old_time(struct cursor *c, struct slice *out) {
    struct cursor at = *c;
    if (!month(&at) || !take(&at, ' ')) return false;
    (void)(take(&at, ' ') || (at.p < at.end && *at.p == '0'));
    while (at.p < at.end && is_digit(*at.p) && at.p - c->p < 6) at.p++;
    if (!take(&at, ' ')) return false;
    struct cursor year = at;
    if (digits(&year, 4, 1970, 9999) && take(&year, ' ')) at = year;
    if (!digits(&at, 2, 0, 23) || !take(&at, ':') || !digits(&at, 2, 0, 59) || !take(&at, ':') || !digits(&at, 2, 0, 60)) return false;
    if (take(&at, '.'))
        while (at.p < at.end && is_digit(*at.p)) at.p++;
    *out = piece(c->p, at.p);
    *c = at;
    return true;
}

static bool is_tag(char c) {
    return is_print(c) && c != ':' && c != '[' && c != ']' && c != '<' && c != '>' && c != '"';
}

/* "app:", "app[pid]:" and, in `loose`, these without their colon. */
static bool tag(struct cursor *c, bool loose, struct syslog *out) {
    struct cursor at = *c;
    while (at.p < at.end && is_tag(*at.p) && at.p - c->p < 64) at.p++;
    struct slice app = piece(c->p, at.p), pid = {.p = at.p};
    if (app.n == 0) return false;
    if (take(&at, '[')) {
        const char *from = at.p;
        while (at.p < at.end && is_print(*at.p) && *at.p != ']' && at.p - from < 128) at.p++;
        pid = piece(from, at.p);
        if (!take(&at, ']')) return false;
    }
    if (!take(&at, ':') && !(loose && pid.n)) return false;
    (void)take(&at, ' ');
    out->app = app;
    out->pid = pid;
    *c = at;
    return true;
}

/* Behind the time: a host, unless the next word looks like a tag. */
static void host(struct cursor *c, struct syslog *out) {
    struct cursor at = *c;
    while (at.p < at.end && is_print(*at.p) && *at.p != '[') at.p++;
    bool some = at.p > c->p && at.p - c->p <= 255 && at.p[-1] != ':';
    struct slice found = piece(c->p, at.p);
    if (!some || !take(&at, ' ')) return;
    out->host = found;
    *c = at;
}

static void old(struct cursor c, struct syslog *out) {
    bool timed = old_time(&c, &out->time) || iso_time(&c, &out->time);
    out->form = SYSLOG_3164;
    if (timed) {
        (void)take(&c, ':'); /* as some routers end it */
        while (take(&c, ' ')) continue;
        host(&c, out);
    }
    (void)tag(&c, timed, out);
    out->text = text_of(&c);
}

void syslog_parse(const char *p, size_t n, struct syslog *out) {
    while (n > 0 && (p[n - 1] == '\n' || p[n - 1] == '\r' || p[n - 1] == '\0')) n--;
    struct cursor c = {.p = p, .end = p + n};
    *out = (struct syslog){.form = SYSLOG_BARE, .facility = 1, .severity = 5};
    if (!priority(&c, out)) {
        out->text = text_of(&c);
        return;
    }
    struct syslog fresh = {.facility = out->facility, .severity = out->severity};
    *out = fresh;
    if (modern(c, out)) return;
    *out = fresh; /* what the failed reading left in it */
    old(c, out);
}
