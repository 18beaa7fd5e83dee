/* The queues before the remote log's writer while it cannot write: each kind is bounded, datagrams that nobody can slow down cost the streams nothing,
 * and every message is either written or counted as lost. */
#include "engine/remotelog.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "unit/tap.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT  1000 /* bytes of a message */
#define FLOOD 20000u
#define LINES 200u

static struct engine eng;
static struct counters counters;
static char file[400];

static void send_one(struct buf *letter, enum log_way way, char what) {
    char text[TEXT];
    struct log_note note = {.ms = 1, .way = way};
    memset(text, what, sizeof text);
    memcpy(text, "<34>x: ", 7);
    if (remotelog_add(letter, &note, text, sizeof text)) return;
    remotelog_put(eng.remotelog, letter);
    if (!remotelog_add(letter, &note, text, sizeof text)) ok(false, "an empty letter takes a message");
}

static unsigned lines_of(char what) {
    char line[2 * TEXT], sign[] = {what, what, what, '\0'};
    unsigned n = 0;
    FILE *f = fopen(file, "r");
    while (f && fgets(line, sizeof line, f)) n += strstr(line, sign) != NULL;
    if (f) fclose(f);
    return n;
}

static uint64_t lost(void) {
    return atomic_load(&counters.worker[0].log_dropped);
}

/* Lines about what was dropped; *sum: how many messages they speak of. */
static unsigned words(const char *path, uint64_t *sum) {
    char line[400];
    unsigned n = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "can be written: ");
        if (!at) continue;
        n++;
        *sum += strtoull(at + strlen("can be written: "), NULL, 10);
    }
    if (f) fclose(f);
    return n;
}

int main(void) {
    struct err e;
    char log[sizeof eng.state_dir + 8];
    struct buf datagrams = {0}, streams = {0};
    const char *tmp = getenv("TMPDIR");
    snprintf(eng.state_dir, sizeof eng.state_dir, "%s/remotelog-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(eng.state_dir)) return 1;
    snprintf(file, sizeof file, "%s/log", eng.state_dir);
    mkdir(file, 0700);
    snprintf(file, sizeof file, "%s/log/remote/logs.log", eng.state_dir);
    snprintf(log, sizeof log, "%s/words", eng.state_dir);
    int words_fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (!ok(words_fd >= 0, "a file for the log")) return tap_end();
    log_setup(words_fd, false, LOG_LVL_INFO);
    int64_t began = clock_mono_ms();
    eng.counters = &counters;
    snprintf(eng.listener_name[0], PLAN_NAME, "logs");
    pthread_mutex_init(&eng.lock, NULL);
    pthread_mutex_lock(&eng.lock); /* the writer asks for the listener's name: it stands still until this is given back */
    eng.remotelog = remotelog_start(&eng, &e);
    if (!ok(eng.remotelog != NULL, "the writer starts")) return tap_end();
    remotelog_limits(eng.remotelog, 1 << 30, 1);

    for (unsigned i = 0; i < FLOOD; i++) send_one(&datagrams, LOG_WAY_UDP, 'u');
    remotelog_put(eng.remotelog, &datagrams);
    ok(lost() > 0 && lost() < FLOOD, "Q13: a flood of datagrams beyond the queue is lost and counted: %llu of %u",
       (unsigned long long)lost(), FLOOD);
    ok(!remotelog_crowded(eng.remotelog), "streams need not wait for it");
    uint64_t before = lost();
    for (unsigned i = 0; i < LINES; i++) send_one(&streams, LOG_WAY_TCP, 't');
    remotelog_put(eng.remotelog, &streams);
    ok(lost() == before && !remotelog_crowded(eng.remotelog), "nothing of theirs is lost");
    unsigned more = 0;
    for (; !remotelog_crowded(eng.remotelog) && more < FLOOD; more++) send_one(&streams, LOG_WAY_TLS, 's');
    ok(more < FLOOD && lost() == before, "with half their queue full they are to wait (%u messages)", more);
    remotelog_put(eng.remotelog, &streams);
    ok(lost() == before, "what is under way then still finds room");

    pthread_mutex_unlock(&eng.lock);
    remotelog_stop(eng.remotelog); /* writes what waits */
    ok(lines_of('t') == LINES && lines_of('s') == more, "every message of a stream is written");
    ok(lines_of('u') + lost() == FLOOD, "of the datagrams each is written or counted: %u and %llu", lines_of('u'),
       (unsigned long long)lost());
    log_setup(STDERR_FILENO, false, LOG_LVL_INFO);
    uint64_t told = 0;
    unsigned said = words(log, &told), most = (unsigned)((clock_mono_ms() - began) / 1000) + 2;
    ok(said > 0 && said <= most && told == lost(),
       "the log tells of all that is lost, once a second at most and at the end: %u of %u times, %llu", said, most,
       (unsigned long long)told);
    close(words_fd);
    buf_free(&datagrams);
    buf_free(&streams);
    pthread_mutex_destroy(&eng.lock);
    return tap_end();
}
