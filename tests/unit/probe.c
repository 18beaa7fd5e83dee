/* The table of open questions: a worker that accepts knows our own connections from everybody else's, however fast it is, and each is handed
 * over exactly once. Real connections over the loopback, workers as threads; under ThreadSanitizer this is the proof of its locking. */
#include "engine/probe_table.h"
#include "net/sock.h"
#include "unit/tap.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define WORKERS   3
#define ROUNDS    400
#define STRANGERS 300

static struct err e;
static struct probe_table table;
static struct addr at;
static int listener;
static _Atomic bool over;
static _Atomic unsigned strangers, claimed;

static struct addr parse(const char *text) {
    struct addr a;
    if (!addr_parse_ip(text, strlen(text), &a, &e)) fprintf(stderr, "%s\n", e.text);
    return a;
}

/* As in accept.c: look only while something is open. */
static void *worker(void *arg) {
    unsigned index = *(unsigned *)arg;
    while (!atomic_load(&over)) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        if (poll(&p, 1, 50) <= 0) continue;
        struct sockaddr_storage sa;
        socklen_t n = sizeof sa;
        int fd = accept4(listener, (struct sockaddr *)&sa, &n, SOCK_CLOEXEC);
        if (fd < 0) continue;
        struct probe_claim c = {.fd = fd, .listener = 7, .worker = index};
        if (atomic_load_explicit(&table.open, memory_order_relaxed) && probe_table_claim(&table, (struct sockaddr *)&sa, &c)) {
            atomic_fetch_add(&claimed, 1);
            continue;
        }
        atomic_fetch_add(&strangers, 1);
        close(fd);
    }
    return NULL;
}

static int caller(void) {
    return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void hang_up(int fd) {
    const struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

static bool wait_claim(unsigned slot, struct probe_claim *c) {
    for (int i = 0; i < 20000; i++) {
        if (probe_table_take(&table, slot, c)) return true;
        struct pollfd p = {.fd = table.wake, .events = POLLIN};
        poll(&p, 1, 1);
        uint64_t n;
        if (read(table.wake, &n, sizeof n) < 0) sched_yield();
    }
    return false;
}

static void *strangers_call(void *arg) {
    (void)arg;
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(&at, &sa);
    for (int i = 0; i < STRANGERS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char c;
        if (connect(fd, (struct sockaddr *)&sa, n) != 0 || read(fd, &c, 1) > 0)
            atomic_fetch_add(&strangers, STRANGERS); /* they are only hung up on */
        close(fd);
    }
    return NULL;
}

static void questions(void) {
    unsigned right = 0, index[WORKERS];
    pthread_t thread[WORKERS], other;
    for (unsigned i = 0; i < WORKERS; i++) {
        index[i] = i;
        pthread_create(&thread[i], NULL, worker, &index[i]);
    }
    pthread_create(&other, NULL, strangers_call, NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned slot = i % PROBE_SLOTS;
        struct addr client;
        struct probe_claim c = {.fd = -1}, late;
        int fd = caller();
        int why = probe_table_connect(&table, slot, fd, &at, &client);
        if (why == 0 && wait_claim(slot, &c) && c.listener == 7 && c.worker < WORKERS) right++;
        if (probe_table_close(&table, slot, &late)) right = 0;
        hang_up(fd);
        if (c.fd >= 0) close(c.fd);
    }
    pthread_join(other, NULL);
    atomic_store(&over, true);
    for (unsigned i = 0; i < WORKERS; i++) pthread_join(thread[i], NULL);
    ok(right == ROUNDS && claimed == ROUNDS, "each of %u questions is known by the worker that accepts it (%u, %u claimed)", ROUNDS, right,
       claimed);
    ok(strangers == STRANGERS, "and none of the %u strangers who called meanwhile (%u)", STRANGERS, strangers);
    ok(table.open == 0, "nothing is open afterwards");
}

static void one_by_one(void) {
    struct addr client, second;
    struct probe_claim c = {.fd = 1234, .listener = 3, .worker = 1}, got;
    struct sockaddr_storage sa;
    int fd = caller();
    ok(probe_table_connect(&table, 5, fd, &at, &client) == 0 && client.port && table.open == 1, "a question is open");
    addr_to_sockaddr(&client, &sa);
    ok(!probe_table_take(&table, 5, &got), "and not claimed yet");
    ok(probe_table_claim(&table, (struct sockaddr *)&sa, &c), "a worker claims it");
    ok(!probe_table_claim(&table, (struct sockaddr *)&sa, &c), "but not a second time");
    ok(probe_table_take(&table, 5, &got) && got.fd == 1234 && got.listener == 3 && !probe_table_take(&table, 5, &got),
       "what was handed over is taken once");
    ok(!probe_table_close(&table, 5, &got) && table.open == 0, "then it is closed");
    ok(!probe_table_claim(&table, (struct sockaddr *)&sa, &c), "and a worker that comes too late keeps the caller");
    hang_up(fd);
    fd = caller();
    probe_table_connect(&table, 6, fd, &at, &second);
    addr_to_sockaddr(&second, &sa);
    probe_table_claim(&table, (struct sockaddr *)&sa, &c);
    ok(probe_table_close(&table, 6, &got) && got.fd == 1234, "a claim that nobody took is given back when the question is closed");
    ok(!probe_table_close(&table, 6, &got) && table.open == 0, "closing twice is harmless");
    hang_up(fd);
    struct addr nowhere = parse("127.0.0.1");
    nowhere.port = 1; /* refused: at once or by SO_ERROR, as the kernel likes */
    fd = caller();
    int why = probe_table_connect(&table, 7, fd, &nowhere, &second);
    if (why == 0) probe_table_close(&table, 7, &got);
    ok((why == 0 || why == ECONNREFUSED) && table.open == 0, "a question nobody takes leaves nothing open");
    close(fd);
}

int main(void) {
    at = parse("127.0.0.1");
    listener = sock_listen(&at, SOCK_EXCLUSIVE, 512, &at.port, &e);
    ok(listener >= 0 && probe_table_init(&table, &e), "a listener and a table");
    one_by_one();
    for (struct sockaddr_storage sa;;) { /* what one_by_one left in the queue */
        socklen_t n = sizeof sa;
        int fd = accept(listener, (struct sockaddr *)&sa, &n);
        if (fd < 0) break;
        close(fd);
    }
    questions();
    probe_table_finish(&table);
    close(listener);
    return tap_end();
}
