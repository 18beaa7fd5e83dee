/* What would become of a caller: a question to the running generation, or to files that are not in force. Texts are the asker's; NULL = not
 * said. */
#ifndef PORTREEVE_GATE_QUESTION_H
#define PORTREEVE_GATE_QUESTION_H
#include "base/addr.h"

struct question {
    const char *address;  /* of the caller */
    const char *listener; /* name */
    const char *local;    /* of the listener's sockets the one that takes callers of this address; NULL = the first that fits */
    uint16_t port;        /* the one with this port; 0 = the first that fits */
    const char *sni, *alpn, *ja4;
    const char *certificate, *certificate_issuer, *certificate_names; /* subject of a good one that he shows; its issuer and names */
    const char *method, *path, *host;                                 /* any of them: a request is asked about too */
    int64_t at_ms;                                                    /* unix; 0 = now */
};
#endif
