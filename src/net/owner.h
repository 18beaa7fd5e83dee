/* Whose socket is it? The program (pid, command), its user and its systemd unit, from /proc and the control groups. Libc only.
 * Another user's program shows its sockets only to who may trace it (root, or CAP_SYS_PTRACE): else the socket's control group still tells
 * the unit, and its user is always known. */
#ifndef PORTREEVE_NET_OWNER_H
#define PORTREEVE_NET_OWNER_H
#include "net/ports.h"

#define OWNER_TEXT 640

struct owner {
    pid_t pid; /* 0 = not seen */
    char command[128], user[64];
    char unit[128]; /* "nginx.service"; "" = none or not known */
};

void owner_find(const struct port_use *u, struct owner *out);
/* "pid 123 (nginx: master process nginx), user root, unit nginx.service". Where the program cannot be seen: "a program of user root
 * (socket:[4711]), unit nginx.service". */
void owner_text(const struct port_use *u, char *out, size_t cap);
/* Why `at` cannot be bound beside u and what can be done, to follow "port taken by ": the owner, what it holds, and the way out (E3, E4).
 */
void owner_explain(const struct addr *at, const struct port_use *u, char *out, size_t cap);
/* "cannot bind ADDRESS:PORT: port taken by " and all that; u NULL: by whom is not known. Always false. */
bool owner_refuse(const struct addr *at, const struct port_use *u, struct err *e);
#endif
