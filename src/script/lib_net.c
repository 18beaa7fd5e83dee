/* portreeve.net for trusted code: may a server be called at all? Client libraries without a time limit of their own are asked only then.
 * reachable(host, port, ms) -> true | nil, why     a TCP connection to any address of host, closed at once; ms bounds all attempts together */
#include "base/clock.h"
#include "script/lib.h"
#include <errno.h>
#include <lua5.4/lauxlib.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* 0, or the errno of what went wrong. */
static int try_address(const struct addrinfo *a, int64_t until) {
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), why = 0;
    socklen_t n = sizeof why;
    if (fd < 0) return errno;
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) why = errno;
    if (why == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int r = 0;
        for (int64_t left; (left = until - clock_mono_ms()) > 0;) {
            r = poll(&p, 1, (int)left);
            if (r >= 0 || errno != EINTR) break;
        }
        why = ETIMEDOUT;
        if (r > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) != 0) why = errno;
    }
    close(fd);
    return why;
}

static int net_reachable(lua_State *L) {
    const char *host = luaL_checkstring(L, 1);
    lua_Integer port = luaL_checkinteger(L, 2), ms = luaL_checkinteger(L, 3);
    luaL_argcheck(L, port >= 1 && port <= 65535, 2, "1 to 65535");
    luaL_argcheck(L, ms >= 1 && ms <= 60000, 3, "1 to 60000 ms");
    char service[8];
    snprintf(service, sizeof service, "%d", (int)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int r = getaddrinfo(host, service, &hints, &found), why = 0;
    int64_t until = clock_mono_ms() + ms;
    for (struct addrinfo *a = found; a && (a == found || why); a = a->ai_next) why = try_address(a, until);
    if (found) freeaddrinfo(found);
    if (r == 0 && !why) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "%s port %d: %s", host, (int)port, r ? gai_strerror(r) : strerror(why));
    return 2;
}

int lib_net(lua_State *L) {
    static const luaL_Reg functions[] = {{"reachable", net_reachable}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
