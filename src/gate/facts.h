/* What admission may know about a connection that has just been accepted, and what it may answer. */
#ifndef PORTREEVE_GATE_FACTS_H
#define PORTREEVE_GATE_FACTS_H
#include "gate/lists.h"
#include "gate/ticket.h"
#include "plan/plan.h"

struct facts {
    struct addr remote;
    int fd; /* of the connection: the local address is asked for only when a policy does */
    const struct plan_socket *listener;
    uint16_t local_port;
    const struct lists *lists;
    struct ticket_counts counts;
};

enum refusal { REFUSE_NONE, REFUSE_DENIED, REFUSE_RESTRICTION, REFUSE_PER_ADDRESS, REFUSE_MAXIMUM, REFUSE_RESERVE, REFUSE_POLICY, REFUSE_ERROR };
struct verdict {
    enum refusal refusal; /* REFUSE_NONE = come in */
    char because[512];    /* "conf/lists/denied.list:7", "listeners.ini:12", a policy's own words; "" = none */
};
const char *refusal_name(enum refusal r); /* "denied", "per-address", … as policies write them */
enum refusal refusal_of(const char *name); /* REFUSE_NONE = unknown */
#endif
