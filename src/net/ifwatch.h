/* The addresses and interfaces of this machine as they change, by rtnetlink. Libc only: the supervisor listens with this.
 * A table of what is there tells news from repetition: the kernel repeats an address whenever its lifetime is renewed. */
#ifndef PORTREEVE_NET_IFWATCH_H
#define PORTREEVE_NET_IFWATCH_H
#include "base/addr.h"

#define IFWATCH_NAME      16
#define IFWATCH_ADDRESSES 65536u /* beyond these an address is not told apart: each word about it is a change */
#define IFWATCH_LINKS     16384u

enum ifchange_what {
    IF_ADDRESS_NEW,       /* usable */
    IF_ADDRESS_TENTATIVE, /* here, but still being checked for duplicates (DAD) */
    IF_ADDRESS_READY,     /* was tentative, is usable now */
    IF_ADDRESS_DUPLICATE, /* DAD found another machine with it: never usable */
    IF_ADDRESS_GONE,
    IF_LINK_NEW,
    IF_LINK_UP,
    IF_LINK_DOWN,
    IF_LINK_RENAMED,
    IF_LINK_GONE,
    IF_UNKNOWN /* something: the table is full */
};
struct ifchange {
    enum ifchange_what what;
    struct addr at;                             /* of an address; the scope as the kernel has it for link-local ones; port 0 */
    char name[IFWATCH_NAME], was[IFWATCH_NAME]; /* interface; its former name where renamed */
};

struct ifwatch;
/* Subscribes and reads what is there; what comes later is told by ifwatch_read. NULL with e. */
struct ifwatch *ifwatch_create(struct err *e);
void ifwatch_destroy(struct ifwatch *w); /* NULL is legal */
int ifwatch_fd(const struct ifwatch *w); /* to be polled for reading */
/* Take what has come (bounded a call) and tell each change. Where the kernel had to drop messages everything is read again and the
 * differences are told. false with e: nothing more will come. */
bool ifwatch_read(struct ifwatch *w, void (*tell)(void *ctx, const struct ifchange *c), void *ctx, struct err *e);
/* Is the address on an interface and usable? (All of 127.0.0.0/8 is this machine's, though only what is listed is found here.) */
bool ifwatch_has(const struct ifwatch *w, const struct addr *at);

struct iflist { /* what there is, in the kernel's order */
    struct ifaddress {
        struct addr at;          /* scope of link-local ones: the interface */
        uint32_t index;          /* of the interface */
        char name[IFWATCH_NAME]; /* its name, not the label that an IPv4 address may have */
        bool tentative, duplicate;
    } * address;
    struct iflink {
        uint32_t index;
        char name[IFWATCH_NAME];
    } * link;
    uint32_t naddresses, nlinks;
};
bool iflist_read(struct iflist *l, struct err *e); /* as it is at this moment */
void iflist_finish(struct iflist *l);

void ifchange_text(const struct ifchange *c, char *out, size_t cap); /* "192.0.2.7 appeared on eth0" */
#endif
