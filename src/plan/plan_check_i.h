/* Inside of plan_check: plan_check.c and plan_check_tunnel.c. */
#ifndef PORTREEVE_PLAN_PLAN_CHECK_I_H
#define PORTREEVE_PLAN_PLAN_CHECK_I_H
#include "plan/plan_check.h"

/* "conf/tomcat.ini:7: BindAddress: listener http on 127.0.0.1:80": where a socket comes from, for messages. */
struct origin {
    char text[PLAN_PATH + PLAN_NAME * 2 + ADDR_TEXT + 64];
};
struct origin plan_origin(const struct plan_socket *s);
/* The message behind the socket's origin; always false. */
bool plan_refuse(const struct plan_socket *s, struct err *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool plan_check_backends(const struct plan *p, struct err *e);                            /* each by itself */
bool plan_check_tunnel(const struct plan *p, const struct plan_socket *s, struct err *e); /* a socket's tunnel, or that it is none */
#endif
