#include "super/notify.h"
#include "base/clock.h"
#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void connect_to(struct notify *n, const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len >= sizeof a.sun_path) {
        log_warn("notify", "NOTIFY_SOCKET=%s is not usable; the service manager will not hear from us", path);
        return;
    }
    memcpy(a.sun_path, path, len);
    if (path[0] == '@') a.sun_path[0] = 0;
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd >= 0 && connect(n->fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0) return;
    log_warn("notify", "NOTIFY_SOCKET=%s: %s; the service manager will not hear from us", path, strerror(errno));
    if (n->fd >= 0) close(n->fd);
    n->fd = -1;
}

void notify_init(struct notify *n) {
    const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    *n = (struct notify){.fd = -1};
    if (path) connect_to(n, path);
    if (usec && n->fd >= 0 && (!pid || strtol(pid, NULL, 10) == (long)getpid())) {
        long long us = strtoll(usec, NULL, 10);
        if (us >= 2000) n->watchdog_ms = us / 2000;
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_say(struct notify *n, const char *fmt, ...) {
    char text[512];
    if (n->fd < 0) return;
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (len <= 0) return;
    size_t size = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    bool deaf = send(n->fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
    if (deaf && !n->deaf) log_warn("notify", "the service manager does not take messages: %s", strerror(errno));
    n->deaf = deaf;
}

void notify_reloading(struct notify *n) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* systemd compares this with its own clock: never the replaceable one */
    notify_say(n, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reloading", (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
}

void notify_tick(struct notify *n, int64_t now_ms) {
    if (!n->watchdog_ms || now_ms < n->next_ms) return;
    notify_say(n, "WATCHDOG=1");
    n->next_ms = now_ms + n->watchdog_ms;
}

unsigned notify_listen_fds(void) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    long n = 0;
    if (pid && fds && strtol(pid, NULL, 10) == (long)getpid()) n = strtol(fds, NULL, 10);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return n > 0 && n < 65536 ? (unsigned)n : 0;
}
