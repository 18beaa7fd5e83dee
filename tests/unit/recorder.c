/* The flight recorder: what is written is read back whole, by other mappings, while it is written, after a writer has died, and at every
 * size. */
#include "base/clock.h"
#include "gate/decision_read.h"
#include "gate/recorder_i.h"
#include "unit/tap.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8
#define TURNS   30000

static struct recorder *rec;
static int fd;
static _Atomic bool over;

static struct decision sample(unsigned who, uint32_t n, char because[64]) {
    /* Everything follows from `who` and n, so that a torn record contradicts itself. */
    snprintf(because, 64, "%08" PRIx32 "%.*s", n * 2654435761u, (int)(n % 40), "........................................");
    return (struct decision){.ms = 1000 + (int64_t)n,
                             .generation = n,
                             .remote = {.family = 4, .port = (uint16_t)n, .ip = {127, (uint8_t)who, (uint8_t)(n >> 8), (uint8_t)n}},
                             .stage = (enum stage)(n % STAGES),
                             .verdict = (enum verdict_kind)(n % VERDICTS),
                             .listener = who & 1 ? "http" : "secure",
                             .reason = n % 3 ? "denied" : "",
                             .because = because,
                             .policy_file = "policies/admission.lua",
                             .policy_line = n,
                             .list_file = n % 2 ? "conf/lists/denied.list" : "",
                             .list_line = n,
                             .entry_file = n % 7 ? "" : "conf/listeners.ini",
                             .entry_line = n,
                             .sni = n % 5 ? "" : "www.example.org",
                             .tags = "",
                             .active = n,
                             .from_address = ~n,
                             .maximum = n + 1,
                             .per_address = n + 2,
                             .reserve = n + 3,
                             .rate_left = -1};
}

static bool consistent(const struct decision *d) {
    char because[64];
    uint32_t n = (uint32_t)d->generation;
    struct decision w = sample(d->remote.ip[1], n, because);
    return d->ms == w.ms && d->remote.port == w.remote.port && memcmp(d->remote.ip, w.remote.ip, 16) == 0 && d->stage == w.stage &&
           d->verdict == w.verdict && strcmp(d->listener, w.listener) == 0 && strcmp(d->reason, w.reason) == 0 &&
           strcmp(d->because, because) == 0 && strcmp(d->policy_file, w.policy_file) == 0 && d->policy_line == n &&
           strcmp(d->list_file, w.list_file) == 0 && strcmp(d->sni, w.sni) == 0 && strcmp(d->entry_file, w.entry_file) == 0 &&
           d->active == n && d->from_address == ~n && d->reserve == n + 3;
}

static void *write_many(void *arg) {
    unsigned who = (unsigned)(uintptr_t)arg;
    char because[64];
    for (uint32_t i = 0; i < TURNS; i++) {
        struct decision d = sample(who, i, because);
        recorder_add(rec, who, &d);
    }
    return NULL;
}

static void *read_many(void *arg) {
    struct recorder *r = arg;
    uint64_t seen = 0, torn = 0;
    while (!atomic_load(&over)) {
        struct decision d;
        int64_t before = INT64_MAX;
        struct recorder_view *v = recorder_view_create(r);
        while (recorder_next(v, &d)) {
            seen++;
            torn += !consistent(&d) || d.ms > before;
            before = d.ms;
        }
        recorder_view_destroy(v);
    }
    printf("# %" PRIu64 " records were read while they were written\n", seen);
    return (void *)(uintptr_t)torn;
}

/* A place that its writer passed over is waited for a second, and what is behind it comes then. */
static bool all_told(void) {
    struct recorder_layout l = recorder_layout(rec);
    for (unsigned i = 0; i < l.segments; i++)
        if (atomic_load(&rec->segment[i].told) < atomic_load(&rec->segment[i].next)) return false;
    return true;
}

static void *follow(void *arg) {
    uint64_t *told = arg, missed = 0;
    struct recorder_tail *t = recorder_tail_create(rec);
    struct decision d;
    int64_t last[THREADS + 1] = {0};
    for (bool more = true; more;) {
        more = !atomic_load(&over) || !all_told();
        while (recorder_tail_next(t, &d, &missed)) {
            told[0]++;
            told[2] += !consistent(&d) || d.ms <= last[d.remote.ip[1]];
            last[d.remote.ip[1]] = d.ms;
        }
    }
    told[1] = missed;
    recorder_tail_destroy(t);
    return NULL;
}

static void contention(unsigned workers, const char *what) {
    pthread_t t[THREADS], reader, tail;
    struct err e;
    struct recorder *other = recorder_map(fd, true, &e);
    uint64_t told[3] = {0};
    void *torn;
    ok(other != NULL && recorder_resize(rec, 0, 1) && recorder_resize(rec, 5000, workers), "%s: a second, read-only mapping", what);
    struct recorder_stats before, after;
    recorder_stats(rec, &before);
    atomic_store(&over, false);
    pthread_create(&reader, NULL, read_many, other);
    pthread_create(&tail, NULL, follow, told);
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&t[i], NULL, write_many, (void *)i);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    atomic_store(&over, true);
    pthread_join(reader, &torn);
    pthread_join(tail, NULL);
    recorder_stats(rec, &after);
    ok(torn == NULL, "%s: no record is read torn or out of order (%d wrong)", what, (int)(uintptr_t)torn);
    ok(told[2] == 0, "%s: the tail gets each record of a worker once and in order (%d wrong)", what, (int)told[2]);
    uint64_t lost = after.lost - before.lost;
    ok(told[0] + told[1] + lost >= (uint64_t)THREADS * TURNS && told[0] <= (uint64_t)THREADS * TURNS,
       "%s: what it did not get is counted: %d + %d missed + %d lost", what, (int)told[0], (int)told[1], (int)lost);
    recorder_unmap(other);
}

static unsigned count(const struct recorder *r, int64_t *newest, int64_t *oldest) {
    struct recorder_view *v = recorder_view_create(r);
    struct decision d;
    unsigned n = 0;
    *newest = *oldest = 0;
    while (recorder_next(v, &d)) {
        if (!n++) *newest = d.ms;
        *oldest = d.ms;
    }
    recorder_view_destroy(v);
    return n;
}

static void fill(uint32_t from, uint32_t n) {
    char because[64];
    for (uint32_t i = from; i < from + n; i++) {
        struct decision d = sample(0, i, because);
        recorder_add(rec, i, &d);
    }
}

static void sizes(void) {
    int64_t newest, oldest;
    recorder_resize(rec, 0, 2);
    ok(count(rec, &newest, &oldest) == 0, "off: everything is forgotten");
    char because[64];
    struct decision d = sample(0, 4, because);
    ok(!recorder_add(rec, 0, &d), "off: who is let in is not recorded");
    struct recorder_tail *t = recorder_tail_create(rec);
    uint64_t missed = 0;
    unsigned n = 0;
    fill(5, 3);
    while (recorder_tail_next(t, &d, &missed)) n++;
    ok(n == 3 && count(rec, &newest, &oldest) == 0, "off: refusals go to the log and are not remembered (%u)", n);
    recorder_tail_destroy(t);
    recorder_resize(rec, 6000, 2);
    fill(1, 20000);
    ok(count(rec, &newest, &oldest) == 6000 && newest == 21000 && oldest == 15001, "the last 6,000 of 20,000 stay");
    recorder_resize(rec, 9000, 2);
    ok(count(rec, &newest, &oldest) == 6000 && newest == 21000, "more room: all stay");
    fill(20001, 3000);
    ok(count(rec, &newest, &oldest) == 9000 && oldest == 15001 && newest == 24000, "and as many more fit");
    recorder_resize(rec, 100, 2);
    ok(count(rec, &newest, &oldest) == 100 && oldest == 23901 && newest == 24000, "less room: the newest stay (%d, %d)", (int)oldest,
       (int)newest);
    recorder_resize(rec, 100, 5);
    ok(count(rec, &newest, &oldest) == 100 && oldest == 23901, "other workers: the same ones stay");
    struct recorder_stats st;
    recorder_stats(rec, &st);
    ok(st.room == 100, "room is said");
    recorder_resize(rec, 4000000000u, 3);
    recorder_stats(rec, &st);
    ok(st.room <= RECORDER_MOST && st.room > RECORDER_MOST - 3, "the bound holds (%u)", st.room);
}

static void tail_and_sizes(void) {
    struct decision d;
    uint64_t missed = 0;
    recorder_resize(rec, 0, 1);
    recorder_resize(rec, 6000, 2);
    struct recorder_tail *t = recorder_tail_create(rec);
    fill(10000, 100);
    unsigned n = 0;
    while (n < 60 && recorder_tail_next(t, &d, &missed)) n++;
    recorder_resize(rec, 9000, 3);
    while (recorder_tail_next(t, &d, &missed)) n++;
    ok(n == 100 && missed == 0, "a change of size tells nothing twice and leaves nothing out (%u)", n);
    fill(10100, 5);
    recorder_tail_destroy(t);
    t = recorder_tail_create(rec); /* the next engine */
    for (n = 0; recorder_tail_next(t, &d, &missed);) n++;
    ok(n == 5, "another tail goes on where the first one stopped (%u)", n);
    fill(10105, 50000);
    for (n = 0; recorder_tail_next(t, &d, &missed);) n++;
    ok(n + missed == 50000 && n == 9000, "overtaken, it counts what it missed (%u + %u)", n, (unsigned)missed);
    recorder_tail_destroy(t);
}

static void texts(void) {
    char because[600], path[400];
    memset(because, 'x', sizeof because);
    memset(path, 'p', sizeof path);
    because[599] = path[399] = 0;
    memcpy(because + 70, "\303\244", 2); /* cut before or behind it, never inside */
    recorder_resize(rec, 0, 1);
    recorder_resize(rec, 10, 1);
    struct decision d = {.ms = 5,
                         .remote = {.family = 6, .ip = {0xfe, 0x80, [15] = 1}, .scope = 1, .port = 9},
                         .listener = "http",
                         .reason = "policy",
                         .because = because,
                         .policy_file = path,
                         .list_file = "",
                         .entry_file = "",
                         .sni = "a.very.long.name.of.a.host.that.nobody.would.have.in.truth.example.org",
                         .tags = "a,b",
                         .rate_left = 7,
                         .status = 403,
                         .verdict = VERDICT_ANSWER};
    recorder_add(rec, 0, &d);
    struct recorder_view *v = recorder_view_create(rec);
    struct decision got;
    bool there = recorder_next(v, &got);
    ok(there && strlen(got.because) > 60 && strncmp(got.because, because, strlen(got.because)) == 0, "a long text is cut (%d bytes stay)",
       (int)strlen(got.because));
    ok(strlen(got.sni) == 48 && strcmp(got.tags, "a,b") == 0, "so is a long name; what is short stays");
    ok(strlen(got.policy_file) > 200, "a long path too (%d bytes stay)", (int)strlen(got.policy_file));
    struct buf b = {0};
    ok(decision_json(&got, 255, &b) && buf_add(&b, "", 1) && strstr(b.p, "\"address\":\"fe80::1%") &&
           strstr(b.p, "\"verdict\":\"answer\"") && strstr(b.p, "\"rate_left\":7") && strstr(b.p, "\"id\":\"ff-") &&
           strstr(b.p, "\"status\":403") && strstr(b.p, "1970-01-01T00:00:00.005Z"),
       "as JSON: %.120s", b.p);
    ok(decision_line(b.p), "a whole line");
    unsigned good = 0, at = 0;
    for (char c; (c = b.p[at]) != 0; at++) { /* nothing that it is cut to is one */
        b.p[at] = 0;
        good += decision_line(b.p);
        b.p[at] = c;
    }
    ok(at > 300 && good == 0, "cut to any of %u lengths it is none (%u)", at, good);
    for (unsigned i = 0; i < 6; i++) {
        static const char *const is[] = {"\"ms\":5", "\"generation\":", "\"stage\":\"", "\"because\":\"", "\"active\":", "\"id\":\""};
        static const char *const no[] = {"\"ms\":-", "\"generatioN\":", "\"stage\":7", "\"because\":\x01", "\"active\"=", "\"id\":["};
        char *place = strstr(b.p, is[i]), was[16] = "";
        snprintf(was, sizeof was, "%s", is[i]);
        if (!ok(place != NULL, "%s stands in it", is[i])) continue;
        memcpy(place, no[i], strlen(no[i]));
        ok(!decision_line(b.p), "with %s it is none", no[i]);
        memcpy(place, was, strlen(was));
    }
    ok(decision_line(b.p), "and is whole again");
    struct buf turned = {0}; /* a caller who has his words turned around in it is told of all the same */
    got.because = "asked for /\xe2\x80\xae"
                  "gpj.exe\x1b\xc2\x9b";
    ok(decision_json(&got, 255, &turned) && buf_add(&turned, "", 1) && strstr(turned.p, "/\\u202egpj.exe\\u001b\\u009b") &&
           decision_line(turned.p),
       "a whole line with every escape: %s", turned.p);
    buf_free(&turned);
    struct decision back;
    ok(decision_read(b.p, &back) && back.ms == got.ms && back.stage == got.stage && back.verdict == got.verdict && back.status == 403 &&
           memcmp(&back.remote, &got.remote, sizeof back.remote) == 0 && strcmp(back.listener, got.listener) == 0 &&
           strcmp(back.policy_file, got.policy_file) == 0 && back.policy_line == got.policy_line && strcmp(back.sni, got.sni) == 0 &&
           back.active == got.active && back.from_address == got.from_address,
       "and read back");
    buf_free(&b);
    char broken[][120] = {
        "", "{}", "{\"time\":\"\",\"ms\":5,\"address\":\"127.0.0.1\",\"stage\":\"peer\",\"verdict\":\"allow\"}",
        "{\"time\":\"\",\"ms\":5,\"address\":\"127.0.0.1\",\"listener\":\"a\",\"stage\":\"peer\",\"verdict\":\"allow",
        "{\"time\":\"\",\"ms\":5,\"address\":\"127.0.0.1.9\",\"listener\":\"a\",\"stage\":\"peer\",\"verdict\":\"allow\"}"};
    for (unsigned i = 0; i < 5; i++) ok(!decision_read(broken[i], &back), "no decision: %u", i);
    recorder_view_destroy(v);
    for (unsigned i = 0; i < 3 * RECORDER_NAMES; i++) { /* the table of texts is bounded */
        snprintf(because, sizeof because, "name-%u", i);
        d.list_file = because;
        recorder_add(rec, 0, &d);
    }
    v = recorder_view_create(rec);
    ok(recorder_next(v, &got) && strcmp(got.listener, "http") == 0, "a full table of texts: what stood in it is still told");
    recorder_view_destroy(v);
}

/* A worker is killed at any moment; what it leaves behind is never told, and its place comes back. */
static void death(void) {
    recorder_resize(rec, 0, 1);
    recorder_resize(rec, 5000, 1);
    unsigned torn = 0;
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;) write_many(NULL);
        }
        struct timespec nap = {.tv_nsec = 2000000 + i * 100000};
        nanosleep(&nap, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        struct recorder_view *v = recorder_view_create(rec);
        struct decision d;
        while (recorder_next(v, &d)) torn += !consistent(&d);
        recorder_view_destroy(v);
    }
    ok(torn == 0, "20 writers killed in the middle: nothing half written is told");
    recorder_resize(rec, 0, 1);
    recorder_resize(rec, 5000, 1);
    atomic_store(&rec->slot[3].number, atomic_load(&rec->segment[0].next) * 2 + 1); /* as a dead writer leaves it */
    int64_t newest, oldest;
    fill(20000, 5000);
    ok(count(rec, &newest, &oldest) == 4999, "its place is passed over");
    fill(25000, 30000);
    ok(count(rec, &newest, &oldest) == 4999, "for ever");
    recorder_resize(rec, 5001, 1);
    fill(60000, 5001);
    ok(count(rec, &newest, &oldest) == 5001, "until the size changes");
}

static void nonsense(void) {
    struct recorder_layout l;
    atomic_store(&rec->layout, UINT64_MAX);
    l = recorder_layout(rec);
    ok(l.segments == 0 && l.each == 0, "a layout that cannot be counts as none");
    atomic_store(&rec->layout, (uint64_t)1 << 32 | 10);
    atomic_store(&rec->shown, UINT32_MAX);
    struct decision d;
    atomic_store(&rec->segment[0].next, 10);
    atomic_store(&rec->segment[0].start, 0);
    for (unsigned i = 0; i < 10; i++) {
        atomic_store(&rec->slot[i].number, 2);
        for (unsigned w = 0; w < RECORD_WORDS; w++) atomic_store(&rec->slot[i].word[w], UINT64_MAX - i * w);
    }
    struct recorder_view *v = recorder_view_create(rec);
    unsigned n = 0;
    struct buf b = {0};
    while (recorder_next(v, &d)) n += decision_json(&d, 1, &b);
    ok(n == 10, "records of pure nonsense are told without harm");
    buf_free(&b);
    recorder_view_destroy(v);
    struct err e;
    int bad = memfd_create("x", MFD_CLOEXEC);
    ok(recorder_map(bad, true, &e) == NULL && strstr(e.text, "version"), "another size is another version: %s", e.text);
    close(bad);
}

static void speed(void) {
    char because[64];
    recorder_resize(rec, 0, 1);
    recorder_resize(rec, 100000, 1);
    struct decision d = sample(0, 7, because);
    d.sni = d.reason = d.because = d.list_file = "";
    int64_t best = INT64_MAX;
    for (int k = 0; k < 8; k++) {
        struct timespec a, z;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        for (int i = 0; i < 100000; i++) recorder_add(rec, 0, &d);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &z);
        int64_t ns = (z.tv_sec - a.tv_sec) * 1000000000 + z.tv_nsec - a.tv_nsec;
        if (ns < best) best = ns;
    }
    printf("# one record costs %.0f ns of processor time\n", (double)best / 100000);
}

int main(void) {
    struct err e;
    fd = recorder_create(&rec, &e);
    ok(fd >= 0, "the memory is made");
    contention(THREADS, "a segment each");
    contention(2, "shared segments");
    sizes();
    tail_and_sizes();
    death();
    speed();
    texts();
    nonsense();
    recorder_unmap(rec);
    close(fd);
    return tap_end();
}
