/* Fuzz target: syslog. The input as one message, and as a stream that comes in pieces: however it is cut, the same messages come out, each no
 * longer than is kept; and whatever a message holds, its line is one line without a control character. */
#include "base/utf8.h"
#include "proto/syslog.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fine) {
    if (!fine) abort();
}

static void inside(struct slice s, const char *p, size_t n) {
    must(s.n == 0 || (s.p >= p && s.p + s.n <= p + n));
}

static void check_message(const char *p, size_t n) {
    const struct syslog_from from = {.ms = 1000, .address = "192.0.2.1", .transport = "tcp", .listener = "logs"};
    struct syslog m;
    struct buf line = {0}, json = {0};
    syslog_parse(p, n, &m);
    must(m.facility < 24 && m.severity < 8 && m.form <= SYSLOG_BARE);
    const struct slice all[] = {m.time, m.host, m.app, m.pid, m.msgid, m.data, m.text};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) inside(all[i], p, n);
    must(m.form == SYSLOG_5424 || (m.msgid.n == 0 && m.data.n == 0));
    must(syslog_line(&m, &from, &line) && line.p[line.n - 1] == '\n' && utf8_valid(line.p, line.n));
    for (size_t i = 0; i + 1 < line.n; i++) must((unsigned char)line.p[i] >= 0x20 && line.p[i] != 0x7f);
    must(syslog_json(&m, &from, &json) && utf8_valid(json.p, json.n));
    buf_free(&line);
    buf_free(&json);
}

/* All messages of a stream that arrives in pieces of `step` bytes, put into out with a count before each. */
static void stream(const char *p, size_t n, size_t step, struct buf *out) {
    struct syslog_frames f = {0};
    size_t from = 0, have = 0;
    struct slice msg;
    bool cut;
    while (have < n) {
        have = n - have < step ? n : have + step;
        for (;;) {
            size_t used;
            char *exact = malloc(have - from + 1); /* so that the sanitizer sees one byte too far */
            must(exact != NULL);
            memcpy(exact, p + from, have - from);
            bool found = syslog_next(&f, exact, have - from, &used, &msg, &cut);
            must(used <= have - from && (!found || (used > 0 && msg.n > 0 && msg.n <= SYSLOG_MOST)));
            if (found) {
                must(buf_fmt(out, "%u%s:", (unsigned)msg.n, cut ? "+" : "") && buf_add(out, msg.p, msg.n));
                if (step > n) check_message(msg.p, msg.n);
            }
            free(exact);
            from += used;
            if (!found) break;
        }
        must(have - from <= SYSLOG_MOST + SYSLOG_COUNT);
    }
    if (syslog_last(&f, p + from, n - from, &msg)) must(msg.n > 0 && buf_fmt(out, "%u.", (unsigned)msg.n) && buf_add(out, msg.p, msg.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *p = (const char *)data;
    struct buf whole = {0}, one = {0}, some = {0};
    check_message(p, size);
    stream(p, size, size + 1, &whole);
    if (size < 512) stream(p, size, 1, &one);
    stream(p, size, 7, &some);
    must(some.n == whole.n && (whole.n == 0 || memcmp(some.p, whole.p, whole.n) == 0));
    must(size >= 512 || (one.n == whole.n && (whole.n == 0 || memcmp(one.p, whole.p, whole.n) == 0)));
    buf_free(&whole);
    buf_free(&one);
    buf_free(&some);
    return 0;
}
