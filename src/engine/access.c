#include "engine/access.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/rotated.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCESS_BATCH   32768u
#define ACCESS_WAITING (8u << 20) /* bytes of all workers together that may wait for the disk */

struct access_log {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct buf waiting;
    bool stop;
    _Atomic uint64_t dropped;

    /* the thread's own */
    struct rotated file;
    uint64_t lost; /* since it cannot be written */
};

static uint64_t lines_in(const char *p, size_t n) {
    uint64_t k = 0;
    for (size_t i = 0; i < n; i++) k += p[i] == '\n';
    return k;
}

static void write_out(struct access_log *a, const char *p, size_t n) {
    int was = a->file.why;
    if (!rotated_add(&a->file, p, n, INT64_MAX, 1)) {
        uint64_t lost = lines_in(p, n);
        atomic_fetch_add(&a->dropped, lost);
        a->lost += lost;
        if (a->file.why != was)
            log_error("access", "%s cannot be written: %s: lines are dropped and counted until it can", a->file.path,
                      strerror(a->file.why));
    } else if (was) {
        log_notice("access", "%s can be written again; %llu lines were lost meanwhile", a->file.path, (unsigned long long)a->lost);
        a->lost = 0;
    }
}

static void *access_main(void *arg) {
    struct access_log *a = arg;
    struct buf mine = {.max = ACCESS_WAITING};
    pthread_setname_np(pthread_self(), "access log");
    pthread_mutex_lock(&a->lock);
    for (;;) {
        while (!a->stop && !a->waiting.n) pthread_cond_wait(&a->more, &a->lock);
        struct buf swap = a->waiting;
        a->waiting = mine;
        mine = swap;
        bool stop = a->stop;
        pthread_mutex_unlock(&a->lock);
        if (mine.n) write_out(a, mine.p, mine.n);
        buf_clear(&mine);
        pthread_mutex_lock(&a->lock);
        if (stop && !a->waiting.n) break;
    }
    pthread_mutex_unlock(&a->lock);
    buf_free(&mine);
    return NULL;
}

struct access_log *access_start(const char *path, struct err *e) {
    struct access_log *a = calloc(1, sizeof *a);
    if (!a) return (void)err_set(e, "out of memory"), NULL;
    rotated_init(&a->file, path);
    a->waiting.max = ACCESS_WAITING;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->more, NULL);
    if (pthread_create(&a->thread, NULL, access_main, a) == 0) return a;
    free(a);
    return (void)err_set(e, "the access log's thread cannot be started"), NULL;
}

void access_begin(struct buf *b, int64_t ms, const struct addr *who, const char *listener, const char *service) {
    char address[ADDR_TEXT], when[CLOCK_TEXT];
    addr_format_ip(who, address);
    buf_fmt(b, "{\"time\":\"%s\",\"address\":\"%s\",\"listener\":\"%s\",\"service\":\"%s\"", clock_text(ms, when), address, listener,
            service);
}

void access_end(struct access_log *a, struct buf *b) {
    buf_str(b, "}\n");
    if (b->n > ACCESS_BATCH) access_put(a, b);
}

void access_put(struct access_log *a, struct buf *b) {
    if (!a || !b->n) {
        buf_clear(b);
        return;
    }
    pthread_mutex_lock(&a->lock);
    bool fits = buf_add(&a->waiting, b->p, b->n);
    pthread_cond_signal(&a->more);
    pthread_mutex_unlock(&a->lock);
    if (!fits) atomic_fetch_add(&a->dropped, lines_in(b->p, b->n));
    buf_clear(b);
}

uint64_t access_dropped(struct access_log *a) {
    return atomic_load(&a->dropped);
}

void access_stop(struct access_log *a) {
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_signal(&a->more);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    rotated_finish(&a->file);
    buf_free(&a->waiting);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->more);
    free(a);
}
