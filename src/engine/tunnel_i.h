/* What tunnel.c (life and relay), tunnel_call.c (reaching a backend) and tunnel_hello.c (choosing it by the name asked for) share. */
#ifndef PORTREEVE_ENGINE_TUNNEL_I_H
#define PORTREEVE_ENGINE_TUNNEL_I_H
#include "engine/backend.h"
#include "engine/conn_i.h"
#include "net/relay.h"
#include "net/tls_hello.h"

enum tunnel_phase { TUNNEL_HELLO, TUNNEL_CALL, TUNNEL_RELAY };
struct tunnel {
    struct polled polled; /* of the backend's descriptor; first, since the poll set hands it back */
    struct conn *c;       /* NULL: closed */
    enum tunnel_phase phase;
    bool lowat;                /* SO_RCVLOWAT is set */
    uint8_t tried;             /* bits: addresses of the route that have been called */
    int fd;                    /* to the backend; -1 = none */
    const struct route *route; /* of c->gen; only until it is reached */
    struct backend *to;        /* referenced; NULL = none yet */
    struct relay relay;
    char *sni;         /* that a client whose TLS goes through asked for; NULL = none */
    int64_t moved_ms;  /* when the last byte went either way */
    int64_t end_ms;    /* its listener is gone: so long it may go on; 0 = for ever */
    uint64_t admitted; /* id of the generation that let it in */
};

void tunnel_choose(struct conn *c, const char *sni);   /* the route for that name, then call it */
void tunnel_call(struct conn *c);                      /* the next address that has not been tried; where there is none, the end */
void tunnel_answered(struct conn *c, uint32_t events); /* something has happened to the call */
void tunnel_relay(struct conn *c);                     /* the backend is there: from now on bytes */
void tunnel_unknown(struct conn *c);                   /* tell a caller whose TLS would have gone through that nobody is called so */
void tunnel_look(struct conn *c);                      /* at the ClientHello, as far as it is there */
#endif
