#include "engine/remotelog.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/rotated.h"
#include "proto/syslog.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define QUEUE_MOST (8u << 20) /* bytes of all workers together that may wait for the disk, of datagrams and of streams each */
#define SAY_MS     1000       /* between two words about what is lost */
#define OUT_MOST   (1u << 20) /* bytes of one write */
#define RING       1000u      /* messages that the console sees … */
#define RING_TEXT  1024u      /* … this much of their text and of their structured data */
#define OPEN_MOST  64u        /* files open at a time: with more listeners than that some are opened at each turn */

struct entry { /* in a letter; the next one follows at a multiple of 8 */
    struct log_note note;
    uint32_t n;
    char text[];
};
struct file {
    bool used;
    uint16_t id;
    uint64_t turn; /* last used */
    struct rotated f;
};
struct remotelog {
    struct engine *eng;
    pthread_t thread;
    char dir[400];
    pthread_mutex_t lock; /* of queue, stop and what is to be said */
    pthread_cond_t more;
    struct buf queue[REMOTELOG_KINDS];
    bool stop;
    uint64_t unsaid; /* messages that found no room */
    int64_t said_ms;
    _Atomic bool crowded;
    _Atomic int64_t bytes, files;

    /* the thread's own */
    struct file file[OPEN_MOST];
    uint64_t turn, lost_here;
    struct buf out; /* lines for the file under way */
    uint64_t nlines;

    pthread_mutex_t ring_lock;
    struct buf ring[RING];
    uint64_t ring_n;
};

/* ---- from the workers ---- */

static size_t room_of(size_t n) {
    return (offsetof(struct entry, text) + n + 7) & ~(size_t)7;
}

bool remotelog_add(struct buf *letter, const struct log_note *note, const char *p, size_t n) {
    static const char pad[8];
    struct entry e = {.note = *note, .n = (uint32_t)n};
    size_t room = room_of(n);
    if (letter->n && letter->n + room > REMOTELOG_LETTER) return false;
    if (!buf_reserve(letter, room)) return false;
    buf_add(letter, &e, offsetof(struct entry, text));
    buf_add(letter, p, n);
    return buf_add(letter, pad, room - offsetof(struct entry, text) - n);
}

static const struct entry *first_of(const char *p) {
    return (const struct entry *)(const void *)p;
}

static uint64_t count_of(const struct buf *letter) {
    uint64_t n = 0;
    for (size_t at = 0; at < letter->n; at += room_of(first_of(letter->p + at)->n)) n++;
    return n;
}

static void lose(struct remotelog *r, uint64_t n) {
    atomic_fetch_add_explicit(&r->eng->counters->worker[0].log_dropped, n, memory_order_relaxed);
}

/* What is to be said now, under the lock; whoever floods us must not flood the log, too. */
static uint64_t to_say(struct remotelog *r, bool all) {
    uint64_t n = r->unsaid;
    int64_t now = n ? clock_mono_ms() : 0;
    if (n == 0 || (!all && now - r->said_ms < SAY_MS)) return 0;
    r->said_ms = now;
    r->unsaid = 0;
    return n;
}

static void say_lost(uint64_t n) {
    if (n) log_warn("remote-log", "messages come faster than they can be written: %llu were dropped", (unsigned long long)n);
}

void remotelog_put(struct remotelog *r, struct buf *letter) {
    if (!letter->n) return;
    enum remotelog_kind kind = remotelog_kind(&first_of(letter->p)->note);
    pthread_mutex_lock(&r->lock);
    bool fits = buf_add(&r->queue[kind], letter->p, letter->n);
    if (kind == REMOTELOG_STREAMS) atomic_store_explicit(&r->crowded, r->queue[kind].n > QUEUE_MOST / 2, memory_order_relaxed);
    uint64_t lost = fits ? 0 : count_of(letter);
    r->unsaid += lost;
    uint64_t say = to_say(r, false);
    pthread_cond_signal(&r->more);
    pthread_mutex_unlock(&r->lock);
    if (lost) lose(r, lost);
    say_lost(say);
    buf_clear(letter);
}

bool remotelog_crowded(struct remotelog *r) {
    return atomic_load_explicit(&r->crowded, memory_order_relaxed);
}

void remotelog_limits(struct remotelog *r, int64_t bytes, int64_t files) {
    atomic_store(&r->bytes, bytes);
    atomic_store(&r->files, files);
}

/* ---- the ring ---- */

static void remember(struct remotelog *r, struct syslog m, const struct syslog_from *from) {
    if (m.text.n > RING_TEXT) m.text.n = RING_TEXT;
    if (m.data.n > RING_TEXT) m.data.n = RING_TEXT;
    pthread_mutex_lock(&r->ring_lock);
    struct buf *b = &r->ring[r->ring_n++ % RING];
    buf_free(b); /* a long one before must not stay */
    if (!syslog_json(&m, from, b)) buf_free(b);
    pthread_mutex_unlock(&r->ring_lock);
}

bool remotelog_last(struct remotelog *r, unsigned limit, struct buf *out) {
    bool good = buf_str(out, "["), first = true;
    pthread_mutex_lock(&r->ring_lock);
    for (uint64_t i = r->ring_n; good && limit > 0 && i > 0 && r->ring_n - i < RING; i--) {
        const struct buf *b = &r->ring[(i - 1) % RING];
        if (!b->n) continue;
        good = (first || buf_str(out, ",\n")) && buf_add(out, b->p, b->n);
        first = false;
        limit--;
    }
    pthread_mutex_unlock(&r->ring_lock);
    return good && buf_str(out, "]");
}

/* ---- the files ---- */

static void listener_name(struct engine *eng, uint16_t id, char out[PLAN_NAME]) {
    pthread_mutex_lock(&eng->lock);
    snprintf(out, PLAN_NAME, "%s", eng->listener_name[id]);
    pthread_mutex_unlock(&eng->lock);
}

static struct rotated *file_of(struct remotelog *r, uint16_t id) {
    struct file *oldest = &r->file[0];
    char name[PLAN_NAME], path[sizeof oldest->f.path];
    r->turn++;
    for (unsigned i = 0; i < OPEN_MOST; i++) {
        struct file *f = &r->file[i];
        if (f->used && f->id == id) {
            f->turn = r->turn;
            return &f->f;
        }
        if (f->turn < oldest->turn) oldest = f;
    }
    if (oldest->used) rotated_finish(&oldest->f);
    listener_name(r->eng, id, name);
    snprintf(path, sizeof path, "%s/%s.log", r->dir, name);
    *oldest = (struct file){.used = true, .id = id, .turn = r->turn};
    rotated_init(&oldest->f, path);
    return &oldest->f;
}

static void write_lines(struct remotelog *r, uint16_t id) {
    if (!r->out.n) return;
    struct rotated *f = file_of(r, id);
    int was = f->why;
    bool written = rotated_add(f, r->out.p, r->out.n, atomic_load(&r->bytes), (unsigned)atomic_load(&r->files));
    if (!written) {
        lose(r, r->nlines);
        r->lost_here += r->nlines;
        if (f->why != was)
            log_error("remote-log", "%s cannot be written: %s: messages are dropped and counted until it can", f->path, strerror(f->why));
    } else if (was) {
        log_notice("remote-log", "%s can be written again; %llu messages were lost meanwhile", f->path, (unsigned long long)r->lost_here);
        r->lost_here = 0;
    }
    buf_clear(&r->out);
    r->nlines = 0;
}

static void write_out(struct remotelog *r, const struct buf *q) {
    static const char *const ways[] = {"udp", "tcp", "tls"};
    char name[PLAN_NAME] = "", from[ADDR_TEXT];
    int under_way = -1;
    for (size_t at = 0; at < q->n; at += room_of(first_of(q->p + at)->n)) {
        const struct entry *e = first_of(q->p + at);
        if (under_way != e->note.listener_id || r->out.n > OUT_MOST) {
            if (under_way >= 0) write_lines(r, (uint16_t)under_way);
            under_way = e->note.listener_id;
            listener_name(r->eng, e->note.listener_id, name);
        }
        struct syslog m;
        addr_format_ip(&e->note.from, from);
        struct syslog_from f = {.ms = e->note.ms, .address = from, .transport = ways[e->note.way], .listener = name, .cut = e->note.cut};
        syslog_parse(e->text, e->n, &m);
        size_t before = r->out.n;
        if (syslog_line(&m, &f, &r->out)) {
            r->nlines++;
        } else {
            r->out.n = before;
            lose(r, 1);
        }
        remember(r, m, &f);
    }
    if (under_way >= 0) write_lines(r, (uint16_t)under_way);
}

static bool waiting(const struct remotelog *r) {
    return r->queue[REMOTELOG_STREAMS].n || r->queue[REMOTELOG_DATAGRAMS].n;
}

/* Until there is something to write or to say. */
static void doze(struct remotelog *r) {
    while (!r->stop && !waiting(r)) {
        int64_t due = r->said_ms + SAY_MS;
        struct timespec until = {.tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000};
        if (r->unsaid && clock_mono_ms() >= due) return;
        if (r->unsaid) pthread_cond_timedwait(&r->more, &r->lock, &until);
        else pthread_cond_wait(&r->more, &r->lock);
    }
}

static void *writer_main(void *arg) {
    struct remotelog *r = arg;
    struct buf mine[REMOTELOG_KINDS] = {{.max = QUEUE_MOST}, {.max = QUEUE_MOST}};
    pthread_setname_np(pthread_self(), "remote log");
    pthread_mutex_lock(&r->lock);
    for (;;) {
        doze(r);
        struct buf swap[REMOTELOG_KINDS];
        memcpy(swap, r->queue, sizeof swap);
        memcpy(r->queue, mine, sizeof swap);
        memcpy(mine, swap, sizeof swap);
        atomic_store_explicit(&r->crowded, false, memory_order_relaxed);
        bool stop = r->stop;
        uint64_t say = to_say(r, stop);
        pthread_mutex_unlock(&r->lock);
        say_lost(say);
        for (unsigned k = 0; k < REMOTELOG_KINDS; k++) {
            write_out(r, &mine[k]);
            buf_clear(&mine[k]);
        }
        pthread_mutex_lock(&r->lock);
        if (stop && !waiting(r)) break;
    }
    uint64_t say = to_say(r, true);
    pthread_mutex_unlock(&r->lock);
    say_lost(say);
    for (unsigned k = 0; k < REMOTELOG_KINDS; k++) buf_free(&mine[k]);
    return NULL;
}

static void finish(struct remotelog *r) {
    for (unsigned i = 0; i < OPEN_MOST; i++)
        if (r->file[i].used) rotated_finish(&r->file[i].f);
    for (unsigned i = 0; i < RING; i++) buf_free(&r->ring[i]);
    for (unsigned k = 0; k < REMOTELOG_KINDS; k++) buf_free(&r->queue[k]);
    buf_free(&r->out);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->ring_lock);
    pthread_cond_destroy(&r->more);
    free(r);
}

struct remotelog *remotelog_start(struct engine *eng, struct err *e) {
    struct remotelog *r = calloc(1, sizeof *r);
    if (!r) return (void)err_set(e, "out of memory"), NULL;
    r->eng = eng;
    for (unsigned k = 0; k < REMOTELOG_KINDS; k++) r->queue[k].max = QUEUE_MOST;
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->ring_lock, NULL);
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&r->more, &mono);
    pthread_condattr_destroy(&mono);
    snprintf(r->dir, sizeof r->dir, "%s/log/remote", eng->state_dir);
    if (mkdir(r->dir, 0750) != 0 && errno != EEXIST)
        log_error("remote-log", "%s cannot be made: %s: messages are dropped and counted", r->dir, strerror(errno));
    if (pthread_create(&r->thread, NULL, writer_main, r) == 0) return r;
    finish(r);
    return (void)err_set(e, "the remote log's thread cannot be started"), NULL;
}

void remotelog_stop(struct remotelog *r) {
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->more);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    finish(r);
}
