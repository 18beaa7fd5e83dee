#include "engine/ask.h"
#include "base/buf.h"
#include "base/fdlink.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEND_MS 10000
#define WAIT_S  120

struct ask { /* on the stack of the thread that waits; all fields under the engine's lock */
    struct ask *next;
    uint64_t id;
    bool done, ok;
    char *text;
};

static void enter(struct engine *e, struct ask *a) {
    pthread_mutex_lock(&e->lock);
    a->id = ++e->asked;
    a->next = e->asks;
    e->asks = a;
    if (e->asks_over) a->done = true;
    pthread_mutex_unlock(&e->lock);
}

static void leave(struct engine *e, struct ask *a) {
    struct ask **p = &e->asks;
    while (*p != a) p = &(*p)->next;
    *p = a->next;
}

static bool send_request(struct engine *e, uint32_t type, uint64_t id, const char *more, size_t n, struct err *err) {
    struct buf payload = {.max = FDLINK_DATA};
    bool good = (buf_fmt(&payload, "id %llu\n", (unsigned long long)id) && buf_add(&payload, more, n)) ||
                err_set(err, "the request is longer than %d bytes", FDLINK_DATA);
    good = good && fdlink_send(e->wire, type, payload.p, payload.n, NULL, 0, SEND_MS, err);
    buf_free(&payload);
    return good;
}

bool ask_supervisor(struct engine *e, uint32_t type, const char *more, size_t n, char **text) {
    struct ask a = {0};
    struct err err;
    enter(e, &a);
    bool sent = send_request(e, type, a.id, more, n, &err);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&e->lock);
    for (int r = 0; sent && !a.done && r == 0;) r = pthread_cond_timedwait(&e->turned, &e->lock, &until);
    leave(e, &a);
    pthread_mutex_unlock(&e->lock);
    if (a.text) *text = a.text;
    else *text = strdup(!sent ? err.text : a.done ? "this engine ends: ask the next one" : "the supervisor has not answered within 120 s");
    return sent && a.done && a.ok;
}

void ask_answered(struct engine *e, uint64_t id, bool ok, const char *text) {
    pthread_mutex_lock(&e->lock);
    for (struct ask *a = e->asks; a; a = a->next) {
        if (a->id != id || a->done) continue;
        a->done = true;
        a->ok = ok;
        a->text = strdup(text);
    }
    pthread_cond_broadcast(&e->turned);
    pthread_mutex_unlock(&e->lock);
}

void ask_give_up(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    e->asks_over = true;
    for (struct ask *a = e->asks; a; a = a->next) a->done = true;
    pthread_cond_broadcast(&e->turned);
    pthread_mutex_unlock(&e->lock);
}
