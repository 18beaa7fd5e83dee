/* The log: shape of lines, bounds, escapes, floods, and that a sink which does not take lines never stops anybody. */
#include "base/log.h"
#include "base/clock.h"
#include "unit/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t mono_now = 5000, real_now = 1795297803123;
static int64_t fake_mono(void) {
    return mono_now;
}
static int64_t fake_real(void) {
    return real_now;
}

static int from, to;
static char got[1 << 20];

static void open_pipe(bool json, enum log_level least) {
    int p[2];
    if (pipe(p) != 0) exit(1);
    from = p[0];
    to = p[1];
    fcntl(from, F_SETFL, O_NONBLOCK);
    log_setup(to, json, least);
}

static const char *read_all(void) {
    size_t n = 0;
    ssize_t r;
    while (n < sizeof got - 1 && (r = read(from, got + n, sizeof got - 1 - n)) > 0) n += (size_t)r;
    got[n] = 0;
    return got;
}

/* What was read, on one line: test names must be. */
static const char *shown(void) {
    static char text[300];
    snprintf(text, sizeof text, "%.299s", got);
    for (char *c = text; (c = strchr(c, '\n'));) *c = '|';
    return text;
}

static void close_pipe(void) {
    log_setup(2, false, LOG_LVL_INFO);
    close(from);
    close(to);
}

static void shapes(void) {
    open_pipe(false, LOG_LVL_INFO);
    log_info("engine", "message %d", 7);
    ok(!strcmp(read_all(), "2026-11-21T21:50:03.123Z info engine: message 7\n"), "a human line: %s", shown());
    const char *kv[] = {"key", "value", "other", "two words", "quote", "a\"b", "empty", "", NULL};
    log_kv(LOG_LVL_WARN, "gate", kv, "with pairs");
    ok(!strcmp(read_all(), "2026-11-21T21:50:03.123Z warn gate: with pairs key=value other=\"two words\" quote=\"a\\\"b\" empty=\"\"\n"),
       "pairs: %s", shown());
    log_error("x", "%s", "line\nbreak \x1b[31m \xff \xc2\x9b ü \xe2\x80\xae \xe2\x81\xa9 €");
    ok(strstr(read_all(), "line\\x0abreak \\x1b[31m \\xff \\x9b ü \\u202e \\u2069 €\n") != NULL, "control bytes are escaped: %s", shown());
    log_debug("x", "below the level");
    ok(!*read_all(), "a line below the level is not written");
    close_pipe();
    open_pipe(true, LOG_LVL_DEBUG);
    const char *jkv[] = {"k\"", "v\\ \n", NULL};
    log_kv(LOG_LVL_DEBUG, "a", jkv, "m \xff\"");
    ok(!strcmp(
           read_all(),
           "{\"time\":\"2026-11-21T21:50:03.123Z\",\"level\":\"debug\",\"area\":\"a\",\"message\":\"m \xef\xbf\xbd\\\"\",\"k\\\"\":\"v\\\\ \\u000a\"}\n"),
       "a JSON line: %s", shown());
    errno = 77;
    log_info("a", "x");
    ok(errno == 77, "errno is left alone");
    close_pipe();
}

static void bounds(void) {
    static char big[10000];
    memset(big, 'x', sizeof big - 1);
    const char *kv[] = {"value", big, "after", "gone", NULL};
    for (int json = 0; json < 2; json++) {
        open_pipe(json, LOG_LVL_INFO);
        log_kv(LOG_LVL_INFO, "a", kv, "%s", big);
        const char *line = read_all();
        size_t n = strlen(line);
        ok(n <= LOG_LINE && line[n - 1] == '\n' && strchr(line, '\n') == line + n - 1,
           "a long line is one bounded line (%zu bytes, json %d)", n, json);
        ok(strstr(line, "…") != NULL, "what was cut shows");
        ok(!json || !strcmp(line + n - 3, "\"}\n"), "cut JSON is still closed");
        ok(!strstr(line, "after"), "what does not fit is left out whole");
        memset(big, json ? 'x' : 1, sizeof big - 1); /* the second time every byte grows to six */
        close_pipe();
    }
    memset(big, 1, sizeof big - 1);
    for (int json = 0; json < 2; json++) {
        open_pipe(json, LOG_LVL_INFO);
        log_kv(LOG_LVL_INFO, big, kv, "%s", big);
        const char *line = read_all();
        ok(strlen(line) <= LOG_LINE && line[strlen(line) - 1] == '\n', "escapes are bounded too (json %d)", json);
        close_pipe();
    }
}

static int count_lines(const char *s) {
    int n = 0;
    for (; (s = strchr(s, '\n')); s++) n++;
    return n;
}

static void floods(void) {
    open_pipe(false, LOG_LVL_INFO);
    mono_now = 100000;
    for (int i = 0; i < 1254; i++) log_info("gate", "refused %d", i);
    log_info("gate", "another kind");
    ok(count_lines(read_all()) == LOG_RATE + 1, "%d lines of one kind a second, another kind is not held back", LOG_RATE);
    mono_now += 1000;
    log_info("other", "next second");
    ok(strstr(read_all(), "gate: … and 1,234 more like it: refused %d\n") != NULL, "the rest is counted: %s", shown());
    log_info("gate", "refused %d", 1);
    ok(strstr(read_all(), "refused 1\n") && !strstr(got, "more like"), "and told once");
    for (int i = 0; i < 100; i++) log_info("access", "GET %d", i);
    ok(count_lines(read_all()) == 100, "the access log is not thinned");
    close_pipe();
}

static void full_sink(void) {
    open_pipe(false, LOG_LVL_INFO);
    uint64_t before = log_dropped();
    int n = 0;
    for (; n < 100000 && log_dropped() == before; n++) log_info("access", "a line of some length that fills the pipe after a while %d", n);
    ok(n < 100000 && log_dropped() == before + 1, "a full pipe drops the line instead of waiting (after %d lines)", n);
    ok(!(fcntl(to, F_GETFL) & O_NONBLOCK), "the flags of the descriptor we were lent are as they were");
    for (int i = 0; i < 9; i++) log_info("access", "lost");
    read_all();
    log_info("access", "back");
    const char *text = read_all();
    ok(strstr(text, "10 log lines were lost") && strstr(text, "back\n"), "the loss is told once the sink takes lines: %s", shown());
    log_info("access", "again");
    ok(!strstr(read_all(), "lost"), "and only once");
    close(from);
    from = -1;
    log_info("access", "nobody reads");
    ok(log_dropped() > before + 10, "a reader that has gone is a lost line, not a signal");
    log_setup(2, false, LOG_LVL_INFO);
    close(to);
}

static void full_socket(void) {
    int p[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) != 0) exit(1);
    from = p[0];
    fcntl(from, F_SETFL, O_NONBLOCK);
    log_setup(p[1], false, LOG_LVL_INFO);
    uint64_t before = log_dropped();
    for (int i = 0; i < 1000000 && log_dropped() == before; i++) log_info("access", "to a journal that does not read %d", i);
    ok(log_dropped() > before, "a full socket drops");
    bool torn = false;
    for (const char *line = read_all(); *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "2026-", 5) != 0) torn = true;
        if (!strchr(line, '\n')) break;
    }
    ok(!torn, "and no line runs into another");
    log_setup(2, false, LOG_LVL_INFO);
    close(p[0]);
    close(p[1]);
}

static void disk_full(void) {
    int fd = open("/dev/full", O_WRONLY);
    if (fd < 0) {
        ok(1, "no /dev/full here # SKIP");
        return;
    }
    uint64_t before = log_dropped();
    log_setup(fd, false, LOG_LVL_INFO);
    log_info("access", "no room");
    ok(log_dropped() == before + 1, "a full disk is a lost line");
    log_setup(2, false, LOG_LVL_INFO);
    close(fd);
}

#define THREADS 4
#define EACH    500
static void *chatter(void *arg) {
    for (int i = 0; i < EACH; i++) log_info("access", "thread %d line %d end", (int)(intptr_t)arg, i);
    return NULL;
}
static char drained[4 << 20];
static size_t ndrained;
static void *drain(void *arg) {
    ssize_t r;
    (void)arg;
    fcntl(from, F_SETFL, 0);
    while (ndrained < sizeof drained - 1 && (r = read(from, drained + ndrained, sizeof drained - 1 - ndrained)) > 0) ndrained += (size_t)r;
    return NULL;
}
static void threads(void) {
    pthread_t t[THREADS], reader;
    open_pipe(false, LOG_LVL_INFO);
    uint64_t before = log_dropped();
    pthread_create(&reader, NULL, drain, NULL);
    for (int i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, chatter, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    uint64_t lost = log_dropped() - before;
    log_setup(2, false, LOG_LVL_INFO);
    close(to);
    pthread_join(reader, NULL);
    close(from);
    int whole = 0, lines = 0;
    for (char *line = strtok(drained, "\n"); line; line = strtok(NULL, "\n")) {
        int a, b, used = 0;
        const char *m = strstr(line, "access: ");
        if (!m) continue;
        lines++;
        if (sscanf(m, "access: thread %d line %d end%n", &a, &b, &used) == 2 && used && !m[used]) whole++;
    }
    ok(whole == lines && (uint64_t)whole + lost == THREADS * EACH, "%d whole lines of %d threads, %d lost and counted", whole, THREADS,
       (int)lost);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    clock_fake(fake_mono, fake_real);
    shapes();
    bounds();
    floods();
    full_sink();
    full_socket();
    disk_full();
    threads();
    return tap_end();
}
