#include "engine/decision_file.h"
#include "base/clock.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAITING_MOST (1u << 20)
#define FLUSH_AT     (256u << 10)
#define RETRY_MS     1000
#define OPEN_FLAGS   (O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

void decision_file_init(struct decision_file *f, const char *dir) {
    f->fd = -1;
    f->waiting.max = WAITING_MOST;
    f->most = UINT64_MAX; /* until settings come */
    snprintf(f->path, sizeof f->path, "%s/decisions.log", dir);
}

void decision_file_close(struct decision_file *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

void decision_file_finish(struct decision_file *f) {
    decision_file_close(f);
    buf_free(&f->waiting);
}

void decision_file_settings(struct decision_file *f, uint64_t bytes, unsigned files) {
    f->most = bytes;
    f->keep = files;
    decision_file_close(f);
}

void decision_file_missed(struct decision_file *f, uint64_t n) {
    f->untold += n;
    atomic_fetch_add_explicit(&f->dropped, n, memory_order_relaxed);
}

/* Said once when it begins, and once when it is over. */
static void failed(struct decision_file *f, const char *why) {
    if (!f->failing)
        log_error("decisions", "%s cannot be written: %s; its lines are dropped and counted, `portreeve why` still knows the newest",
                  f->path, why);
    f->failing = true;
    f->retry_ms = clock_mono_ms() + RETRY_MS;
}

/* A machine that lost its power leaves half a line, and the next one would be one with it. */
static void end_torn(struct decision_file *f, off_t size) {
    char last = '\n';
    int fd = size > 0 ? open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    if (fd >= 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n' && write(f->fd, "\n", 1) == 1)
        atomic_store(&f->size, (uint64_t)size + 1);
    if (fd >= 0) close(fd);
}

static bool open_file(struct decision_file *f) {
    struct stat st;
    if (f->fd >= 0) return true;
    f->fd = open(f->path, OPEN_FLAGS, 0640);
    if (f->fd >= 0 && (fstat(f->fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        decision_file_close(f);
        errno = EINVAL;
    }
    if (f->fd < 0) {
        failed(f, strerror(errno));
        return false;
    }
    atomic_store(&f->size, (uint64_t)st.st_size);
    end_torn(f, st.st_size);
    return true;
}

/* decisions.log.1 becomes .2 and so on; the oldest goes. */
static void rotate(struct decision_file *f) {
    char from[620], to[620];
    decision_file_close(f);
    snprintf(to, sizeof to, "%s.%u", f->path, f->keep);
    if (f->keep == 0) (void)unlink(f->path);
    for (unsigned i = f->keep; i > 0; i--) {
        if (i > 1) snprintf(from, sizeof from, "%s.%u", f->path, i - 1);
        else snprintf(from, sizeof from, "%s", f->path);
        (void)rename(from, to);
        snprintf(to, sizeof to, "%s", from);
    }
    for (unsigned i = f->keep + 1; i <= 100; i++) { /* there were more before */
        snprintf(to, sizeof to, "%s.%u", f->path, i);
        if (unlink(to) != 0) break;
    }
}

static uint64_t lines_in(const char *p, size_t n) {
    uint64_t k = 0;
    for (size_t i = 0; i < n; i++) k += p[i] == '\n';
    return k;
}

/* All of it or nothing: half a line would spoil the next one. */
static bool write_all(struct decision_file *f, const char *p, size_t n) {
    uint64_t before = atomic_load(&f->size);
    size_t done = 0;
    while (done < n) {
        ssize_t k = write(f->fd, p + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break;
        done += (size_t)k;
    }
    if (done == n) {
        atomic_store(&f->size, before + n);
        return true;
    }
    int why = errno;
    if (done && ftruncate(f->fd, (off_t)before) != 0) log_warn("decisions", "%s ends in half a line: %s", f->path, strerror(errno));
    failed(f, strerror(why));
    decision_file_close(f);
    return false;
}

static bool say_missing(struct decision_file *f) {
    char line[200];
    if (!f->untold) return true;
    int n =
        snprintf(line, sizeof line,
                 "{\"ms\":%" PRId64 ",\"dropped\":%" PRIu64 ",\"because\":\"the disk took no lines, or there were too many at once\"}\n",
                 clock_real_ms(), f->untold);
    if (!write_all(f, line, (size_t)n)) return false;
    f->untold = 0;
    return true;
}

/* As many whole lines as fit into the file; at least one where it is empty. */
static size_t fits(const struct decision_file *f, const char *p, size_t n) {
    uint64_t size = atomic_load(&f->size);
    if (size + n <= f->most) return n;
    size_t room = size < f->most ? (size_t)(f->most - size) : 0;
    const char *end = room ? memrchr(p, '\n', room) : NULL;
    if (!end && size == 0) end = memchr(p, '\n', n);
    return end ? (size_t)(end + 1 - p) : 0;
}

/* Returns how much of it is written; the rest cannot be. */
static size_t write_lines(struct decision_file *f, const char *p, size_t n) {
    size_t done = 0;
    while (done < n && open_file(f) && say_missing(f)) {
        size_t k = fits(f, p + done, n - done);
        if (k == 0) rotate(f);
        else if (write_all(f, p + done, k)) done += k;
        else break;
    }
    return done;
}

void decision_file_flush(struct decision_file *f) {
    size_t n = f->waiting.n, done = 0;
    if (n && (!f->failing || clock_mono_ms() >= f->retry_ms)) done = write_lines(f, f->waiting.p, n);
    if (done < n) {
        decision_file_missed(f, lines_in(f->waiting.p + done, n - done));
    } else if (n && f->failing) {
        f->failing = false;
        log_notice("decisions", "%s is written again; %" PRIu64 " lines are missing in all", f->path, atomic_load(&f->dropped));
    }
    buf_clear(&f->waiting);
}

void decision_file_put(struct decision_file *f, const struct decision *d, uint64_t run, int64_t now_ms, bool unbounded) {
    size_t before = f->waiting.n;
    if (now_ms / 1000 != f->second) {
        f->second = now_ms / 1000;
        f->written = 0;
    }
    if (!unbounded && ++f->written > DECISION_RATE) {
        decision_file_missed(f, 1);
        return;
    }
    if (!decision_json(d, run, &f->waiting) || !buf_str(&f->waiting, "\n")) {
        f->waiting.n = before;
        decision_file_missed(f, 1);
    }
    if (f->waiting.n >= FLUSH_AT) decision_file_flush(f);
}
