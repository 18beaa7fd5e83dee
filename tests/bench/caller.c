/* Calls one address from many of 127.9.0.0/16 and counts how calls end: `caller ADDRESS PORT SECONDS AT_ONCE SOURCES`. Each connection only waits for
 * its end (a refused one) and is made anew. Prints "refused N failed N" (failed: bytes came, or the connection could not be made). One thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096

static struct sockaddr_in to;
static unsigned sources, next_source;
static unsigned long refused, failed;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void begin(int ep) {
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f090001u + next_source++ % sources)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) ||
        (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)) {
        failed++;
        if (fd >= 0) close(fd);
        usleep(1000);
        begin(ep);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void ended(int fd) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) refused++;
    else failed++;
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) return 2;
    double until = now() + atof(argv[3]);
    int at_once = atoi(argv[4]), ep = epoll_create1(EPOLL_CLOEXEC);
    sources = (unsigned)atoi(argv[5]);
    if (at_once < 1 || at_once > MOST || sources < 1) return 2;
    for (int i = 0; i < at_once; i++) begin(ep);
    while (now() < until) {
        struct epoll_event e[256];
        int n = epoll_wait(ep, e, 256, 100);
        for (int i = 0; i < n; i++) {
            ended(e[i].data.fd);
            begin(ep);
        }
    }
    printf("refused %lu failed %lu\n", refused, failed);
    return 0;
}
