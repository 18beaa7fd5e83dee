/* portreeve login-link: a one-time address that logs in to the hub, or makes its first account. What to say is found in Lua
 * (lua/portreeve/web/loginlink.lua), which shares the databases and key files with the hub's own pages. */
#include "base/buf.h"
#include "base/log.h"
#include "base/luadir.h"
#include "engine/cmd.h"
#include "script/lib.h"
#include "script/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <lua5.4/lua.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (16u << 20)
#define ANSWER_S   10

static const char HELP[] =
    "usage: portreeve login-link [--state DIR]\n"
    "\n"
    "Makes a one-time address of the running hub and prints it, one line for each loopback address that carries the hub. It works from this machine\n"
    "only, once, for 15 minutes: it logs in to an account without its password, or, where there is no account yet, makes the first one.\n"
    "A link made before ends.\n"
    "\n"
    "  --state DIR   state folder (default $PORTREEVE_STATE, else a ./var of ours, else /var/lib/portreeve)\n"
    "  --help        this text\n"
    "\n"
    "Exit status: 0 done, 1 refused (why is on standard error), 2 wrong usage.\n";

/* -1 where no supervisor listens. sun_path is short; a path through /proc/self/fd always fits. */
static int control_connect(const char *state) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct buf run = {0};
    int dir = buf_fmt(&run, "%s/run%c", state, 0) ? open(run.p, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    buf_free(&run);
    if (dir < 0) return -1;
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/control.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval most = {.tv_sec = ANSWER_S};
    bool fine =
        fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(dir);
    if (!fine && fd >= 0) close(fd);
    return fine ? fd : -1;
}

/* The supervisor's `status json` behind its line `ok`; out stays empty where it does not run. */
static void read_status(const char *state, struct buf *out) {
    static const char request[] = "status json\n";
    int fd = control_connect(state);
    if (fd < 0) return;
    char piece[8192];
    ssize_t n = send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof request - 1) ? 1 : 0;
    while (n > 0 && out->n < ANSWER_MAX) {
        n = recv(fd, piece, sizeof piece, 0);
        if (n > 0 && !buf_add(out, piece, (size_t)n)) break;
    }
    close(fd);
    if (n != 0 || out->n < 3 || memcmp(out->p, "ok\n", 3) != 0) buf_clear(out);
    else buf_drop(out, 3);
}

static bool ask(struct vm *v, const char *state, const struct buf *status, struct err *e) {
    if (!vm_require(v, "portreeve.web.loginlink", e)) return false;
    lua_State *L = vm_lua(v);
    lua_pushstring(L, state);
    lua_pushlstring(L, status->p ? status->p : "", status->n);
    if (!vm_call(v, 2, 2, e)) return false;
    const char *text = lua_tostring(L, -2), *more = lua_tostring(L, -1);
    if (!text) return err_set(e, "%s", more ? more : "no link could be made");
    fprintf(stderr, "This link works once, from this machine, for 15 minutes; it %s.\n", more ? more : "logs in");
    return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? true : err_set(e, "cannot write to standard output");
}

/* Files made from here on must belong to whom the state belongs to, or the engine could not read them. */
static bool become_owner(const struct stat *st, const char *state, struct err *e) {
    if (geteuid() != 0 || st->st_uid == 0) return true;
    if (setgroups(0, NULL) == 0 && setgid(st->st_gid) == 0 && setuid(st->st_uid) == 0) return true;
    return err_set(e, "%s: cannot act as the folder's owner: %s", state, strerror(errno));
}

static bool make_link(const char *state, struct err *e) {
    char luadir[512];
    struct buf status = {.max = ANSWER_MAX + 8192};
    struct vm_limits lim = {.memory = 256u << 20};
    struct stat st;
    if (stat(state, &st) < 0 || !S_ISDIR(st.st_mode)) return err_set(e, "%s: no such state folder; name it with --state DIR", state);
    if (access(state, X_OK) != 0 && errno == EACCES)
        return err_set(e, "%s: %s; ask as root or as the user portreeve runs as", state, strerror(errno));
    if (!luadir_find(luadir, sizeof luadir, e)) return false;
    read_status(state, &status); /* before the change of user: the supervisor answers root and its own */
    struct vm *v = become_owner(&st, state, e) ? vm_create(VM_TRUSTED, &lim, luadir, e) : NULL;
    bool fine = v != NULL;
    if (fine) {
        vm_open_libs(v, VM_TRUSTED);
        fine = ask(v, state, &status, e);
    }
    vm_destroy(v);
    buf_free(&status);
    return fine;
}

int cmd_login_link(int argc, char **argv) {
    static const struct option options[] = {{"state", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *state = NULL;
    struct err e = {0};
    optind = 1;
    argv[0] = "portreeve login-link"; /* what getopt's messages begin with */
    for (int c; (c = getopt_long(argc, argv, "s:h", options, NULL)) != -1;) {
        if (c == 's') state = optarg;
        else if (c == 'h') return fputs(HELP, stdout) < 0;
        else return fputs(HELP, stderr), 2;
    }
    if (optind != argc) return fputs(HELP, stderr), 2;
    umask(077);
    log_setup(STDERR_FILENO, false, LOG_LVL_WARN);
    if (make_link(cmd_state(state), &e)) return 0;
    fprintf(stderr, "portreeve: %s\n", e.text);
    return 1;
}
