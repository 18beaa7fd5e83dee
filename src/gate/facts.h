/* What admission may know about a connection, and what it may answer. A connection is judged at stages, and what is known grows from one to
 * the next: peer (just accepted; where a PROXY header is trusted, behind it and about the address it names), hello (the ClientHello has come,
 * nothing has been answered), identity (the handshake is done), request (each request head). Datagram flows are judged at peer only. */
#ifndef PORTREEVE_GATE_FACTS_H
#define PORTREEVE_GATE_FACTS_H
#include "gate/lists.h"
#include "gate/stage.h"
#include "gate/ticket.h"
#include "net/tls.h"
#include "plan/plan.h"

#define TAGS_MOST 8u
#define TAG_NAME  32 /* letters, digits, '-', '_' and '.' */
struct tags {
    uint32_t n;
    char name[TAGS_MOST][TAG_NAME];
};
bool tags_add(struct tags *t, const char *name); /* false: no name, or there is no room; one that is there already is fine */
bool tags_have(const struct tags *t, const char *name);

struct exchange; /* proto/exchange.h: this floor only carries it */
struct facts {
    enum stage stage;
    struct addr remote;
    const struct addr *via; /* the device whose PROXY header named remote; NULL = it calls by itself */
    bool clear;             /* and the device says that its caller speaks no TLS, though the socket is Ext */
    int fd; /* of the connection: the local address is asked for only when a policy does; -1 = there is none (a question of `would`) */
    const struct plan_socket *listener;
    uint16_t local_port, listener_id;
    const struct lists *lists;
    struct ticket_counts counts;         /* taken at peer; as they were then */
    const struct tls_hello *hello;       /* from hello on; NULL before, and where there is no TLS */
    const struct tls_identity *identity; /* from identity on; NULL before, and where there is no TLS */
    const struct exchange *request;      /* at request only */
    const struct tags *tags;             /* of earlier stages; NULL = none */
    int64_t real_ms;
    struct counters *counters; /* for rates; NULL = none is asked */
    struct holder_id holder;
    uint64_t listener_key;      /* hash_text of its name: the same in every engine of a run */
    const struct ban_set *bans; /* NULL = none */
    int64_t mono_ms;            /* of this turn of the loop */
    bool living;                /* judged again (reap, guards): rates are not asked, and no hit is counted */
    bool *unknown;              /* set where a policy asks for what is not known of a decision of yesterday; NULL = all is known */
};

/* Ask a list on behalf of a decision: the line that spoke is counted, unless the facts are those of a question (`would`: fd is -1). */
struct pset_hit facts_ask(const struct facts *f, const struct pset *set);

/* Why. The order is that of refusal_name, of counters and of records: append, never insert. */
enum refusal {
    REFUSE_NONE,
    REFUSE_DENIED,
    REFUSE_RESTRICTION,
    REFUSE_PER_ADDRESS,
    REFUSE_MAXIMUM,
    REFUSE_RESERVE,
    REFUSE_POLICY,
    REFUSE_ERROR,
    REFUSE_BANNED,
    REFUSE_RATE,
    REFUSE_CLIENTS,
    REFUSE_PROXY,
    REFUSE_CERTIFICATE,
    REFUSALS
};
const char *refusal_name(enum refusal r);  /* "denied", "per-address", … as policies write them */
enum refusal refusal_of(const char *name); /* REFUSE_NONE = unknown, or none that a policy may give */

#define DELAY_MOST_MS 30000u
#define VERDICT_TEXT  256
struct verdict {
    enum verdict_kind kind;
    enum refusal refusal; /* REFUSE_NONE where kind is VERDICT_ALLOW */
    enum stage stage;
    const char *policy; /* file of the rule that decided, lives as long as the rules; NULL = none did (the list came to its end) */
    uint32_t policy_line;
    uint32_t rule;           /* its place in the list, from 1; 0 = none */
    uint32_t only;           /* services that stay open to the connection; UINT32_MAX = all of its socket's */
    uint32_t delay_ms;       /* to wait before it goes on; sum of all rules, at most DELAY_MOST_MS */
    uint16_t status;         /* of an answer */
    bool last_good;          /* the policy failed, this is what it said last (OnPolicyError=last) */
    enum plan_limit limit;   /* the listener's entry that decided, LIMIT_NONE = none did, or a line of a list says it better */
    struct tags tags;        /* given at this stage */
    char because[512];       /* "conf/lists/denied.list:7", "MaxPerAddress=3 of listener http", a policy's own words; "" = none */
    char list[320];          /* the list line that decided, "" = none */
    char text[VERDICT_TEXT]; /* of an answer, for people */
};
void verdict_clear(struct verdict *v, enum stage s); /* allow, everything */
#endif
