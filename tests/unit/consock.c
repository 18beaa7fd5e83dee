/* The console socket: who may ask, bounds on lines, answers and clients, and taking the path over. */
#include "svc/consock.h"
#include "unit/tap.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[160], path[256];

/* eval "echo": the line comes back; "big": too much; "lines": not one line; "none": nothing; "long": an answer of 3 MiB. */
static void handler(void *ctx, uid_t uid, pid_t pid, const char *line, size_t n, struct buf *reply) {
    unsigned *asked = ctx;
    ++*asked;
    if (strstr(line, "none")) return;
    if (strstr(line, "lines")) {
        buf_str(reply, "a\nb");
        return;
    }
    buf_str(reply, "{\"ok\":true,\"text\":");
    if (strstr(line, "big") || strstr(line, "long")) {
        size_t most = strstr(line, "big") ? 5u << 20 : 3u << 20;
        buf_str(reply, "\"");
        for (size_t i = 0; i < most; i += 64)
            if (!buf_add(reply, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde ", 64)) {
                buf_clear(reply);
                return;
            }
        buf_str(reply, "\"");
    } else if (strstr(line, "who")) {
        buf_fmt(reply, "\"%d %d\"", (int)uid, (int)pid);
    } else {
        buf_json(reply, line, n);
    }
    buf_str(reply, "}");
}

static void on_quit(struct ev_loop *loop, ev_async *a, int revents) {
    (void)a, (void)revents;
    ev_break(loop, EVBREAK_ALL);
}
static void *serve(void *loop) {
    ev_run(loop, 0);
    return NULL;
}

static bool ask(int fd, const char *text, bool *good, struct buf *out, struct err *e) {
    struct buf rq = {0};
    buf_str(&rq, text);
    bool fine = consock_ask(fd, &rq, good, out, e);
    buf_free(&rq);
    return fine;
}

static void check_answers(void) {
    struct err e = {{0}};
    struct buf out = {0};
    bool good = false;
    int fd = consock_connect(path, &e);
    ok(fd >= 0 && ask(fd, "{\"eval\":\"\\\"\\\\ tab\\t é \xf0\x9f\x98\x80\"}", &good, &out, &e) && good && buf_add(&out, "", 1) &&
           strcmp(out.p, "{\"eval\":\"\\\"\\\\ tab\\t é \xf0\x9f\x98\x80\"}") == 0,
       "a line comes back as it was: %.200s", e.text);
    char who[64];
    snprintf(who, sizeof who, "%d %d", (int)geteuid(), (int)getpid());
    ok(ask(fd, "who", &good, &out, &e) && buf_add(&out, "", 1) && strcmp(out.p, who) == 0, "the kernel tells who asks: %s", who);
    ok(ask(fd, "none", &good, &out, &e) && !good && out.n, "no answer is said");
    ok(ask(fd, "lines", &good, &out, &e) && !good, "an answer of several lines is refused");
    ok(ask(fd, "big", &good, &out, &e) && !good && buf_add(&out, "", 1) && strstr(out.p, "4 MiB"), "an answer beyond the bound is refused");
    ok(ask(fd, "long", &good, &out, &e) && good && out.n == 3u << 20, "3 MiB come whole");
    close(fd);
    buf_free(&out);
}

static void check_bounds(void) {
    struct err e = {{0}};
    struct buf out = {0}, rq = {0};
    bool good = true;
    char *line = malloc(CONSOCK_LINE + 100);
    memset(line, 'x', CONSOCK_LINE + 100);
    int fd = consock_connect(path, &e);
    buf_add(&rq, line, CONSOCK_LINE - 1);
    ok(consock_ask(fd, &rq, &good, &out, &e) && good && out.n == CONSOCK_LINE - 1, "a line of 64 KiB less one is answered");
    bool sent = send(fd, line, CONSOCK_LINE + 100, MSG_NOSIGNAL) > 0;
    char reply[256] = "";
    ssize_t n = recv(fd, reply, sizeof reply - 1, MSG_WAITALL);
    ok(sent && (n <= 0 || strstr(reply, "more than 64 KiB")), "a longer one is refused and the connection closed");
    close(fd);
    free(line);
    buf_free(&rq);

    fd = consock_connect(path, &e);
    bool all = send(fd, "a\nb\nc\n", 6, 0) == 6;
    char three[128] = "";
    size_t got = 0;
    while (got < sizeof three - 1 && (n = recv(fd, three + got, sizeof three - 1 - got, 0)) > 0) {
        got += (size_t)n;
        if (strstr(three, "\"c\"}\n")) break;
    }
    ok(all && strcmp(three, "{\"ok\":true,\"text\":\"a\"}\n{\"ok\":true,\"text\":\"b\"}\n{\"ok\":true,\"text\":\"c\"}\n") == 0,
       "lines sent at once are answered in order");
    close(fd);

    int many[CONSOCK_CLIENTS + 1];
    bool eight = true;
    for (unsigned i = 0; i < CONSOCK_CLIENTS; i++)
        eight = (many[i] = consock_connect(path, &e)) >= 0 && ask(many[i], "x", &good, &out, &e) && good && eight;
    many[CONSOCK_CLIENTS] = consock_connect(path, &e);
    bool ninth = ask(many[CONSOCK_CLIENTS], "x", &good, &out, &e);
    ok(eight && (!ninth || !good), "the ninth console is turned away");
    for (unsigned i = 0; i <= CONSOCK_CLIENTS; i++) close(many[i]);
    buf_free(&out);
}

/* Another user is turned away by SO_PEERCRED even where the modes would let it in. */
static void check_stranger(void) {
    chmod(folder, 0755);
    chmod(path, 0666);
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        struct buf out = {0};
        bool good = true;
        if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
        int fd = consock_connect(path, &e);
        bool answered = fd >= 0 && ask(fd, "x", &good, &out, &e);
        _exit(fd >= 0 && (!answered || !good) ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    ok(status == 0, "another user is turned away by the kernel's word, whatever the modes");
    chmod(folder, 0700);
}

int main(void) {
    alarm(60);
    struct err e = {{0}};
    struct stat st;
    const char *tmp = getenv("TMPDIR");
    char base[100];
    unsigned asked = 0, asked_other = 0;
    snprintf(base, sizeof base, "%.40s/portreeve-consock-XXXXXX", tmp && strlen(tmp) <= 40 ? tmp : P_tmpdir);
    if (!mkdtemp(base)) return 1;
    chmod(base, 0755);
    snprintf(folder, sizeof folder, "%s/run", base);
    snprintf(path, sizeof path, "%s/console.sock", folder);
    ok(consock_connect(path, &e) == -1 && strstr(e.text, "no server answers"), "nobody there: %.200s", e.text);
    e.text[0] = 0;
    struct ev_loop *loop = ev_loop_new(0);
    ev_async quit;
    ev_async_init(&quit, on_quit);
    ev_async_start(loop, &quit);
    struct consock *old = consock_start(loop, path, handler, &asked_other, &e);
    ok(old && stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0600 && stat(folder, &st) == 0 &&
           (st.st_mode & 07777) == 0700,
       "socket 0600 in a folder 0700: %.200s", e.text);
    struct consock *s = consock_start(loop, path, handler, &asked, &e);
    ok(s != NULL, "a second server takes the path over");
    consock_stop(old);
    ok(stat(path, &st) == 0, "and the first one leaves it alone when it goes");
    pthread_t t;
    pthread_create(&t, NULL, serve, loop);
    check_answers();
    check_bounds();
    if (geteuid() == 0) check_stranger();
    ev_async_send(loop, &quit);
    pthread_join(t, NULL);
    ok(asked > 10 && asked_other == 0, "the second server answered");
    consock_stop(s);
    ok(stat(path, &st) == -1 && errno == ENOENT, "its socket goes with it");
    char deep[400];
    snprintf(deep, sizeof deep, "%s/%0150d/console.sock", base, 1);
    char dir[400];
    snprintf(dir, sizeof dir, "%s/%0150d", base, 1);
    s = consock_start(loop, deep, handler, &asked, &e);
    int fd = consock_connect(deep, &e);
    ok(s && fd >= 0, "a path longer than a socket's address works: %.200s", e.text);
    close(fd);
    consock_stop(s);
    consock_stop(NULL);
    ev_loop_destroy(loop);
    rmdir(dir);
    rmdir(folder);
    rmdir(base);
    return tap_end();
}
