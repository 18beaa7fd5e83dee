/* Syslog: the examples of RFC 5424 and RFC 3164 and what devices really send, streams split at every byte, and what is written of hostile bytes. */
#include "proto/syslog.h"
#include "unit/tap.h"
#include <stdlib.h>

static const char *piece(struct slice s) {
    static char text[8][256];
    static unsigned next;
    char *to = text[next++ % 8];
    snprintf(to, 256, "%.*s", (int)s.n, s.n ? s.p : "");
    return to;
}

/* For the name of a test: one line. */
static const char *shown(const char *s) {
    static char text[2][128];
    static unsigned next;
    char *to = text[next++ % 2];
    snprintf(to, 128, "%s", s);
    for (char *c = to; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) *c = '.';
    return to;
}

struct expect {
    const char *in;
    enum syslog_form form;
    int facility, severity;
    const char *time, *host, *app, *pid, *msgid, *data, *text;
};

static const struct expect cases[] = {
    /* RFC 5424 6.5 */
    {"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8", SYSLOG_5424,
     4, 2, "2003-10-11T22:14:15.003Z", "mymachine.example.com", "su", "", "ID47", "", "'su root' failed for lonvick on /dev/pts/8"},
    {"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.", SYSLOG_5424, 20, 5,
     "2003-08-24T05:14:15.000003-07:00", "192.0.2.1", "myproc", "8710", "", "", "%% It's time to make the do-nuts."},
    {"<165>1 2003-10-11T22:14:15.003Z m evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventID=\"1011\"][x@1] An entry", SYSLOG_5424, 20, 5,
     "2003-10-11T22:14:15.003Z", "m", "evntslog", "", "ID47", "[exampleSDID@32473 iut=\"3\" eventID=\"1011\"][x@1]", "An entry"},
    {"<165>1 - - - - - [a b=\"x\\\"\\]\\\\y\"]", SYSLOG_5424, 20, 5, "", "", "", "", "", "[a b=\"x\\\"\\]\\\\y\"]", ""},
    {"<0>1 - - - - - -\r\n", SYSLOG_5424, 0, 0, "", "", "", "", "", "", ""},
    /* nearly, so the looser rules read it */
    {"<34>1 2003-13-11T22:14:15Z m su - - - x", SYSLOG_3164, 4, 2, "", "", "", "", "", "", "1 2003-13-11T22:14:15Z m su - - - x"},
    {"<34>1 - m su - - [a b=\"]\"] x", SYSLOG_3164, 4, 2, "", "", "", "", "", "", "1 - m su - - [a b=\"]\"] x"},
    {"<34>1 2003-10-11T22:14:15.0000001Z m a - - - x", SYSLOG_3164, 4, 2, "", "", "", "", "", "",
     "1 2003-10-11T22:14:15.0000001Z m a - - - x"},
    /* RFC 3164 5.4 */
    {"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8", SYSLOG_3164, 4, 2, "Oct 11 22:14:15", "mymachine",
     "su", "", "", "", "'su root' failed for lonvick on /dev/pts/8"},
    {"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", SYSLOG_3164, 1, 5, "Feb  5 17:32:18", "10.0.0.99", "", "", "", "", "Use the BFG!"},
    {"Use the BFG!", SYSLOG_BARE, 1, 5, "", "", "", "", "", "", "Use the BFG!"},
    /* as it is found */
    {"<30>Nov 22 04:04:02 host dhcpd[99]: lease gone\n", SYSLOG_3164, 3, 6, "Nov 22 04:04:02", "host", "dhcpd", "99", "", "", "lease gone"},
    {"<30>dhcpd[99]: lease gone", SYSLOG_3164, 3, 6, "", "", "dhcpd", "99", "", "", "lease gone"},
    {"<30>Nov 22 04:04:02 kernel: no host", SYSLOG_3164, 3, 6, "Nov 22 04:04:02", "", "kernel", "", "", "", "no host"},
    {"<189>Nov 22 2026 04:04:02.123: %SYS-5-CONFIG_I: Configured", SYSLOG_3164, 23, 5, "Nov 22 2026 04:04:02.123", "", "%SYS-5-CONFIG_I",
     "", "", "", "Configured"},
    {"<30>2026-11-22T04:04:02.5+01:00 host app[1]: text", SYSLOG_3164, 3, 6, "2026-11-22T04:04:02.5+01:00", "host", "app", "1", "", "",
     "text"},
    {"<30>Some words without a tag", SYSLOG_3164, 3, 6, "", "", "", "", "", "", "Some words without a tag"},
    /* no priority after all */
    {"<192>x", SYSLOG_BARE, 1, 5, "", "", "", "", "", "", "<192>x"},
    {"<034>x", SYSLOG_BARE, 1, 5, "", "", "", "", "", "", "<034>x"},
    {"<>x", SYSLOG_BARE, 1, 5, "", "", "", "", "", "", "<>x"},
    {"<34", SYSLOG_BARE, 1, 5, "", "", "", "", "", "", "<34"},
    {"<191>", SYSLOG_3164, 23, 7, "", "", "", "", "", "", ""},
    {"\n", SYSLOG_BARE, 1, 5, "", "", "", "", "", "", ""},
};

static void messages(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct expect *x = &cases[i];
        size_t n = strlen(x->in);
        char *exact = malloc(n ? n : 1);
        struct syslog m;
        memcpy(exact, x->in, n);
        syslog_parse(exact, n, &m);
        bool good = m.form == x->form && m.facility == x->facility && m.severity == x->severity && !strcmp(piece(m.time), x->time) &&
                    !strcmp(piece(m.host), x->host) && !strcmp(piece(m.app), x->app) && !strcmp(piece(m.pid), x->pid) &&
                    !strcmp(piece(m.msgid), x->msgid) && !strcmp(piece(m.data), x->data) && !strcmp(piece(m.text), x->text);
        ok(good, "%.60s: form %d %s.%s time '%s' host '%s' app '%s' pid '%s' text '%.30s'", shown(x->in), (int)m.form,
           syslog_facility(m.facility), syslog_severity(m.severity), piece(m.time), piece(m.host), piece(m.app), piece(m.pid),
           piece(m.text));
        free(exact);
    }
}

/* All messages of a stream in pieces of `step` bytes, joined by '|', those that were cut with a '+', the one without an end with a '$'. */
static void stream(const char *p, size_t n, size_t step, char out[400]) {
    struct syslog_frames f = {0};
    struct slice msg;
    size_t from = 0, used, o = 0;
    bool cut;
    out[0] = '\0';
    for (size_t have = 0; have < n;) {
        have = have + step < n ? have + step : n;
        while (syslog_next(&f, p + from, have - from, &used, &msg, &cut)) {
            o += (size_t)snprintf(out + o, 400 - o, "%.*s%s|", (int)(msg.n < 40 ? msg.n : 40), msg.p, cut ? "+" : "");
            from += used;
        }
        from += used;
    }
    if (syslog_last(&f, p + from, n - from, &msg)) snprintf(out + o, 400 - o, "%.*s$", (int)msg.n, msg.p);
}

static void streams(void) {
    static const struct {
        const char *in, *out;
    } tried[] = {
        {"<34>a: b\n<34>c: d\n", "<34>a: b|<34>c: d|"},
        {"<34>a: b\r\n\n<34>c: d\n", "<34>a: b|<34>c: d|"},
        {"8 <34>a: b9 <34>a: bc", "<34>a: b|<34>a: bc|"},
        {"8 <34>a: b\n9 <34>a: bc\n", "<34>a: b|<34>a: bc|"},
        {"9 <34>a: \nb<34>x", "<34>a: \nb|<34>x$"},
        {"<34>a\n8 <34>a: b<34>c\n", "<34>a|<34>a: b|<34>c|"},
        {"2026-11-22 a line\n8 <34>a: b", "2026-11-22 a line|<34>a: b|"},
        {"12345678901 a line\n", "12345678901 a line|"},
        {"40 <34>never whole", "<34>never whole$"},
        {"<34>no end", "<34>no end$"},
        {"12", ""},
        {"3 ", ""},
    };
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        char whole[400], some[400];
        size_t n = strlen(tried[i].in), differ = 0;
        stream(tried[i].in, n, n, whole);
        for (size_t step = 1; step < n; step++) {
            stream(tried[i].in, n, step, some);
            differ += strcmp(some, whole) != 0;
        }
        ok(strcmp(whole, tried[i].out) == 0 && differ == 0, "%.40s: %s, split anyhow", shown(tried[i].in), shown(whole));
    }
}

static void too_long(void) {
    size_t n = SYSLOG_MOST * 3;
    char *p = malloc(n + 64), out[400], *at;
    memset(p, 'x', n + 64);
    memcpy(p, "<34>", 4);
    memcpy(p + n, "\n<34>y\n", 7);
    static const size_t steps[] = {1, 7, 8191, 8192, 8193, 100000};
    size_t wrong = 0;
    for (size_t i = 0; i < 6; i++) {
        stream(p, n + 7, steps[i], out);
        at = strchr(out, '|');
        wrong += !at || at[-1] != '+' || strcmp(at, "|<34>y|") != 0;
    }
    ok(wrong == 0, "a line that is too long is cut, its rest left out, and the next one is whole: …%s", strchr(out, '+'));
    size_t head = (size_t)snprintf(p, 32, "%zu ", n);
    memcpy(p + head, "<34>", 4);
    memset(p + head + 4, 'x', n - 4);
    memcpy(p + head + n, "5 <34>y", 7);
    wrong = 0;
    for (size_t i = 0; i < 6; i++) {
        stream(p, head + n + 7, steps[i], out);
        at = strchr(out, '|');
        wrong += !at || at[-1] != '+' || strcmp(at, "|<34>y|") != 0;
    }
    ok(wrong == 0, "so is a counted one: …%s", strchr(out, '+'));
    free(p);
}

static void written(void) {
    static const char in[] = "<34>Oct 11 22:14:15 host su[7]: \xff a\nb \x1b[2J\xc2\x9b \xe2\x80\xae \xc3\xa4 \x07";
    const struct syslog_from from = {.ms = 1000000000123, .address = "192.0.2.7", .transport = "udp", .listener = "logs", .cut = true};
    struct syslog m;
    struct buf b = {0};
    syslog_parse(in, sizeof in - 1, &m);
    ok(syslog_line(&m, &from, &b) && b.n &&
           !strncmp(b.p,
                    "2001-09-09T01:46:40.123Z 192.0.2.7 udp auth.crit host su[7] - - \\xff a\\x0ab \\x1b[2J\\xc2\\x9b "
                    "\\xe2\\x80\\xae \xc3\xa4 \\x07 [cut]\n",
                    b.n),
       "controls, broken bytes and what turns the direction of writing are harmless in a line: %.*s", (int)b.n - 1, b.p);
    buf_clear(&b);
    ok(syslog_json(&m, &from, &b) && buf_add(&b, "", 1) && strstr(b.p, "\"text\":\"\\\\xff a\\\\x0ab \\\\x1b[2J") &&
           strstr(b.p, "\"pid\":\"7\"") && strstr(b.p, "\"cut\":true"),
       "and in JSON: %s", b.p);
    buf_free(&b);
}

int main(void) {
    messages();
    streams();
    too_long();
    written();
    return tap_end();
}
