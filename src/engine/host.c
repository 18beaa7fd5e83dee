/* This machine as facts for bind.lua. */
#include "engine/planner.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Can an IPv6 socket be bound at all? Not with ipv6.disable=1. */
static bool ipv6_works(void) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    int on = 1;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    bool good = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0;
    close(fd);
    return good;
}

/* net.ipv6.conf.all.disable_ipv6=1 takes every IPv6 address away, and lets [::] be bound all the same, to nobody's use. */
static bool has_ipv6(const struct iflist *l) {
    for (uint32_t i = 0; i < l->naddresses; i++)
        if (l->address[i].at.family == 6) return true;
    return false;
}

bool host_read(struct host *h, struct err *e) {
    if (!iflist_read(&h->list, e)) return false;
    h->ipv6 = has_ipv6(&h->list) && ipv6_works();
    return true;
}

void host_finish(struct host *h) {
    iflist_finish(&h->list);
}
