/* The inbound rules that a packet filter or a NAT in front of this machine needs for a plan: who must reach which address and port.
 *   firewall.c      the rules as a value          firewall_say.c  as text, for nftables, as JSON */
#ifndef PORTREEVE_ENGINE_FIREWALL_H
#define PORTREEVE_ENGINE_FIREWALL_H
#include "engine/planner.h"
#include "plan/running.h"

#define FIREWALL_SOURCES 1000u /* ranges of a list that are spelled out; a longer list is left to Portreeve itself */

enum firewall_form { FIREWALL_TEXT, FIREWALL_NFT, FIREWALL_JSON };
enum firewall_who {
    WHO_EVERYBODY, /* tracker: without it nothing is tracked */
    WHO_USERS,     /* hub and ui: people who work with it */
    WHO_WATCHERS,  /* ops */
    WHO_LISTED,    /* only the addresses of a list */
    WHO_NOBODY     /* no rule is needed: `why` says so */
};
struct range {
    struct addr lo, hi;
};
struct firewall_list { /* an address list without its loopback addresses */
    char name[PLAN_NAME];
    struct range *range;
    uint32_t n;
    bool long_list; /* more than FIREWALL_SOURCES: range is empty */
};
struct firewall_rule { /* one socket */
    const struct plan_socket *socket;
    uint16_t port; /* 0 = not chosen yet */
    enum firewall_who who;
    const struct firewall_list *list; /* WHO_LISTED; also where the listener bars a list (RESTRICT_DENY) */
    const char *why;
};
struct firewall {
    struct firewall_rule *rule; /* in the plan's order */
    uint32_t n;
    struct firewall_list *list;
    uint32_t nlists;
    const struct firewall_list *admin; /* who may see pages of hub and ui */
};

/* p has run; r = the running server's plan or NULL: it tells the ports that the kernel chose. */
bool firewall_show(const struct planner *p, const struct running *r, enum firewall_form form, struct buf *out);

/* firewall_say.c */
bool firewall_text(const struct firewall *f, struct buf *out);
bool firewall_nft(const struct firewall *f, struct buf *out);
bool firewall_json(const struct firewall *f, struct buf *out);
bool firewall_range(const struct range *r, struct buf *out); /* "10.0.0.0/8", "192.0.2.1", "a-b" */
#endif
