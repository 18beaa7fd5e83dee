/* The control socket: one request line, one answer, end of file. Bounded in clients, bytes and time; never waits for anybody. */
#include "base/clock.h"
#include "base/log.h"
#include "super/ctlpath.h"
#include "super/super.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MS     5000
#define WRITE_MS    30000
#define ANSWER_MOST (48u << 20) /* status of the largest plan */

static void close_client(struct control_client *c) {
    if (c->fd >= 0) close(c->fd);
    buf_free(&c->out);
    *c = (struct control_client){.fd = -1};
}

bool control_open(struct super *s, struct err *e) {
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) s->client[i].fd = -1;
    s->control_fd = ctlpath_listen(s->opt.state, e);
    return s->control_fd >= 0;
}

void control_close(struct super *s) {
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) close_client(&s->client[i]);
    if (s->control_fd >= 0) close(s->control_fd);
    s->control_fd = -1;
}

static void flush(struct control_client *c) {
    while (c->sent < c->out.n) {
        ssize_t n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {
            close_client(c);
            return;
        }
        c->sent += (size_t)n;
    }
    if (c->phase != CLIENT_WRITING) return;
    char rest[4096]; /* bytes left unread would turn our end of file into a reset */
    for (int i = 0; i < 16 && recv(c->fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++) continue;
    close_client(c);
}

static void begin_answer(struct control_client *c, bool ok) {
    c->out.max = ANSWER_MOST;
    c->phase = CLIENT_WRITING;
    c->deadline = clock_mono_ms() + WRITE_MS;
    if (!buf_str(&c->out, ok ? "ok\n" : "refused\n")) close_client(c);
}

static void say(struct control_client *c, bool ok, const char *text) {
    begin_answer(c, ok);
    if (c->fd < 0) return;
    if (buf_str(&c->out, text)) flush(c);
    else close_client(c);
}

void control_answer(struct super *s, uint64_t id, bool ok, const char *text) {
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        struct control_client *c = &s->client[i];
        if (c->fd >= 0 && c->id == id && c->phase == CLIENT_WAITING) say(c, ok, text);
    }
}

static void answer_status(struct super *s, struct control_client *c, bool (*fill)(const struct super *, struct buf *)) {
    begin_answer(c, true);
    if (c->fd < 0) return;
    if (fill(s, &c->out)) flush(c);
    else close_client(c);
}

static bool fill_sockets(const struct super *s, struct buf *out) {
    return !s->gen || generation_sockets(s->gen, out);
}

static void obey(struct super *s, struct control_client *c) {
    struct waiter w = {.id = c->id};
    if (c->stranger) say(c, false, "only root and the user portreeve runs as may do this\n");
    else if (strcmp(c->in, "status") == 0) answer_status(s, c, status_text);
    else if (strcmp(c->in, "status json") == 0) answer_status(s, c, status_json);
    else if (strcmp(c->in, "sockets") == 0) answer_status(s, c, fill_sockets);
    else if (strcmp(c->in, "decisions") == 0) {
        lend_decisions(s, c->fd);
        close_client(c);
    } else if (strcmp(c->in, "rules") == 0) {
        if (s->gen) lend_rules(s, c->fd);
        close_client(c);
    } else if (strcmp(c->in, "plan") == 0) {
        if (s->gen) answer_status(s, c, status_plan);
        else say(c, false, "there is no plan yet: the first start is still under way\n");
    } else if (strcmp(c->in, "reload") == 0 || strcmp(c->in, "reload force") == 0) {
        c->phase = CLIENT_WAITING;
        c->deadline = NEVER;
        reload_ask(s, &w, c->in[6] != 0, "the control socket");
    } else if (strcmp(c->in, "stop") == 0) {
        c->phase = CLIENT_HELD;
        c->deadline = NEVER;
        if (!buf_str(&c->out, "ok\n")) close_client(c);
        else flush(c);
        if (!s->stopping) super_stop(s, "the control socket");
    } else {
        say(c, false, "requests are: reload, reload force, status, status json, sockets, plan, decisions, rules, stop\n");
    }
}

static void read_request(struct super *s, struct control_client *c) {
    ssize_t n = recv(c->fd, c->in + c->nin, sizeof c->in - 1 - c->nin, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        close_client(c);
        return;
    }
    c->nin += (size_t)n;
    char *end = memchr(c->in, '\n', c->nin);
    if (end) {
        *end = 0;
        obey(s, c);
    } else if (c->nin == sizeof c->in - 1) {
        say(c, false, "the request line is too long\n");
    }
}

static bool allowed(int fd) {
    struct ucred peer;
    socklen_t n = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0) return false;
    if (peer.uid == 0 || peer.uid == geteuid()) return true;
    log_warn("control", "uid %u (pid %ld) was refused at the control socket", (unsigned)peer.uid, (long)peer.pid);
    return false;
}

static struct control_client *free_client(struct super *s) {
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        if (s->client[i].fd < 0) return &s->client[i];
    }
    return NULL;
}

static void accept_client(struct super *s) {
    struct control_client *c = free_client(s);
    int fd = c ? accept4(s->control_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (fd < 0) return;
    *c = (struct control_client){.fd = fd, .id = ++s->client_ids, .phase = CLIENT_READING, .deadline = clock_mono_ms() + READ_MS};
    c->stranger = !allowed(fd);
}

unsigned control_polls(struct super *s, struct pollfd *p, unsigned room) {
    unsigned n = 0;
    if (free_client(s) && n < room) p[n++] = (struct pollfd){.fd = s->control_fd, .events = POLLIN};
    for (unsigned i = 0; i < CONTROL_CLIENTS && n < room; i++) {
        struct control_client *c = &s->client[i];
        if (c->fd < 0) continue;
        bool writes = c->sent < c->out.n;
        short events = c->phase == CLIENT_READING ? POLLIN : writes ? POLLOUT : 0; /* 0: a hang-up is still told */
        p[n++] = (struct pollfd){.fd = c->fd, .events = events};
    }
    return n;
}

void control_ready(struct super *s, const struct pollfd *p) {
    if (p->fd == s->control_fd) {
        accept_client(s);
        return;
    }
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        struct control_client *c = &s->client[i];
        if (c->fd != p->fd) continue;
        if (c->phase == CLIENT_READING) read_request(s, c);
        else if (p->revents & (POLLHUP | POLLERR)) close_client(c);
        else flush(c);
        return;
    }
}

void control_tick(struct super *s, int64_t now) {
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        if (s->client[i].fd >= 0 && now >= s->client[i].deadline) close_client(&s->client[i]);
    }
}

int64_t control_deadline(const struct super *s) {
    int64_t first = NEVER;
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        if (s->client[i].fd >= 0 && s->client[i].deadline < first) first = s->client[i].deadline;
    }
    return first;
}
