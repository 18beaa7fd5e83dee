#include "engine/probe_table.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool probe_table_init(struct probe_table *t, struct err *e) {
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->wake < 0) return err_set(e, "the self-probe cannot be started: %s", strerror(errno));
    pthread_mutex_init(&t->lock, NULL);
    return true;
}

void probe_table_finish(struct probe_table *t) {
    pthread_mutex_destroy(&t->lock);
    close(t->wake);
}

static bool same_end(const struct addr *a, const struct addr *b) {
    return a->port == b->port && a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

/* The kernel may give one port to two connections that go to different places; a worker could not tell those two apart. */
static bool ambiguous(const struct probe_table *t, unsigned slot, const struct addr *client) {
    for (unsigned i = 0; i < PROBE_SLOTS; i++)
        if (i != slot && t->entry[i].open && same_end(&t->entry[i].client, client)) return true;
    return false;
}

static int connect_and_name(int fd, const struct addr *to, struct addr *client) {
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(to, &sa);
    if (connect(fd, (struct sockaddr *)&sa, n) != 0 && errno != EINPROGRESS) return errno;
    n = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &n) != 0) return errno;
    addr_from_sockaddr((struct sockaddr *)&sa, client);
    return 0;
}

int probe_table_connect(struct probe_table *t, unsigned slot, int fd, const struct addr *to, struct addr *client) {
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->open, 1); /* before connect: a worker may accept before it returns */
    int why = connect_and_name(fd, to, client);
    if (why == 0 && ambiguous(t, slot, client)) why = EADDRINUSE;
    if (why == 0) {
        t->entry[slot].open = true;
        t->entry[slot].claimed = false;
        t->entry[slot].client = *client;
    } else atomic_fetch_sub(&t->open, 1);
    pthread_mutex_unlock(&t->lock);
    return why;
}

bool probe_table_claim(struct probe_table *t, const struct sockaddr *caller, const struct probe_claim *claim) {
    struct addr client;
    bool ours = false;
    addr_from_sockaddr(caller, &client);
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < PROBE_SLOTS && !ours; i++) {
        if (!t->entry[i].open || t->entry[i].claimed || !same_end(&t->entry[i].client, &client)) continue;
        t->entry[i].claimed = ours = true;
        t->entry[i].claim = *claim;
    }
    pthread_mutex_unlock(&t->lock);
    const uint64_t one = 1;
    if (ours && write(t->wake, &one, sizeof one) < 0) return true; /* EAGAIN: it is awake already */
    return ours;
}

static bool take_out(struct probe_table *t, unsigned slot, struct probe_claim *out) {
    if (!t->entry[slot].open || !t->entry[slot].claimed || t->entry[slot].claim.fd < 0) return false;
    *out = t->entry[slot].claim;
    t->entry[slot].claim.fd = -1;
    return true;
}

bool probe_table_take(struct probe_table *t, unsigned slot, struct probe_claim *out) {
    pthread_mutex_lock(&t->lock);
    bool there = take_out(t, slot, out);
    pthread_mutex_unlock(&t->lock);
    return there;
}

bool probe_table_close(struct probe_table *t, unsigned slot, struct probe_claim *late) {
    pthread_mutex_lock(&t->lock);
    bool there = take_out(t, slot, late);
    if (t->entry[slot].open) atomic_fetch_sub(&t->open, 1);
    t->entry[slot].open = false;
    pthread_mutex_unlock(&t->lock);
    return there;
}
