/* The commands that talk to a running supervisor: reload, status, stop. Each returns the exit status. */
#ifndef PORTREEVE_SUPER_CLIENT_H
#define PORTREEVE_SUPER_CLIENT_H
#include "super/options.h"

int client_reload(const struct options *o);
int client_status(const struct options *o);
int client_stop(const struct options *o); /* returns when the supervisor is gone */
#endif
