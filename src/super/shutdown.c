/* The shutdown port (M64): the supervisor listens on it itself, since it must work whatever the engine does. One line, SHUTDOWN, from this
 * machine ends the server as SIGTERM does; everything else is hung up on and said in the log. Bounded in callers, bytes and time. */
#include "base/clock.h"
#include "base/log.h"
#include "super/super.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMAND   "SHUTDOWN"
#define CALLER_MS 5000 /* absolute: a caller that sends slowly gets no more */

static void hang_up(struct shutdown_caller *c) {
    if (c->fd >= 0) close(c->fd);
    *c = (struct shutdown_caller){.fd = -1};
}

void shutdown_init(struct super *s) {
    for (unsigned i = 0; i < SHUTDOWN_CALLERS; i++) s->caller[i] = (struct shutdown_caller){.fd = -1};
}

void shutdown_generation(struct super *s) {
    s->nshutdown = 0;
    for (uint32_t i = 0; i < s->gen->plan.nsockets && s->nshutdown < PLAN_SHUTDOWNS; i++) {
        const struct held *h = s->gen->held[i];
        if ((s->gen->plan.socket[i].services & SVC_SHUTDOWN) && h && h->n) s->shutdown_fd[s->nshutdown++] = h->fd[0].fd;
    }
}

void shutdown_close(struct super *s) {
    for (unsigned i = 0; i < SHUTDOWN_CALLERS; i++) hang_up(&s->caller[i]);
}

static void ignore(struct shutdown_caller *c, const char *why) {
    char at[ADDR_TEXT];
    addr_format(&c->from, at);
    log_warn("shutdown", "a caller from %s is ignored: %s", at, why);
    hang_up(c);
}

static struct shutdown_caller *free_place(struct super *s) {
    for (unsigned i = 0; i < SHUTDOWN_CALLERS; i++)
        if (s->caller[i].fd < 0) return &s->caller[i];
    return NULL;
}

static void take_caller(struct super *s, int fd) {
    struct sockaddr_storage from;
    socklen_t n = sizeof from;
    struct shutdown_caller *c = free_place(s);
    int got = c ? accept4(fd, (struct sockaddr *)&from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (got < 0) return;
    *c = (struct shutdown_caller){.fd = got, .deadline = clock_mono_ms() + CALLER_MS};
    addr_from_sockaddr((const struct sockaddr *)&from, &c->from);
    if (!addr_is_loopback(&c->from)) ignore(c, "it does not call from a loopback address");
}

/* A line end belongs to the command, as telnet (CRLF), echo (LF) and printf (none, then end of file) send it. */
static bool is_command(const struct shutdown_caller *c, bool ended) {
    size_t n = c->n;
    bool line = n > 0 && c->in[n - 1] == '\n';
    if (line) n--;
    if (n > 0 && c->in[n - 1] == '\r') n--;
    return (line || ended) && n == strlen(COMMAND) && memcmp(c->in, COMMAND, n) == 0;
}

static void read_caller(struct super *s, struct shutdown_caller *c) {
    ssize_t n = recv(c->fd, c->in + c->n, sizeof c->in - c->n, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0) c->n += (size_t)n;
    size_t known = c->n < strlen(COMMAND) ? c->n : strlen(COMMAND);
    if (is_command(c, n == 0)) {
        char who[ADDR_TEXT + 64], at[ADDR_TEXT];
        addr_format(&c->from, at);
        snprintf(who, sizeof who, "the shutdown port (a program on %s)", at);
        hang_up(c);
        if (!s->stopping) super_stop(s, who);
    } else if (memcmp(c->in, COMMAND, known) != 0) {
        ignore(c, "what it sent is not the command");
    } else if (c->n == sizeof c->in || memchr(c->in, '\n', c->n)) {
        ignore(c, "it sent more than the command");
    } else if (n <= 0) {
        ignore(c, c->n ? "it hung up before the end of the command" : "it said nothing");
    }
}

unsigned shutdown_polls(struct super *s, struct pollfd *p, unsigned room) {
    unsigned n = 0;
    bool takes = s->gen && free_place(s);
    for (unsigned i = 0; takes && i < s->nshutdown && n < room; i++) p[n++] = (struct pollfd){.fd = s->shutdown_fd[i], .events = POLLIN};
    for (unsigned i = 0; i < SHUTDOWN_CALLERS && n < room; i++)
        if (s->caller[i].fd >= 0) p[n++] = (struct pollfd){.fd = s->caller[i].fd, .events = POLLIN};
    return n;
}

bool shutdown_ready(struct super *s, const struct pollfd *p) {
    for (unsigned i = 0; i < SHUTDOWN_CALLERS; i++) {
        if (s->caller[i].fd != p->fd) continue;
        read_caller(s, &s->caller[i]);
        return true;
    }
    for (unsigned i = 0; s->gen && i < s->nshutdown; i++) {
        if (s->shutdown_fd[i] != p->fd) continue;
        take_caller(s, p->fd);
        return true;
    }
    return false;
}

void shutdown_tick(struct super *s, int64_t now) {
    for (unsigned i = 0; i < SHUTDOWN_CALLERS; i++)
        if (s->caller[i].fd >= 0 && now >= s->caller[i].deadline) ignore(&s->caller[i], "the command did not come within 5 s");
}

int64_t shutdown_deadline(const struct super *s) {
    int64_t first = NEVER;
    for (unsigned i = 0; i < SHUTDOWN_CALLERS; i++)
        if (s->caller[i].fd >= 0 && s->caller[i].deadline < first) first = s->caller[i].deadline;
    return first;
}
