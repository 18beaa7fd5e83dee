/* The spool: what is acknowledged is there exactly once, whatever happens to the process, the disk or the file. */
#include "svc/spool.h"
#include "base/clock.h"
#include "base/log.h"
#include "proto/exchange.h"
#include "svc/spool_record.h"
#include "unit/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char base[200];

static void nap(long ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static const char *dir_of(const char *name) {
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", base, name);
    return path;
}

static void run_shell(const char *fmt, const char *arg) {
    char cmd[600];
    snprintf(cmd, sizeof cmd, fmt, arg);
    if (system(cmd) != 0) printf("# %s failed\n", cmd);
}

static uint64_t put_event(struct spool *s, unsigned producer, const struct event *ev) {
    uint64_t ticket = spool_push(s, producer, ev);
    if (ticket) spool_wake(s);
    return ticket;
}

static struct event event_of(uint64_t recipient, uint8_t level) {
    struct event ev = {.type = EV_OPEN,
                       .cls = CLASS_HUMAN,
                       .tls = EV_TLS_OWN,
                       .method = M_GET,
                       .ms = clock_real_ms(),
                       .listener = "http",
                       .agent = "Mozilla/5.0 \"x\"",
                       .agent_n = 15};
    struct err e;
    ev.token = (struct token){.kind = TOKEN_OPEN,
                              .level = level,
                              .campaign = 7,
                              .recipient = recipient,
                              .link = 3,
                              .minute = (uint32_t)((ev.ms / 1000 - 1577836800) / 60)};
    addr_parse_ip("192.0.2.7", 9, &ev.address, &e);
    return ev;
}

/* --- what is in the spool --- */

struct seen {
    uint64_t lines, epochs, gaps, last, text_n;
    char text[4096]; /* beginning of the lines */
};

static uint64_t field(const char *line, const char *name) {
    char key[40];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *p = strstr(line, key);
    return p == NULL ? UINT64_MAX : strtoull(p + strlen(key), NULL, 10);
}

/* Read everything after `after`; times[recipient] counts how often each was seen (may be NULL). Checks that seq has no gap in an epoch. */
static bool read_all(const char *dir, uint64_t after, uint32_t *times, size_t ntimes, struct seen *out) {
    struct err e = {""};
    struct spool_reader *r = spool_reader_open(dir, &e);
    struct buf b = {0};
    memset(out, 0, sizeof *out);
    uint64_t epoch = 0, seq = 0;
    bool fine = r != NULL;
    while (fine) {
        uint64_t last;
        buf_clear(&b);
        fine = spool_read(r, after, 1 << 20, &b, &last, &e);
        if (!fine || last == after) break;
        after = out->last = last;
        buf_add(&b, "", 1);
        for (char *line = b.p, *next; *line != '\0'; line = next) {
            next = strchr(line, '\n') + 1;
            next[-1] = '\0';
            if (out->text_n + (size_t)(next - line) < sizeof out->text) {
                out->text_n += (uint64_t)snprintf(out->text + out->text_n, sizeof out->text - out->text_n, "%s\n", line);
            }
            uint64_t who = field(line, "recipient"), its = field(line, "epoch");
            if (times != NULL && who < ntimes) times[who]++;
            if (its != epoch) out->epochs++, epoch = its, seq = 0;
            if (field(line, "seq") != ++seq) out->gaps++, seq = field(line, "seq");
            out->lines++;
        }
    }
    if (!fine) printf("# %s\n", e.text);
    buf_free(&b);
    spool_reader_close(r);
    return fine;
}

/* --- done callbacks --- */

struct acked {
    _Atomic uint64_t ok[4], refused[4];
};
static void on_done(void *ctx, unsigned producer, uint64_t upto, bool fine) {
    struct acked *a = ctx;
    atomic_store(fine ? &a->ok[producer] : &a->refused[producer], upto);
}

static struct spool *start(const char *dir, unsigned producers, struct acked *a, int64_t max, struct err *e) {
    struct spool_config cfg = {.dir = dir, .tracker_id = "trk1", .max_bytes = max, .producers = producers, .done = on_done, .ctx = a};
    return spool_start(&cfg, e);
}

static bool wait_for(const _Atomic uint64_t *what, uint64_t least) {
    for (int i = 0; i < 20000; i++) {
        if (atomic_load(what) >= least) return true;
        nap(1);
    }
    return false;
}

/* --- tests --- */

static void test_levels(void) {
    const char *dir = dir_of("levels");
    struct acked a = {0};
    struct err e = {""};
    struct spool *s = start(dir, 1, &a, 1 << 30, &e);
    ok(s != NULL, "a spool starts in a folder that is not there yet %s", e.text);
    for (uint8_t level = LEVEL_OFF; level <= LEVEL_NETWORK; level++) {
        struct event ev = event_of(4711, level);
        uint64_t t = put_event(s, 0, &ev);
        ok(level == LEVEL_OFF ? t == 0 : t == level, "level %u: ticket %llu", level, (unsigned long long)t);
    }
    struct event un = event_of(4712, LEVEL_OFF);
    un.type = EV_UNSUBSCRIBE;
    un.method = M_POST;
    un.reasons = REASON_BURST | REASON_HEAD;
    ok(put_event(s, 0, &un) == 5, "an unsubscribe is taken even at level off");
    ok(wait_for(&a.ok[0], 5), "all were committed and said so");
    struct spool_stats st;
    spool_stats(s, &st);
    ok(st.committed == 5 && st.dropped == 0 && st.queued == 0 && st.backlog == 5 && st.last_seq == 5 && !st.failing, "stats count them");
    struct seen seen;
    ok(read_all(dir, 0, NULL, 0, &seen) && seen.lines == 5 && seen.gaps == 0 && seen.epochs == 1, "a reader sees five lines");
    char *line[6], *p = seen.text;
    for (int i = 0; i < 5; i++) {
        line[i] = p;
        p = strchr(p, '\n');
        *p++ = '\0';
    }
    ok(strstr(line[0], "\"level\":\"blind\"") && !strstr(line[0], "recipient") && !strstr(line[0], "pseudonym") &&
           !strstr(line[0], "192.0.2"),
       "blind: neither recipient nor pseudonym nor address");
    ok(!strstr(line[1], "recipient") && strstr(line[1], "\"pseudonym\":\"") && !strstr(line[1], "192.0.2"),
       "anonymous: a pseudonym, no recipient, no address");
    ok(strstr(line[2], "\"recipient\":4711") && !strstr(line[2], "192.0.2") && !strstr(line[2], "Mozilla"),
       "personal: the recipient, no address, no agent");
    ok(strstr(line[3], "\"recipient\":4711") && strstr(line[3], "\"address\":\"192.0.2.7\"") &&
           strstr(line[3], "\"agent\":\"Mozilla/5.0 \\\"x\\\"\""),
       "network: address and agent, quoted for JSON");
    ok(strstr(line[4], "\"type\":\"unsubscribe\"") && strstr(line[4], "\"recipient\":4712") &&
           strstr(line[4], "\"reasons\":[\"burst\",\"head\"]") && strstr(line[4], "\"method\":\"POST\""),
       "the unsubscribe names who, with reasons and method: %s", line[4]);
    ok(strstr(line[2], "\"tracker\":\"trk1\"") && strstr(line[2], "\"class\":\"human\"") && strstr(line[2], "\"tls\":\"own\"") &&
           strstr(line[2], "\"listener\":\"http\"") && field(line[2], "link") == 3 && field(line[2], "campaign") == 7 &&
           field(line[2], "since") < 120,
       "the other fields: %s", line[2]);
    char before[40] = "", *at = strstr(line[1], "\"pseudonym\":\"");
    snprintf(before, sizeof before, "%.29s", at == NULL ? "" : at);
    struct event again = event_of(4711, LEVEL_ANONYMOUS), other = event_of(4711, LEVEL_ANONYMOUS);
    other.token.campaign = 8;
    spool_stop(s);
    s = start(dir, 1, &a, 1 << 30, &e);
    put_event(s, 0, &again);
    put_event(s, 0, &other);
    spool_stop(s);
    ok(read_all(dir, seen.last, NULL, 0, &seen) && seen.lines == 2 && seen.gaps == 0, "stop commits what is queued");
    char *second = strchr(seen.text, '\n');
    ok(second != NULL && strstr(seen.text, before) != NULL && strstr(seen.text, before) < second,
       "the pseudonym is the same in the next life");
    ok(second != NULL && strstr(second, "pseudonym") && strstr(second, before) == NULL, "and another one for another campaign");
    struct stat sb;
    char path[400];
    snprintf(path, sizeof path, "%s/spool.db", dir_of("levels"));
    ok(stat(path, &sb) == 0 && (sb.st_mode & 077) == 0 && stat(dir_of("levels"), &sb) == 0 && (sb.st_mode & 077) == 0,
       "file and folder are nobody else's");
    static const char *const methods[] = {"OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"};
    int right = 0;
    for (int m = M_OTHER; m <= M_TRACE; m++) {
        uint8_t bytes[BATCH_HEAD + RECORD_MAX];
        struct event ev = event_of(1, LEVEL_BLIND);
        ev.method = (uint8_t)m;
        size_t n = BATCH_HEAD + record_encode(&ev, NULL, bytes + BATCH_HEAD);
        batch_seal(bytes, n);
        struct buf b = {0};
        char want[40];
        snprintf(want, sizeof want, "\"method\":\"%s\"", methods[m]);
        right += batch_lines(bytes, n, "t", 1, 1, 1, &b, &e) && buf_add(&b, "", 1) && strstr(b.p, want) != NULL;
        buf_free(&b);
    }
    ok(right == 10, "method names are those of enum method");
}

static void test_decode(void) {
    uint8_t bytes[BATCH_HEAD + 2 * RECORD_MAX], copy[sizeof bytes];
    struct event ev = event_of(UINT64_MAX >> 1, LEVEL_NETWORK);
    char agent[2000], listener[100];
    memset(agent, 'a', sizeof agent);
    memset(listener, 'l', sizeof listener);
    listener[99] = '\0';
    ev.agent = agent;
    ev.agent_n = sizeof agent;
    ev.listener = listener;
    ev.token.campaign = ev.token.link = UINT64_MAX >> 1;
    ev.token.minute = UINT32_MAX;
    ev.reasons = UINT32_MAX;
    ev.address.family = 6;
    size_t one = record_encode(&ev, NULL, bytes + BATCH_HEAD), n = BATCH_HEAD + one;
    ok(one > 0 && one < RECORD_MAX, "the largest record has %zu bytes, at most %d", one, RECORD_MAX);
    struct event two = event_of(5, LEVEL_PERSONAL);
    n += record_encode(&two, NULL, bytes + n);
    batch_seal(bytes, n);
    struct buf b = {0};
    struct err e = {""};
    ok(batch_lines(bytes, n, "t", 1, 1, 2, &b, &e), "it reads back %s", e.text);
    int noticed = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(copy, bytes, n);
        copy[i] ^= 0x10;
        size_t before = b.n;
        noticed += !batch_lines(copy, n, "t", 1, 1, 2, &b, &e) && b.n == before;
    }
    ok(noticed == (int)n, "a flipped bit in any of %zu bytes is noticed, and nothing is put out", n);
    noticed = 0;
    for (size_t i = 0; i < n; i++) { /* cut short but with a right checksum: the record reader itself must hold */
        memcpy(copy, bytes, i);
        if (i >= BATCH_HEAD) batch_seal(copy, i);
        noticed += !batch_lines(copy, i, "t", 1, 1, 2, &b, &e);
    }
    ok(noticed == (int)n, "cut anywhere it is refused");
    ok(!batch_lines(bytes, n, "t", 1, 1, 1, &b, &e) && !batch_lines(bytes, n, "t", 1, 1, 3, &b, &e), "a wrong count is refused");
    buf_free(&b);
}

struct feeder {
    struct spool *s;
    unsigned producer;
    uint64_t from, n;
};
static void *feed(void *arg) {
    struct feeder *f = arg;
    for (uint64_t i = 0; i < f->n; i++) {
        struct event ev = event_of(f->from + i, LEVEL_PERSONAL);
        while (put_event(f->s, f->producer, &ev) == 0) nap(1);
    }
    return NULL;
}

static void test_volume(void) { /* two producers at once; rows of bounded size; nothing lost or doubled */
    enum { N = 150000 };
    struct acked a = {0};
    struct err e = {""};
    struct spool *s = start(dir_of("volume"), 2, &a, 1 << 30, &e);
    pthread_t t[2];
    struct feeder f[2] = {{s, 0, 0, N}, {s, 1, N, N}};
    int64_t from = clock_mono_ms();
    for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, feed, &f[i]);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    ok(wait_for(&a.ok[0], N) && wait_for(&a.ok[1], N), "%d events of two producers are committed in %lld ms", 2 * N,
       (long long)(clock_mono_ms() - from));
    struct spool_stats st;
    spool_stats(s, &st);
    printf("# %llu commits, longest wait of the last %lld us\n", (unsigned long long)st.commits, (long long)st.last_commit_us);
    uint32_t *times = calloc(2 * N, sizeof *times);
    struct seen seen;
    uint64_t wrong = 0;
    ok(read_all(dir_of("volume"), 0, times, 2 * N, &seen) && seen.lines == 2 * N && seen.gaps == 0, "a reader sees as many, without a gap");
    for (int i = 0; i < 2 * N; i++) wrong += times[i] != 1;
    ok(wrong == 0, "each exactly once");
    free(times);
    ok(spool_ack(s, "ui", seen.last, &e), "and acknowledges them %s", e.text);
    for (int i = 0; i < 60000; i++) {
        spool_stats(s, &st);
        if (st.bytes < 1000000) break;
        nap(1);
    }
    ok(st.backlog == 0 && st.bytes < 1000000, "then they are deleted: %lld bytes in use, backlog %lld", (long long)st.bytes,
       (long long)st.backlog);
    spool_stop(s);
}

struct poll_of {
    struct spool *s;
    uint64_t after;
    _Atomic bool ended;
};
static void *poll_main(void *arg) {
    struct poll_of *p = arg;
    spool_wait(p->s, p->after, 600000);
    atomic_store(&p->ended, true);
    return NULL;
}

static void test_readers(void) {
    struct acked a = {0};
    struct err e = {""};
    struct spool *s = start(dir_of("readers"), 1, &a, 1 << 30, &e);
    uint64_t pos[4];
    struct seen seen;
    ok(!spool_wait(s, 0, 20), "nothing to wait for yet");
    for (uint64_t i = 0; i < 4; i++) {
        struct event ev = event_of(i, LEVEL_PERSONAL);
        put_event(s, 0, &ev);
        wait_for(&a.ok[0], i + 1);
        read_all(dir_of("readers"), i == 0 ? 0 : pos[i - 1], NULL, 0, &seen);
        pos[i] = seen.last;
    }
    ok(spool_wait(s, pos[2], 10000) && spool_last_pos(s) == pos[3], "spool_wait sees the last position");
    struct poll_of p = {.s = s, .after = pos[3]};
    pthread_t poller;
    if (pthread_create(&poller, NULL, poll_main, &p) != 0) abort();
    for (int i = 0; i < 60000 && !atomic_load(&p.ended); i++) { /* it may not wait yet: say it until it has heard */
        spool_turn(s);
        nap(1);
    }
    ok(atomic_load(&p.ended), "a change of generation ends a long poll of ten minutes");
    pthread_join(poller, NULL);
    ok(!spool_wait(s, pos[3], 20), "and none that begins later");
    ok(pos[0] < pos[1] && pos[2] < pos[3], "positions grow");
    ok(spool_ack(s, "b", 0, &e) && spool_ack(s, "a", pos[2], &e), "two readers, one behind");
    ok(read_all(dir_of("readers"), 0, NULL, 0, &seen) && seen.lines == 4, "nothing is deleted before the second has it too");
    ok(spool_ack(s, "a", pos[1], &e) && spool_ack(s, "a", pos[2], &e), "an older or repeated word changes nothing");
    ok(!spool_ack(s, "a", pos[3] + 1, &e), "a position beyond the end is refused: %s", e.text);
    ok(!spool_ack(s, "no/name", 0, &e) && !spool_ack(s, "", 0, &e), "so is a bad name: %s", e.text);
    ok(spool_ack(s, "b", pos[1], &e), "the second follows");
    for (int i = 0; i < 60000 && (read_all(dir_of("readers"), 0, NULL, 0, &seen), seen.lines != 2); i++) nap(1);
    ok(seen.lines == 2, "what both have is deleted, and only that");
    for (unsigned i = 2; i < 16; i++) {
        char name[8];
        snprintf(name, sizeof name, "r%u", i);
        spool_ack(s, name, pos[3], &e);
    }
    ok(!spool_ack(s, "r16", 0, &e), "a 17th reader is refused: %s", e.text);
    spool_stop(s);
    /* a reader lost for 30 days: its row is aged by hand, and the engine's life made long by a faked clock */
    sqlite3 *db;
    sqlite3_open(strcat(strcpy((char[400]){0}, dir_of("readers")), "/spool.db"), &db);
    sqlite3_exec(db, "UPDATE cursor SET seen_ms = 1000 WHERE reader <> 'a'", NULL, NULL, NULL);
    sqlite3_close(db);
    s = start(dir_of("readers"), 1, &a, 1 << 30, &e);
    ok(spool_ack(s, "a", pos[3], &e) && read_all(dir_of("readers"), 0, NULL, 0, &seen) && seen.lines == 2,
       "just after a start an old reader still counts (its clock may be what is wrong)");
    spool_stop(s);
}

static _Atomic int64_t fake_mono_add;
static int64_t later(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + fake_mono_add;
}

static void test_lost_reader(void) {
    struct acked a = {0};
    struct err e = {""};
    struct seen seen;
    struct spool *s = start(dir_of("readers"), 1, &a, 1 << 30, &e);
    struct event ev = event_of(9, LEVEL_PERSONAL);
    put_event(s, 0, &ev);
    wait_for(&a.ok[0], 1);
    read_all(dir_of("readers"), 0, NULL, 0, &seen);
    fake_mono_add = 2 * 3600 * 1000;
    ok(spool_ack(s, "a", seen.last, &e), "two hours on");
    for (int i = 0; i < 60000 && (read_all(dir_of("readers"), 0, NULL, 0, &seen), seen.lines != 1); i++) nap(1);
    ok(seen.lines == 1, "readers unheard of for 30 days no longer hold back deletion (the newest row stays)");
    fake_mono_add = 0;
    spool_stop(s);
}

static void test_bound(void) {
    struct acked a = {0};
    struct err e = {""};
    struct spool *s = start(dir_of("bound"), 1, &a, 1 << 20, &e);
    uint64_t put = 0, refused = 0;
    for (int i = 0; i < 400000 && refused == 0; i++) {
        struct event ev = event_of((uint64_t)i, LEVEL_PERSONAL);
        if (put_event(s, 0, &ev) != 0) put++;
        else refused++;
        if (i % 500 == 0) nap(1);
    }
    struct spool_stats st;
    for (int i = 0; i < 60000; i++) { /* what was queued when the bound was met is refused a moment later */
        spool_stats(s, &st);
        if (st.committed + st.dropped == put + refused) break;
        nap(1);
    }
    ok(refused > 0 && st.failing && st.dropped >= 1, "at SpoolMaxBytes events are refused and counted (%llu went in)",
       (unsigned long long)put);
    ok(st.bytes < 6 << 20, "the file stays near its bound: %lld bytes", (long long)st.bytes);
    struct seen seen;
    read_all(dir_of("bound"), 0, NULL, 0, &seen);
    ok(seen.lines == st.committed && st.committed + st.dropped == put + refused, "committed and dropped together are all: %llu + %llu",
       (unsigned long long)st.committed, (unsigned long long)st.dropped);
    ok(spool_ack(s, "ui", seen.last, &e), "the ui catches up %s", e.text);
    for (int i = 0; i < 60000; i++) {
        spool_stats(s, &st);
        if (!st.failing) break;
        nap(1);
    }
    struct event ev = event_of(1, LEVEL_PERSONAL);
    uint64_t t = put_event(s, 0, &ev);
    ok(t != 0 && wait_for(&a.ok[0], t), "and events are stored again");
    spool_stop(s);
}

/* --- kill -9 in the middle of commits --- */

enum { KILL_ROUNDS = 12, KILL_IDS = 10000000 };
struct shared {
    struct acked a;
    _Atomic uint64_t base;
};

static void killed_child(struct shared *sh, uint64_t first) {
    struct err e = {""};
    struct spool *s = start(dir_of("killed"), 2, &sh->a, 1 << 30, &e);
    if (s == NULL) _exit(9);
    for (uint64_t i = 1;; i++) { /* ticket i of producer p is recipient first + 2 i + p */
        for (unsigned p = 0; p < 2; p++) {
            struct event ev = event_of(first + 2 * i + p, LEVEL_PERSONAL);
            while (put_event(s, p, &ev) != i) nap(1);
        }
        if (i % 64 == 0) nap(1);
    }
}

static void test_killed(void) {
    struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint32_t *times = calloc(KILL_IDS, sizeof *times);
    uint64_t first = 0, need[KILL_ROUNDS][2], start_of[KILL_ROUNDS];
    int died = 0;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        memset(sh, 0, sizeof *sh);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) killed_child(sh, first);
        wait_for(&sh->a.ok[round % 2], 200 + 97 * (uint64_t)round);
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        died += WIFSIGNALED(status);
        start_of[round] = first;
        uint64_t most = 0;
        for (unsigned p = 0; p < 2; p++) {
            need[round][p] = atomic_load(&sh->a.ok[p]);
            if (need[round][p] > most) most = need[round][p];
        }
        first += 2 * (most + 300000); /* more than can be queued without an answer */
    }
    ok(died == KILL_ROUNDS, "killed %d times in the middle of commits", died);
    struct seen seen;
    ok(first < KILL_IDS && read_all(dir_of("killed"), 0, times, KILL_IDS, &seen), "the spool reads (%llu events)",
       (unsigned long long)seen.lines);
    uint64_t missing = 0, doubled = 0, acked = 0;
    for (int round = 0; round < KILL_ROUNDS; round++)
        for (unsigned p = 0; p < 2; p++)
            for (uint64_t i = 1; i <= need[round][p]; i++, acked++) missing += times[start_of[round] + 2 * i + p] == 0;
    for (size_t i = 0; i < KILL_IDS; i++) doubled += times[i] > 1;
    ok(missing == 0 && doubled == 0 && acked > 2000, "all %llu acknowledged events are there exactly once", (unsigned long long)acked);
    ok(seen.gaps == 0 && seen.epochs == KILL_ROUNDS, "each life is an epoch of its own, sequences without a gap");
    free(times);
    munmap(sh, sizeof *sh);
}

/* --- two processes at once (change of binary) --- */

static void overlap_child(unsigned which, struct shared *sh) {
    struct err e = {""};
    struct spool *s = start(dir_of("overlap"), 1, &sh->a, 1 << 30, &e);
    if (s == NULL) _exit(9);
    for (uint64_t i = 0; i < 20000; i++) {
        struct event ev = event_of(which * 20000 + i, LEVEL_PERSONAL);
        while (put_event(s, 0, &ev) == 0) nap(1);
        if (i % 50 == 0) nap(1);
    }
    spool_stop(s);
    _exit(atomic_load(&sh->a.ok[0]) == 20000 ? 0 : 8);
}

static void test_overlap(void) {
    struct shared *sh = mmap(NULL, 2 * sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid[2];
    int good = 0;
    fflush(stdout);
    for (unsigned i = 0; i < 2; i++)
        if ((pid[i] = fork()) == 0) overlap_child(i, &sh[i]);
    for (unsigned i = 0; i < 2; i++) {
        int status;
        waitpid(pid[i], &status, 0);
        good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    ok(good == 2, "two engines write one spool at the same time, neither is refused");
    uint32_t *times = calloc(40000, sizeof *times);
    struct seen seen;
    uint64_t wrong = 0;
    ok(read_all(dir_of("overlap"), 0, times, 40000, &seen), "and a reader reads it");
    for (int i = 0; i < 40000; i++) wrong += times[i] != 1;
    ok(wrong == 0 && seen.lines == 40000, "every event of both exactly once (%llu changes of epoch)", (unsigned long long)seen.epochs);
    free(times);
    munmap(sh, 2 * sizeof *sh);
}

/* --- full disk --- */

static bool fill(const char *dir, const char *name, bool make) {
    char path[400], block[4096] = {1};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!make) return unlink(path) == 0;
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    while (write(fd, block, sizeof block) > 0) continue;
    while (write(fd, block, 1) > 0) continue;
    return close(fd) == 0;
}

static void full_disk_checks(const char *mount_at) {
    char dir[400];
    snprintf(dir, sizeof dir, "%s/spool", mount_at);
    struct acked a = {0};
    struct err e = {""};
    struct spool *s = start(dir, 1, &a, 1 << 30, &e);
    uint64_t t = 0, last_ok = 0;
    for (uint64_t i = 0; i < 500; i++) {
        struct event ev = event_of(i, LEVEL_PERSONAL);
        last_ok = t = put_event(s, 0, &ev);
    }
    ok(s != NULL && wait_for(&a.ok[0], last_ok), "stored while there is space");
    fill(mount_at, "filler", true);
    uint64_t next = 500, stored = 0;
    struct spool_stats st = {0};
    for (int i = 0; i < 20000 && !st.failing; i++) {
        struct event ev = event_of(next++, LEVEL_PERSONAL);
        t = put_event(s, 0, &ev);
        if (i % 20 == 0) nap(1);
        spool_stats(s, &st);
    }
    ok(st.failing, "a full disk is noticed after %llu more events", (unsigned long long)next - 500);
    ok(atomic_load(&a.refused[0]) > 0 && put_event(s, 0, &(struct event){.type = EV_OPEN, .token = {.level = 1}}) == 0,
       "the batch is refused and so is what comes after");
    struct seen there;
    ok(read_all(dir, 0, NULL, 0, &there) && spool_last_pos(s) == there.last && !spool_wait(s, there.last, 20),
       "a refused batch is nothing to wait for, or its readers would ask without end: %llu, %llu in the file",
       (unsigned long long)spool_last_pos(s), (unsigned long long)there.last);
    stored = atomic_load(&a.ok[0]);
    fill(mount_at, "filler", false);
    for (int i = 0; i < 20000; i++) {
        spool_stats(s, &st);
        if (!st.failing) break;
        nap(1);
    }
    struct event ev = event_of(999999, LEVEL_PERSONAL);
    t = put_event(s, 0, &ev);
    ok(!st.failing && t > 0 && wait_for(&a.ok[0], t), "with space it works again by itself");
    spool_stop(s);
    struct seen seen;
    static uint32_t times[1000000];
    memset(times, 0, sizeof times);
    ok(read_all(dir, 0, times, 1000000, &seen) && seen.gaps == 0, "the file is whole");
    uint64_t missing = 0, doubled = 0;
    for (uint64_t i = 0; i < stored && i < next; i++) missing += times[i] == 0;
    for (uint64_t i = 0; i < 1000000; i++) doubled += times[i] > 1;
    ok(missing == 0 && doubled == 0 && times[999999] == 1, "everything acknowledged before and after is there once (%llu)",
       (unsigned long long)seen.lines);
    ok(st.dropped > 0 && seen.lines + st.dropped >= next, "what is not there was counted as dropped: %llu", (unsigned long long)st.dropped);
}

static void test_full_disk(void) {
    char at[300];
    snprintf(at, sizeof at, "%s/small", base);
    mkdir(at, 0700);
    if (geteuid() == 0 && mount("tmpfs", at, "tmpfs", 0, "size=12m,mode=0700") == 0) {
        full_disk_checks(at);
        umount2(at, MNT_DETACH);
        return;
    }
    /* without root: a limit on the size of files makes writes fail; a child, since the limit is for ever */
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct acked a = {0};
        struct err e = {""};
        struct rlimit lim = {6 << 20, 6 << 20};
        signal(SIGXFSZ, SIG_IGN);
        struct spool *s = start(at, 1, &a, 1 << 30, &e);
        setrlimit(RLIMIT_FSIZE, &lim);
        struct spool_stats st = {0};
        for (uint64_t i = 0; i < 2000000 && !st.failing; i++) {
            struct event ev = event_of(i, LEVEL_PERSONAL);
            put_event(s, 0, &ev);
            if (i % 5000 == 0) spool_stats(s, &st), nap(1);
        }
        uint64_t good = atomic_load(&a.ok[0]);
        spool_stop(s);
        struct seen seen;
        bool fine = read_all(at, 0, NULL, 0, &seen) && st.failing && seen.lines >= good;
        _exit(fine ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a file that cannot grow: refused, and everything acknowledged is there");
}

/* --- damaged and strange files --- */

static int count_damaged(const char *dir) {
    char cmd[500];
    snprintf(cmd, sizeof cmd, "ls '%s' | grep -c 'damaged-[0-9TZ]*\\(-[0-9]\\)*$'", dir);
    FILE *f = popen(cmd, "r");
    int n = -1;
    if (f != NULL && fscanf(f, "%d", &n) != 1) n = -1;
    if (f != NULL) pclose(f);
    return n;
}

static void test_damaged(void) {
    struct acked a = {0};
    struct err e = {""};
    char path[400];
    const char *dir = dir_of("damaged");
    snprintf(path, sizeof path, "%s/spool.db", dir);
    struct spool *s = start(dir, 1, &a, 1 << 30, &e);
    for (uint64_t i = 0; i < 20000; i++) {
        struct event ev = event_of(i, LEVEL_PERSONAL);
        while (put_event(s, 0, &ev) == 0) nap(1);
    }
    spool_stop(s);
    struct seen seen;
    read_all(dir_of("damaged"), 0, NULL, 0, &seen);
    uint64_t old_last = seen.last;
    int fd = open(path, O_WRONLY);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    ok(seen.lines == 20000 && pwrite(fd, junk, sizeof junk, 4096) == sizeof junk, "a page of the file is overwritten");
    close(fd);
    memset(&a, 0, sizeof a);
    s = start(dir_of("damaged"), 1, &a, 1 << 30, &e);
    ok(s != NULL && count_damaged(dir_of("damaged")) == 1, "the spool starts with a fresh file, the damaged one stands beside it %s",
       e.text);
    struct event ev = event_of(77, LEVEL_PERSONAL);
    uint64_t t = put_event(s, 0, &ev);
    ok(wait_for(&a.ok[0], t) && read_all(dir_of("damaged"), 0, NULL, 0, &seen) && seen.lines == 1, "and works");
    ok(seen.last > old_last, "its positions go on above those of the old file");
    spool_stop(s);
    run_shell("printf 'this is no database at all, whatever its name says, not even nearly' > %s", path);
    s = start(dir_of("damaged"), 1, &a, 1 << 30, &e);
    ok(s != NULL && count_damaged(dir_of("damaged")) == 2, "the same with a file that never was one");
    spool_stop(s);
    sqlite3 *db;
    sqlite3_open(path, &db);
    sqlite3_exec(db, "PRAGMA user_version=2", NULL, NULL, NULL);
    sqlite3_close(db);
    s = start(dir_of("damaged"), 1, &a, 1 << 30, &e);
    ok(s == NULL && strstr(e.text, "newer") && count_damaged(dir_of("damaged")) == 2, "a newer schema is refused and left alone: %s",
       e.text);
    struct spool_config bad = {.dir = dir_of("damaged"), .tracker_id = "No Such", .producers = 1};
    ok(spool_start(&bad, &e) == NULL, "a bad tracker id is refused: %s", e.text);
}

/* Damage while it runs: the writer meets it, moves the file away and goes on. */
static void test_damaged_alive(void) {
    struct acked a = {0};
    struct err e = {""};
    char path[400];
    snprintf(path, sizeof path, "%s/spool.db", dir_of("alive"));
    struct spool *s = start(dir_of("alive"), 1, &a, 1 << 30, &e);
    struct event ev = event_of(1, LEVEL_PERSONAL);
    wait_for(&a.ok[0], put_event(s, 0, &ev));
    struct spool_reader *r = spool_reader_open(dir_of("alive"), &e);
    sqlite3 *db;
    sqlite3_open(path, &db);
    sqlite3_exec(db, "PRAGMA writable_schema=1; UPDATE sqlite_schema SET rootpage = 2000 WHERE name = 'batch'; PRAGMA schema_version=99",
                 NULL, NULL, NULL);
    sqlite3_close(db);
    uint64_t t = 0;
    bool stored = false;
    for (int i = 0; i < 10000 && !stored; i++) { /* the event that meets the damage is refused; one after it goes into the fresh file */
        if (t == 0 || atomic_load(&a.refused[0]) >= t) t = put_event(s, 0, &ev);
        nap(1);
        stored = t > 1 && atomic_load(&a.ok[0]) >= t;
    }
    ok(stored && count_damaged(dir_of("alive")) == 1, "damage met while running: moved away, a fresh file, on it goes");
    struct buf b = {0};
    uint64_t last;
    ok(spool_read(r, 0, 1 << 20, &b, &last, &e) && b.n > 0, "a reader that was open follows to the fresh file %s", e.text);
    buf_free(&b);
    spool_reader_close(r);
    spool_stop(s);
}

int main(void) {
    snprintf(base, sizeof base, "%s/spool-test-XXXXXX", getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR"));
    if (mkdtemp(base) == NULL) return 1;
    int null = open("/dev/null", O_WRONLY);
    log_setup(getenv("SPOOL_LOG") == NULL ? null : 2, false, LOG_LVL_INFO);
    clock_fake(later, NULL);
    test_decode();
    test_levels();
    test_killed(); /* forks: before anything else has left threads behind */
    test_overlap();
    test_volume();
    test_readers();
    test_lost_reader();
    test_bound();
    test_full_disk();
    test_damaged();
    test_damaged_alive();
    run_shell("rm -rf '%s'", base);
    return tap_end();
}
