/* The log: format a bounded line, hold back floods, write it whole or not at all, never wait. */
#include "base/log.h"
#include "base/clock.h"
#include "base/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MESSAGE 2048 /* bytes of the formatted message before escaping */
#define KINDS   256  /* area+format pairs remembered by the rate limit; a colliding pair takes the place of the older one */

enum sink_kind { SINK_FILE, SINK_POLL, SINK_SOCKET };

struct kind {
    const char *area, *fmt; /* both are string literals of the caller: addresses tell kinds apart */
    int64_t second;
    uint32_t said, held;
    enum log_level lvl;
};

static struct {
    pthread_mutex_t lock;
    int fd, own; /* own: a private non-blocking description of fd, or -1 */
    enum sink_kind sink;
    bool json, torn; /* torn: the last line went out in part */
    _Atomic int least;
    uint64_t dropped, told; /* lines lost, and how many of them have been reported */
    uint64_t held;          /* lines held back and not yet reported */
    int64_t swept;
    struct kind kind[KINDS];
} g = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = 2, .own = -1, .sink = SINK_POLL, .least = LOG_LVL_INFO};

static const char *const level_name[] = {"debug", "info", "notice", "warn", "error"};

/* A line under construction. Everything added stops `room` bytes before the end, so that a closing part always fits. */
struct line {
    size_t n;
    char p[LOG_LINE];
};
#define ROOM 8

static bool add_raw(struct line *l, const char *s, size_t n) {
    if (l->n + n > LOG_LINE - ROOM) return false;
    memcpy(l->p + l->n, s, n);
    l->n += n;
    return true;
}

static bool add_text(struct line *l, const char *s) {
    return add_raw(l, s, strlen(s));
}

/* Add escaped text: control bytes and broken UTF-8 never reach a terminal or a JSON reader. False where it was cut (with "…"). */
static bool add_escaped(struct line *l, const char *s, bool quoted) {
    const unsigned char *u = (const unsigned char *)s;
    char esc[8];
    while (*u) {
        size_t n = utf8_len((const char *)u, strnlen((const char *)u, 4));
        bool fits;
        unsigned acts = n > 1 ? utf8_acts((const char *)u, n) : 0;
        if (n == 0) {
            fits = g.json ? add_text(l, "\xef\xbf\xbd") : add_raw(l, esc, (size_t)snprintf(esc, sizeof esc, "\\x%02x", *u));
            n = 1;
        } else if (*u < 0x20 || *u == 0x7f || acts) {
            unsigned code = acts ? acts : *u;
            fits = add_raw(l, esc, (size_t)snprintf(esc, sizeof esc, g.json || code > 0xff ? "\\u%04x" : "\\x%02x", code));
        } else if (quoted && (*u == '"' || *u == '\\')) {
            esc[0] = '\\';
            esc[1] = (char)*u;
            fits = add_raw(l, esc, 2);
        } else {
            fits = add_raw(l, (const char *)u, n);
        }
        if (!fits) {
            if (l->n + 3 <= LOG_LINE - ROOM / 2) {
                memcpy(l->p + l->n, "…", 3);
                l->n += 3;
            }
            return false;
        }
        u += n;
    }
    return true;
}

static bool plain_value(const char *s) {
    if (!*s) return false;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c <= 0x20 || c == '"' || c == '\\' || c == '=' || c >= 0x7f) return false;
    }
    return true;
}

static void add_pairs(struct line *l, const char *const *kv) {
    bool fits = true;
    for (; fits && kv && kv[0] && kv[1]; kv += 2) {
        size_t before = l->n;
        bool bare = !g.json && plain_value(kv[1]);
        fits = add_text(l, g.json ? ",\"" : " ") && add_escaped(l, kv[0], g.json) && add_text(l, g.json ? "\":\"" : bare ? "=" : "=\"");
        if (!fits) {
            l->n = before;
            break;
        }
        fits = add_escaped(l, kv[1], !bare);
        if (!bare) l->p[l->n++] = '"';
    }
}

static void make_line(struct line *l, enum log_level lvl, const char *area, const char *const *kv, const char *message) {
    char stamp[CLOCK_TEXT];
    l->n = 0;
    add_text(l, g.json ? "{\"time\":\"" : "");
    add_text(l, clock_text(clock_real_ms(), stamp));
    add_text(l, g.json ? "\",\"level\":\"" : " ");
    add_text(l, level_name[lvl]);
    add_text(l, g.json ? "\",\"area\":\"" : " ");
    add_escaped(l, area, g.json);
    add_text(l, g.json ? "\",\"message\":\"" : ": ");
    add_escaped(l, message, g.json);
    if (g.json) l->p[l->n++] = '"';
    add_pairs(l, kv);
    if (g.json) l->p[l->n++] = '}';
    l->p[l->n++] = '\n';
}

/* Write without waiting. Returns bytes written, or -1. A pipe that polls writable takes PIPE_BUF bytes whole. */
static ssize_t put(const char *p, size_t n) {
    if (g.sink == SINK_SOCKET) return send(g.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (g.own >= 0) return write(g.own, p, n);
    if (g.sink == SINK_POLL) {
        struct pollfd pf = {.fd = g.fd, .events = POLLOUT};
        if (poll(&pf, 1, 0) != 1 || !(pf.revents & POLLOUT)) return -1;
    }
    return write(g.fd, p, n);
}

static bool put_line(const char *p, size_t n) {
    if (g.torn) {
        if (put("\n", 1) != 1) return false;
        g.torn = false;
    }
    ssize_t r;
    do r = put(p, n);
    while (r < 0 && errno == EINTR);
    g.torn = r > 0 && (size_t)r < n;
    return r > 0 && (size_t)r == n;
}

static void emit(struct line *l) {
    struct line note;
    if (g.dropped > g.told) {
        char text[96];
        snprintf(text, sizeof text, "%llu log lines were lost: the log could not take them", (unsigned long long)(g.dropped - g.told));
        make_line(&note, LOG_LVL_WARN, "log", NULL, text);
        if (!put_line(note.p, note.n)) {
            g.dropped++;
            return;
        }
        g.told = g.dropped;
    }
    if (!put_line(l->p, l->n)) g.dropped++;
}

/* 1234567 → "1,234,567" */
static void grouped(uint32_t n, char out[16]) {
    char digits[12];
    int len = snprintf(digits, sizeof digits, "%u", (unsigned)n);
    char *o = out;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) *o++ = ',';
        *o++ = digits[i];
    }
    *o = 0;
}

static void tell_held(struct kind *k) {
    char count[16], text[256];
    struct line l;
    if (!k->held) return;
    grouped(k->held, count);
    bool telling = strspn(k->fmt, " %s") < strlen(k->fmt); /* "%s" alone says nothing about what was held back */
    snprintf(text, sizeof text, "… and %s more like it%s%.160s", count, telling ? ": " : "", telling ? k->fmt : "");
    g.held -= k->held;
    k->held = 0;
    make_line(&l, k->lvl, k->area, NULL, text);
    emit(&l);
}

/* Say the counts of floods that are over. At most once a second, and only while something is held back. */
static void sweep(int64_t second) {
    if (!g.held || second == g.swept) return;
    g.swept = second;
    for (unsigned i = 0; i < KINDS; i++) {
        if (g.kind[i].held && g.kind[i].second != second) tell_held(&g.kind[i]);
    }
}

/* True where the line may go out now. The access log is its own flood control (AccessLog=off), refusals have theirs (engine/refusal_log.c). */
static bool admit(enum log_level lvl, const char *area, const char *fmt) {
    if (strcmp(area, "access") == 0 || strcmp(area, "refusals") == 0) return true;
    int64_t second = clock_mono_ms() / 1000;
    sweep(second);
    uintptr_t h = ((uintptr_t)fmt >> 3) * 31 + ((uintptr_t)area >> 3);
    struct kind *k = &g.kind[(h ^ h >> 8) % KINDS];
    if (k->area != area || k->fmt != fmt || k->second != second) {
        tell_held(k);
        *k = (struct kind){.area = area, .fmt = fmt, .second = second, .lvl = lvl};
    }
    if (k->said < LOG_RATE) {
        k->said++;
        return true;
    }
    k->held++;
    g.held++;
    return false;
}

static void say(enum log_level lvl, const char *area, const char *const *kv, const char *fmt, va_list ap) {
    if (lvl < LOG_LVL_DEBUG || lvl > LOG_LVL_ERROR) lvl = LOG_LVL_ERROR;
    if ((int)lvl < g.least) return;
    int saved = errno;
    char message[MESSAGE];
    int n = vsnprintf(message, sizeof message, fmt, ap);
    if (n < 0) snprintf(message, sizeof message, "(message could not be formatted) %s", fmt);
    else if ((size_t)n >= sizeof message) memcpy(message + sizeof message - 4, "…", 4);
    pthread_mutex_lock(&g.lock);
    if (admit(lvl, area, fmt)) {
        struct line l;
        make_line(&l, lvl, area, kv, message);
        emit(&l);
    }
    pthread_mutex_unlock(&g.lock);
    errno = saved;
}

bool log_wants(enum log_level lvl) {
    return (int)lvl >= g.least;
}

void log_say(enum log_level lvl, const char *area, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(lvl, area, NULL, fmt, ap);
    va_end(ap);
}

void log_kv(enum log_level lvl, const char *area, const char *const *kv, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(lvl, area, kv, fmt, ap);
    va_end(ap);
}

/* O_NONBLOCK on the inherited description would change it for the shell that lent it; a description of our own would not. */
static int own_description(int fd, mode_t mode) {
    if (!S_ISFIFO(mode) && !(S_ISCHR(mode) && isatty(fd))) return -1;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

void log_setup(int fd, bool json, enum log_level least) {
    struct stat st;
    int saved = errno;
    pthread_mutex_lock(&g.lock);
    if (g.own >= 0) close(g.own);
    g.own = -1;
    g.fd = fd;
    g.json = json;
    g.least = (int)least;
    g.sink = SINK_POLL;
    if (fstat(fd, &st) == 0) {
        g.sink = S_ISREG(st.st_mode) ? SINK_FILE : S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_POLL;
        g.own = own_description(fd, st.st_mode);
    }
    pthread_mutex_unlock(&g.lock);
    errno = saved;
}

uint64_t log_dropped(void) {
    pthread_mutex_lock(&g.lock);
    uint64_t n = g.dropped;
    pthread_mutex_unlock(&g.lock);
    return n;
}
