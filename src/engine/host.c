/* This machine as facts for bind.lua. */
#include "engine/planner.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Can an IPv6 socket be bound at all? False with ipv6.disable=1, and with net.ipv6.conf.all.disable_ipv6=1, where no address is left. */
static bool ipv6_works(void) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    int on = 1;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    bool good = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0;
    close(fd);
    return good;
}

bool host_read(struct host *h, struct err *e) {
    h->ipv6 = ipv6_works();
    return iflist_read(&h->list, e);
}

void host_finish(struct host *h) {
    iflist_finish(&h->list);
}
