/* A message as a line of a file, and as JSON. Strangers write these bytes, and people read them in terminals. */
#include "base/clock.h"
#include "base/utf8.h"
#include "proto/syslog.h"
#include <inttypes.h>
#include <stdio.h>

/* Bytes that can stand as they are, from s on: whole characters that are neither C0 nor C1 controls nor made to change the direction of what follows. */
static size_t plain(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        size_t len = utf8_len(s + i, n - i);
        if (len == 0 || c < 0x20 || c == 0x7f || utf8_acts(s + i, len)) break;
        i += len;
    }
    return i;
}

static bool harmless(struct slice s, struct buf *out) {
    for (size_t i = 0; i < s.n;) {
        size_t n = plain(s.p + i, s.n - i);
        if (n && !buf_add(out, s.p + i, n)) return false;
        i += n;
        if (i == s.n) break;
        if (!buf_fmt(out, "\\x%02x", (unsigned)(unsigned char)s.p[i])) return false;
        i++;
    }
    return true;
}

static bool word(struct slice s, struct buf *out) {
    return s.n ? harmless(s, out) : buf_str(out, "-");
}

bool syslog_line(const struct syslog *m, const struct syslog_from *from, struct buf *out) {
    char when[CLOCK_TEXT];
    return buf_fmt(out, "%s %s %s %s.%s ", clock_text(from->ms, when), from->address, from->transport, syslog_facility(m->facility),
                   syslog_severity(m->severity)) &&
           word(m->host, out) && buf_str(out, " ") && word(m->app, out) &&
           (!m->pid.n || (buf_str(out, "[") && harmless(m->pid, out) && buf_str(out, "]"))) && buf_str(out, " ") && word(m->msgid, out) &&
           buf_str(out, " ") && word(m->data, out) && buf_str(out, " ") && harmless(m->text, out) &&
           buf_str(out, from->cut ? " [cut]\n" : "\n");
}

static bool member(const char *key, struct slice s, struct buf *out) {
    struct buf clean = {0};
    bool good = !s.n || (harmless(s, &clean) && buf_fmt(out, ",\"%s\":", key) && buf_json(out, clean.p, clean.n));
    buf_free(&clean);
    return good;
}

static struct slice of(const char *s) {
    return (struct slice){.p = s, .n = (uint32_t)strlen(s)};
}

bool syslog_json(const struct syslog *m, const struct syslog_from *from, struct buf *out) {
    static const char *const forms[] = {"rfc5424", "rfc3164", "text"};
    return buf_fmt(out, "{\"ms\":%" PRId64, from->ms) && member("listener", of(from->listener), out) &&
           member("from", of(from->address), out) && member("transport", of(from->transport), out) &&
           member("form", of(forms[m->form]), out) && member("facility", of(syslog_facility(m->facility)), out) &&
           member("severity", of(syslog_severity(m->severity)), out) && member("time", m->time, out) && member("host", m->host, out) &&
           member("app", m->app, out) && member("pid", m->pid, out) && member("msgid", m->msgid, out) && member("data", m->data, out) &&
           member("text", m->text, out) && (!from->cut || buf_str(out, ",\"cut\":true")) && buf_str(out, "}");
}
