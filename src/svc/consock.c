#include "svc/consock.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
    ev_io io;
    struct consock *home;
    int fd; /* -1 = free place */
    uid_t uid;
    pid_t pid;
    bool last; /* close once the answer is out */
    struct buf in, out;
};
struct consock {
    struct ev_loop *loop;
    consock_handler *fn;
    void *ctx;
    ev_io io;
    ev_timer pause; /* after accept ran out of descriptors */
    int fd;
    dev_t dev;
    ino_t ino;
    struct client client[CONSOCK_CLIENTS];
    char path[];
};

/* ---- clients ---- */

static void client_close(struct client *c) {
    ev_io_stop(c->home->loop, &c->io);
    close(c->fd);
    c->fd = -1;
    buf_free(&c->in);
    buf_free(&c->out);
}

static void want(struct client *c, int events) {
    ev_io_stop(c->home->loop, &c->io);
    ev_io_set(&c->io, c->fd, events);
    ev_io_start(c->home->loop, &c->io);
}

static void refuse(struct client *c, const char *text) {
    buf_clear(&c->out);
    buf_str(&c->out, "{\"ok\":false");
    buf_member(&c->out, "text", text);
    buf_str(&c->out, "}\n");
}

/* Send what is there. False: the client is gone, or was to go. */
static bool flush(struct client *c) {
    while (c->out.n) {
        ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            want(c, EV_WRITE);
            return true;
        }
        if (n <= 0) return false;
        buf_drop(&c->out, (size_t)n);
    }
    want(c, EV_READ);
    return !c->last;
}

static void answer(struct client *c, char *line, size_t n) {
    c->out.max = CONSOCK_REPLY + 1;
    line[n] = '\0';
    c->home->fn(c->home->ctx, c->uid, c->pid, line, n, &c->out);
    if (!c->out.n) refuse(c, "there is no answer, or it is longer than 4 MiB: ask for less");
    else if (memchr(c->out.p, '\n', c->out.n)) refuse(c, "the engine's answer was not one line");
    else if (!buf_str(&c->out, "\n")) refuse(c, "the answer is longer than 4 MiB: ask for less");
}

/* Answer the lines that are whole, one at a time: the next one only when the answer before it is out. */
static void work(struct client *c) {
    while (!c->out.n) {
        char *end = c->in.n ? memchr(c->in.p, '\n', c->in.n) : NULL;
        if (!end && c->in.n < CONSOCK_LINE) return;
        if (end) {
            size_t n = (size_t)(end - c->in.p);
            answer(c, c->in.p, n);
            buf_drop(&c->in, n + 1);
        } else {
            refuse(c, "a line of more than 64 KiB");
            c->last = true;
        }
        if (!flush(c)) {
            client_close(c);
            return;
        }
    }
}

static void on_client(struct ev_loop *loop, ev_io *io, int revents) {
    (void)loop;
    struct client *c = io->data;
    if (revents & EV_WRITE) {
        if (!flush(c)) client_close(c);
        else work(c);
        return;
    }
    char part[8192];
    size_t room = CONSOCK_LINE + 1 - c->in.n;
    ssize_t n = recv(c->fd, part, room < sizeof part ? room : sizeof part, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || !buf_add(&c->in, part, (size_t)n)) client_close(c);
    else work(c);
}

/* ---- the door ---- */

static void on_pause_over(struct ev_loop *loop, ev_timer *t, int revents) {
    (void)revents;
    struct consock *s = t->data;
    ev_io_start(loop, &s->io);
}

static bool may_ask(int fd, struct ucred *who) {
    socklen_t n = sizeof *who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &n) != 0) return false;
    if (who->uid == 0 || who->uid == geteuid()) return true;
    log_warn("console", "uid %d (pid %d) is turned away: only root and uid %d may ask", (int)who->uid, (int)who->pid, (int)geteuid());
    return false;
}

static void turn_away(int fd, const char *text) {
    char line[160];
    int n = snprintf(line, sizeof line, "{\"ok\":false,\"text\":\"%s\"}\n", text);
    (void)!send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void on_connect(struct ev_loop *loop, ev_io *io, int revents) {
    (void)revents;
    struct consock *s = io->data;
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS) return;
        ev_io_stop(loop, io);
        ev_timer_again(loop, &s->pause);
        return;
    }
    struct ucred who;
    if (!may_ask(fd, &who)) {
        turn_away(fd, "not allowed: only root and the engine's own user may ask");
        return;
    }
    for (unsigned i = 0; i < CONSOCK_CLIENTS; i++) {
        struct client *c = &s->client[i];
        if (c->fd >= 0) continue;
        *c = (struct client){.home = s, .fd = fd, .uid = who.uid, .pid = who.pid, .in.max = CONSOCK_LINE + 1};
        ev_io_init(&c->io, on_client, fd, EV_READ);
        c->io.data = c;
        ev_io_start(loop, &c->io);
        return;
    }
    turn_away(fd, "eight consoles are open already: close one");
}

/* ---- paths ---- */

/* sun_path has 108 bytes; a longer path is reached through an open descriptor of its folder, which *dir keeps until the caller closes it. */
static bool set_address(struct sockaddr_un *a, const char *path, int *dir) {
    *dir = -1;
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) < sizeof a->sun_path) {
        strcpy(a->sun_path, path);
        return true;
    }
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path)) : NULL;
    if (folder) *dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (*dir < 0) return false;
    int n = snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d%s", *dir, slash);
    return n > 0 && (size_t)n < sizeof a->sun_path;
}

static bool prepare_folder(const char *path, struct err *e) {
    const char *slash = strrchr(path, '/');
    char folder[4096];
    struct stat st;
    if (!slash || slash == path || (size_t)(slash - path) >= sizeof folder)
        return err_set(e, "%s: the console's socket needs a folder of its own", path);
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) return err_set(e, "%s: cannot be made: %s", folder, strerror(errno));
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) return err_set(e, "%s: is no folder", folder);
    if ((st.st_mode & 077) && chmod(folder, 0700) != 0)
        return err_set(e, "%s: others may enter this folder (mode %o): `chmod 700 %s`", folder, (unsigned)(st.st_mode & 07777), folder);
    return true;
}

/* Bind beside the path and rename: the old socket answers until the new one does. */
static bool take_path(struct consock *s, struct err *e) {
    char beside[4096];
    struct sockaddr_un a;
    struct stat st;
    int dir;
    if ((size_t)snprintf(beside, sizeof beside, "%s.%d", s->path, (int)getpid()) >= sizeof beside)
        return err_set(e, "%s: this path is too long", s->path);
    bool fine = set_address(&a, beside, &dir);
    unlink(beside); /* of an earlier life with our number */
    fine = fine && fchmod(s->fd, 0600) == 0 && bind(s->fd, (struct sockaddr *)&a, sizeof a) == 0 && chmod(beside, 0600) == 0 &&
           listen(s->fd, CONSOCK_CLIENTS) == 0 && stat(beside, &st) == 0 && rename(beside, s->path) == 0;
    int why = errno;
    if (dir >= 0) close(dir);
    if (!fine) {
        unlink(beside);
        return err_set(e, "%s: the console's socket cannot be made: %s", s->path, strerror(why));
    }
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    return true;
}

struct consock *consock_start(struct ev_loop *loop, const char *path, consock_handler *fn, void *ctx, struct err *e) {
    struct consock *s = calloc(1, sizeof *s + strlen(path) + 1);
    if (!s) return (void)err_set(e, "out of memory"), NULL;
    strcpy(s->path, path);
    s->loop = loop;
    s->fn = fn;
    s->ctx = ctx;
    for (unsigned i = 0; i < CONSOCK_CLIENTS; i++) s->client[i].fd = -1;
    s->fd = prepare_folder(path, e) ? socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
    if (s->fd < 0 || !take_path(s, e)) {
        if (s->fd >= 0) close(s->fd);
        free(s);
        return NULL;
    }
    ev_io_init(&s->io, on_connect, s->fd, EV_READ);
    s->io.data = s;
    ev_init(&s->pause, on_pause_over);
    s->pause.repeat = 0.5;
    s->pause.data = s;
    ev_io_start(loop, &s->io);
    return s;
}

void consock_stop(struct consock *s) {
    if (!s) return;
    struct stat st;
    ev_io_stop(s->loop, &s->io);
    ev_timer_stop(s->loop, &s->pause);
    for (unsigned i = 0; i < CONSOCK_CLIENTS; i++)
        if (s->client[i].fd >= 0) client_close(&s->client[i]);
    if (stat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino) unlink(s->path);
    close(s->fd);
    free(s);
}

int consock_connect(const char *path, struct err *e) {
    struct sockaddr_un a;
    int dir, fd = -1;
    bool fine = set_address(&a, path, &dir) && (fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0 &&
                connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    int why = errno;
    if (dir >= 0) close(dir);
    if (fine) return fd;
    if (fd >= 0) close(fd);
    if (why == ENOENT || why == ECONNREFUSED) err_set(e, "%s: no server answers there; is it running, and is --state right?", path);
    else err_set(e, "%s: %s", path, strerror(why));
    return -1;
}
