#include "super/client.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "net/owner.h"
#include "super/ctlpath.h"
#include "super/pidfile.h"
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STATUS_MS  10000
#define RELOAD_MS  300000 /* planner 60 s, prepare 30 s, commit 10 s, and as much again for one that runs already */
#define GONE_MS    5000
#define NAMED_MOST 8 /* sockets of a refusal whose programs are looked for */

static int not_running(const struct options *o) {
    if (errno == EACCES || errno == EPERM) {
        fprintf(stderr, "portreeve: %s/run: %s; ask as root or as the user portreeve runs as\n", o->state, strerror(errno));
    } else {
        fprintf(stderr, "portreeve: none runs with the state folder %s (give --state DIR if it has another)\n", o->state);
    }
    return EXIT_REFUSED;
}

/* Send the request and read all that comes until end of file. wait_ms < 0: as long as it takes. */
static bool ask(const struct options *o, const char *request, int wait_ms, struct buf *out, int *code) {
    int fd = ctlpath_connect(o->state);
    if (fd < 0) {
        *code = not_running(o);
        return false;
    }
    int64_t deadline = wait_ms < 0 ? INT64_MAX : clock_mono_ms() + wait_ms;
    bool good = send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request), ended = false;
    while (good && !ended) {
        char part[16384];
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - clock_mono_ms();
        if (left <= 0) break;
        int r = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (r == 0 || (r < 0 && errno == EINTR)) continue;
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n < 0 && errno == EINTR) continue;
        good = n >= 0 && buf_add(out, part, (size_t)n);
        ended = n == 0;
    }
    close(fd);
    if (good && ended) return true;
    fprintf(stderr, "portreeve: the supervisor with the state folder %s %s\n", o->state, good ? "does not answer" : "broke off");
    *code = EXIT_REFUSED;
    return false;
}

/* The supervisor may not look into other users' programs; who typed the command perhaps may. */
static void name_sockets(const char *text) {
    char who[OWNER_TEXT];
    unsigned said = 0;
    for (const char *at = strstr(text, "socket:["); at && said < NAMED_MOST; at = strstr(at + 1, "socket:[")) {
        struct port_use u = {.inode = (ino_t)strtoull(at + 8, NULL, 10), .uid = (uid_t)-1};
        struct owner o;
        if (!u.inode) continue;
        owner_find(&u, &o);
        if (o.pid <= 0) continue;
        owner_text(&u, who, sizeof who);
        fprintf(stderr, "socket:[%ju] belongs to %s\n", (uintmax_t)u.inode, who);
        said++;
    }
    if (!said && strstr(text, "socket:[") && geteuid() != 0)
        fprintf(stderr, "the same command typed by root tells which program that is\n");
}

/* First line `ok` or `refused`, then text. Some of it may be the engine's, which is not trusted with a terminal of root's. */
static int show(struct buf *b) {
    const char *end = b->n ? memchr(b->p, '\n', b->n) : NULL;
    bool ok = end && end - b->p == 2 && memcmp(b->p, "ok", 2) == 0;
    if (!end) {
        fprintf(stderr, "portreeve: the supervisor ended before it answered\n");
        return EXIT_REFUSED;
    }
    utf8_tame(b->p, b->n);
    fwrite(end + 1, 1, b->n - (size_t)(end + 1 - b->p), ok ? stdout : stderr);
    if (!ok) name_sockets(end + 1);
    if (fflush(stdout) != 0) return EXIT_REFUSED;
    return ok ? EXIT_DONE : EXIT_REFUSED;
}

static int ask_and_show(const struct options *o, const char *request, int wait_ms) {
    struct buf out = {0};
    int code = EXIT_REFUSED;
    if (ask(o, request, wait_ms, &out, &code) && buf_add(&out, "", 1)) {
        out.n--;
        code = show(&out);
    }
    buf_free(&out);
    return code;
}

int client_reload(const struct options *o) {
    return ask_and_show(o, o->force ? "reload force\n" : "reload\n", RELOAD_MS);
}

int client_status(const struct options *o) {
    return ask_and_show(o, o->json ? "status json\n" : "status\n", STATUS_MS);
}

int client_stop(const struct options *o) {
    int code = ask_and_show(o, "stop\n", -1);
    if (code != EXIT_DONE) return code;
    const struct timespec pause = {.tv_nsec = 10 * 1000000};
    for (int64_t deadline = clock_mono_ms() + GONE_MS; pidfile_holder(o->state) > 0;) {
        if (clock_mono_ms() > deadline) {
            fprintf(stderr, "portreeve: the supervisor (pid %ld) said goodbye but is still there\n", (long)pidfile_holder(o->state));
            return EXIT_REFUSED;
        }
        nanosleep(&pause, NULL);
    }
    return EXIT_DONE;
}
