/* Messages on a stream: octet counting and non-transparent framing (RFC 6587 3.4), told apart by the first byte as receivers usually do. */
#include "proto/syslog.h"

/* "52 " at the beginning: the bytes it takes, 0 = no count (then it is a line), -1 = cannot be told yet. */
static int count_of(const char *p, size_t n, size_t *count) {
    size_t v = 0, i = 0;
    if (n == 0 || p[0] < '1' || p[0] > '9') return 0;
    for (; i < n && i < 10 && p[i] >= '0' && p[i] <= '9'; i++) v = v * 10 + (size_t)(p[i] - '0');
    if (i == n && i < 10) return -1;
    if (i == 10 || p[i] != ' ') return 0;
    *count = v;
    return (int)i + 1;
}

static const char *line_end(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] == '\n' || p[i] == '\0') return p + i;
    return NULL;
}

/* What is left of a message that was cut. false: all of the input belongs to it. */
static bool skip(struct syslog_frames *f, const char *p, size_t n, size_t *used) {
    if (f->skip) {
        size_t k = f->skip < n ? f->skip : n;
        f->skip -= k;
        *used += k;
        return f->skip == 0;
    }
    if (!f->skip_line) return true;
    const char *end = line_end(p, n);
    *used += end ? (size_t)(end - p) + 1 : n;
    f->skip_line = !end;
    return end != NULL;
}

static bool counted(struct syslog_frames *f, const char *p, size_t n, size_t head, size_t count, size_t *used, struct slice *msg,
                    bool *cut) {
    size_t keep = count < SYSLOG_MOST ? count : SYSLOG_MOST;
    if (n - head < keep) return false;
    *msg = (struct slice){.p = p + head, .n = (uint32_t)keep};
    *cut = keep < count;
    f->skip = count - keep;
    *used += head + keep;
    return true;
}

static bool line(struct syslog_frames *f, const char *p, size_t n, size_t *used, struct slice *msg, bool *cut) {
    const char *end = line_end(p, n < SYSLOG_MOST + 1 ? n : SYSLOG_MOST + 1);
    if (!end && n <= SYSLOG_MOST) return false;
    *cut = !end;
    f->skip_line = !end;
    *msg = (struct slice){.p = p, .n = end ? (uint32_t)(end - p) : SYSLOG_MOST};
    *used += msg->n + (end ? 1 : 0);
    if (end && msg->n && p[msg->n - 1] == '\r') msg->n--;
    return true;
}

bool syslog_next(struct syslog_frames *f, const char *p, size_t n, size_t *used, struct slice *msg, bool *cut) {
    *used = 0;
    *cut = false;
    if (!skip(f, p, n, used)) return false;
    for (;;) {
        size_t count = 0, left = n - *used;
        const char *at = p + *used;
        int head = count_of(at, left, &count);
        if (head < 0 || left == 0) return false;
        bool found = head > 0 ? counted(f, at, left, (size_t)head, count, used, msg, cut) : line(f, at, left, used, msg, cut);
        if (!found || msg->n > 0) return found; /* a blank line, such as the LF that some write behind a counted message, is no message */
    }
}

bool syslog_last(const struct syslog_frames *f, const char *p, size_t n, struct slice *msg) {
    size_t count = 0;
    if (f->skip || f->skip_line || n == 0) return false;
    int head = count_of(p, n, &count);
    if (head < 0 || (size_t)head == n) return false; /* a count alone */
    *msg = (struct slice){.p = p + head, .n = (uint32_t)(n - (size_t)head)};
    return true;
}
