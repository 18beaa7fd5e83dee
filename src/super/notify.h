/* The service manager's protocol (sd_notify, socket activation's environment), spoken directly: two datagrams do not need a library. */
#ifndef PORTREEVE_SUPER_NOTIFY_H
#define PORTREEVE_SUPER_NOTIFY_H
#include <stdbool.h>
#include <stdint.h>

struct notify {
    int fd;              /* -1 = nobody listens */
    bool deaf;           /* the last message was not taken: said once, not each time */
    int64_t watchdog_ms; /* ping interval, 0 = none wanted */
    int64_t next_ms;     /* CLOCK_MONOTONIC of the next ping, 0 = none */
};

/* Reads and removes NOTIFY_SOCKET and WATCHDOG_* from the environment: children must not speak for us. */
void notify_init(struct notify *n);
void notify_say(struct notify *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void notify_reloading(struct notify *n);
void notify_tick(struct notify *n, int64_t now_ms);
/* Number of descriptors passed by socket activation (from 3 up); the variables are removed. */
unsigned notify_listen_fds(void);
#endif
