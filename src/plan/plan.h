/* The bind plan as plain data: what Lua computed, what C checks, what the supervisor opens.
 * Encoded as text (plan_encode): records of "key value" lines, values percent-escaped, strict on the way in: unknown or repeated keys,
 * missing keys and out-of-range numbers are errors. Each socket but the first has only the lines that differ from the one before it. */
#ifndef PORTREEVE_PLAN_PLAN_H
#define PORTREEVE_PLAN_PLAN_H
#include "base/addr.h"
#include "base/buf.h"
#include "plan/texts.h"

#define PLAN_NAME         64
#define PLAN_PATH         256
#define PLAN_LABELS       256
#define PLAN_ROW          8
#define PLAN_ZONE         16
#define PLAN_STATE        (ADDR_TEXT + 32)
#define PLAN_SHOWN        (PLAN_STATE + 320) /* a state with what the self-probe says */
#define PLAN_MAX_SOCKETS  16384u
#define PLAN_MAX_WORKERS  256u
#define PLAN_SHUTDOWNS    4u /* shutdown ports */
#define PLAN_MAX_BACKENDS 4096u
#define PLAN_SNI          256
#define PLAN_TO           512 /* addresses of one backend as text */

enum plan_service { /* bits */
                    SVC_TRACKER = 1,
                    SVC_UI = 2,
                    SVC_HUB = 4,
                    SVC_OPS = 8,       /* /metrics /healthz /readyz */
                    SVC_INTERNAL = 16, /* calls between components, port 1099 */
                    SVC_TRANSFER = 32, /* event transfer, port 7000 */
                    SVC_SHUTDOWN =
                        64,           /* the shutdown command (M64): held and served by the supervisor itself, never offered to an engine */
                    SVC_TUNNEL = 128, /* bytes to and from a backend, whatever they are (Q13) */
                    SVC_TLS_TUNNEL = 256, /* the same with TLS ended here, or passed through to the backend that its server name chooses */
                    SVC_REMOTE_LOG = 512, /* syslog messages of others into files; the one service that UDP carries */
                    SVC_SCRIPT = 1024     /* a line protocol written in Lua: policies/SCRIPT.lua */
};
/* The services that are answered in HTTP; every other one has a protocol of its own, and its socket to itself. */
#define SVC_HTTP    (SVC_TRACKER | SVC_UI | SVC_HUB | SVC_OPS | SVC_INTERNAL | SVC_TRANSFER)
#define SVC_TUNNELS (SVC_TUNNEL | SVC_TLS_TUNNEL)
enum plan_proxy_out { PROXY_OUT_OFF, PROXY_OUT_V1, PROXY_OUT_V2 }; /* header of the PROXY protocol to the backend */
enum plan_scheme { SCHEME_HTTP, SCHEME_HTTPS };
enum plan_restriction { RESTRICT_NONE, RESTRICT_GRANT, RESTRICT_DENY };
enum plan_client { CLIENT_OFF, CLIENT_ASK, CLIENT_REQUIRE }; /* are callers asked for a certificate of theirs? */
enum plan_missing {                                          /* what to do where the address is not on this machine */
                    MISSING_REFUSE,                          /* the whole plan is refused */
                    MISSING_WAIT,                            /* the socket is opened when the address appears, and closed when it goes */
                    MISSING_FREEBIND /* bound all the same (IP_FREEBIND): callers arrive as soon as the address does */
};

/* Entries by which callers are refused: where they stand in listeners.ini is known, so that a refusal can name it. */
enum plan_limit {
    LIMIT_LIST,
    LIMIT_CONNECTIONS,
    LIMIT_PER_ADDRESS,
    LIMIT_RESERVE,
    LIMIT_RATES, /* from here on the rates, in the order of plan_socket.rate */
    LIMIT_RATE_CONNECTIONS = LIMIT_RATES,
    LIMIT_RATE_HANDSHAKES,
    LIMIT_RATE_REQUESTS,
    LIMIT_NET_CONNECTIONS,
    LIMIT_NET_HANDSHAKES,
    LIMIT_NET_REQUESTS, /* the same of a whole net */
    LIMIT_PROXY,
    LIMIT_PROXY_FROM,
    LIMIT_CLIENT,
    LIMIT_CLIENT_CA,
    PLAN_LIMITS,
    LIMIT_NONE = PLAN_LIMITS
};
#define PLAN_RATES        6u
#define PLAN_RATE_KINDS   3u /* rate[k] is of one address, rate[PLAN_RATE_KINDS + k] of its net */
#define PLAN_RATE_MOST    1000000u
#define PLAN_RATE_MS_MOST 86400000u
#define PLAN_LINE_SET     UINT32_MAX /* a limit given by --set */
struct plan_rate {
    uint32_t n, ms; /* n in ms milliseconds; n 0 = no limit */
};
enum plan_proxy { PROXY_OFF, PROXY_ONLY_V1, PROXY_ONLY_V2, PROXY_EITHER }; /* which PROXY headers callers must begin with */

struct plan_because {
    const char *file; /* display path of the INI file, "" = a built-in default */
    uint32_t line;
    const char *entry;  /* entry name, e.g. "BindAddress" */
    const char *row;    /* "R8", or "" where the 12-row table does not speak */
    const char *policy; /* "policies/bind.lua:41" */
};

/* There may be thousands, mostly alike: their texts are kept once, in plan.texts. None of them is ever NULL (PLAN_SOCKET_BLANK). */
struct plan_socket {
    const char *name; /* listener this socket belongs to: "http", "internal", "communications", or a section of listeners.ini */
    struct addr at;   /* address, port, and whether UDP or TCP; port 0 = the kernel chooses */
    enum plan_missing when_missing;
    bool waiting;         /* the address is not usable on this machine now: planned, but not opened and not offered to the engine */
    bool away;            /* bound, but the address has gone since; not part of the written plan: who holds the socket knows */
    char zone[PLAN_ZONE]; /* a waiting link-local address whose interface does not exist: its name (at.scope is 0); else "" */
    bool v6only;          /* always true for IPv6 sockets of ours */
    enum plan_scheme scheme;
    bool external_tls;      /* Ext (G22) */
    enum plan_proxy proxy;  /* not PROXY_OFF: a device in front says whom it speaks for */
    bool proxy_inside;      /* the header comes within TLS of ours, as its first bytes; else before anything */
    const char *proxy_from; /* address list of the devices; everybody else is refused */
    uint32_t services;
    const char *certificate; /* name in plan.cert, "" for HTTP */
    enum plan_client client;
    const char *client_ca; /* those it must come from: logical path in the bundle, "certs/…" (PEM); "" = nobody is asked */
    enum plan_restriction restriction;
    const char *list;         /* address list name for the restriction, "" = none */
    const char *script;       /* SVC_SCRIPT: policies/NAME.lua; else "" */
    uint32_t max_connections; /* G27; 0 = engine's own bound only */
    uint32_t max_per_address; /* G24; 0 = no limit */
    uint32_t reserve;         /* G26 */
    bool give_way;            /* at the maximum the idlest connection of no client ends where a client comes */
    struct plan_rate rate[PLAN_RATES];
    uint32_t bits4, bits6, net4, net6; /* how many bits of an address are one caller, and one net; 0 = 32, 64, 24, 48 */
    uint32_t limit_line[PLAN_LIMITS];  /* 0 = not written */
    const char *limit_file;
    uint32_t backlog;
    const char *labels;   /* "KEY=value" lines: what the operator says of the listener to his own policies; "" = none */
    const char *backends; /* of a tunnel: the set of plan.backend that callers are taken to; else "" */
    enum plan_proxy_out proxy_out;
    struct plan_because because;
};
#define PLAN_BECAUSE_BLANK \
    { .file = "", .entry = "", .row = "", .policy = "" }
#define PLAN_SOCKET_BLANK                                                                                                          \
    {                                                                                                                              \
        .name = "", .certificate = "", .list = "", .script = "", .limit_file = "", .labels = "", .backends = "", .proxy_from = "", \
        .client_ca = "", .because = PLAN_BECAUSE_BLANK                                                                             \
    }

struct plan_backend {    /* where a tunnel leads */
    char set[PLAN_NAME]; /* sockets name it: a section of listeners.ini or a row of it, "smtp", "smtp.2" */
    char sni[PLAN_SNI];  /* for callers who ask for this server name, "*.example.org" for one label before it; "" = all others */
    char to[PLAN_TO];    /* "127.0.0.1:25,[::1]:25,unix:/run/mail": tried in this order; see plan_to_parse */
    struct plan_because because;
};

struct plan_cert { /* one certificate with key; the bytes are in the bundle */
    char name[PLAN_NAME];
    char chain[PLAN_PATH];        /* logical path in the bundle: "certs/…" (PEM chain, or PKCS#12 with everything) */
    char key[PLAN_PATH];          /* logical path of the PEM key, "" = in chain */
    char password[PLAN_NAME * 4]; /* secret: never printed, masked by plan_print */
    char names[1024];             /* comma list of host names for SNI; "" = those in the certificate */
    struct plan_because because;
};

/* Engine settings: all integers, from portreeve.ini. X(field, entry, least, most, default, unit, what for) */
#define PLAN_SETTINGS(X)                                                                                                               \
    X(workers, "Workers", 0, 256, 0, "threads", "worker threads; 0 = one per processor")                                               \
    X(affinity, "WorkerAffinity", 0, 1, 0, "off|on", "each worker on a processor, with the calls that this one receives")              \
    X(max_connections, "MaxConnections", 16, 1000000, 20000, "connections", "all listeners together")                                  \
    X(handshake_ms, "HandshakeTimeout", 100, 600000, 10000, "ms", "TLS handshake, absolute")                                           \
    X(header_ms, "HeaderTimeout", 100, 600000, 10000, "ms", "request head, absolute from its first byte")                              \
    X(body_ms, "BodyTimeout", 100, 3600000, 30000, "ms", "request body, absolute")                                                     \
    X(idle_ms, "IdleTimeout", 100, 3600000, 75000, "ms", "between requests of a kept connection")                                      \
    X(write_ms, "WriteTimeout", 100, 3600000, 30000, "ms", "response, absolute")                                                       \
    X(handler_ms, "HandlerTimeout", 100, 3600000, 30000, "ms", "hub and ui handlers")                                                  \
    X(connect_ms, "ConnectTimeout", 10, 600000, 5000, "ms", "connecting to one address of a tunnel's backend")                         \
    X(tunnel_ms, "TunnelIdleTimeout", 100, 86400000, 3600000, "ms", "a tunnel in which no byte moves either way")                      \
    X(drain_ms, "DrainTimeout", 0, 3600000, 30000, "ms", "running connections at stop and at a change of engine")                      \
    X(max_line, "MaxRequestLine", 256, 65536, 8192, "bytes", "request line")                                                           \
    X(max_head, "MaxRequestHead", 512, 262144, 16384, "bytes", "request line and header fields together")                              \
    X(max_fields, "MaxHeaderFields", 8, 100, 100, "fields", "header fields of a request")                                              \
    X(max_body, "MaxRequestBody", 0, 1073741824, 1048576, "bytes", "request body")                                                     \
    X(max_requests, "MaxRequestsPerConnection", 1, 1000000000, 1000000, "requests", "then the connection is closed")                   \
    X(app_threads, "AppThreads", 1, 64, 2, "threads", "hub and ui handlers each")                                                      \
    X(app_queue, "AppQueue", 1, 100000, 256, "requests", "waiting for an app thread; beyond it 503")                                   \
    X(policy_steps, "PolicySteps", 20000, 1000000000, 2000000, "VM instructions", "one call of a policy")                              \
    X(policy_memory, "PolicyMemory", 1048576, 4294967296, 67108864, "bytes", "one worker's Lua state")                                 \
    X(durable, "Durability", 0, 1, 1, "fast|durable", "opens and clicks: answer before or after the commit")                           \
    X(tracking, "TrackingLevel", 0, 4, 3, "off|blind|anonymous|personal|network", "installation's tracking level")                     \
    X(spool_max, "SpoolMaxBytes", 1048576, 1099511627776, 4294967296, "bytes", "spool file; beyond it events are dropped and counted") \
    X(remote_log_bytes, "RemoteLogSize", 4096, 1099511627776, 16777216, "bytes", "one file of the remote log; then the next is begun") \
    X(remote_log_files, "RemoteLogFiles", 1, 1000, 8, "files", "of each listener of the remote log; then the oldest goes")             \
    X(log_json, "LogFormat", 0, 1, 0, "human|json", "log lines")                                                                       \
    X(access_log, "AccessLog", 0, 1, 1, "off|on", "one line a request")                                                                \
    X(decisions, "Decisions", 0, 1000000, 100000, "decisions", "remembered for `portreeve why`; 0 = none")                             \
    X(decision_log, "DecisionLog", 0, 2, 1, "off|refusals|all", "decisions written to log/decisions.log")                              \
    X(decision_bytes, "DecisionLogSize", 65536, 1073741824, 16777216, "bytes", "then decisions.log becomes decisions.log.1")           \
    X(decision_files, "DecisionLogFiles", 0, 100, 8, "files", "old decisions.log.N that are kept")

struct plan_settings {
#define PLAN_FIELD(field, ...) int64_t field;
    PLAN_SETTINGS(PLAN_FIELD)
#undef PLAN_FIELD
};

struct plan {
    struct plan_socket *socket;
    uint32_t nsockets;
    struct plan_cert *cert;
    uint32_t ncerts;
    struct plan_backend *backend;
    uint32_t nbackends;
    struct plan_settings set;
    char components[PLAN_NAME]; /* "tracker,ui,hub": what is installed here */
    struct texts texts;         /* of the sockets, and every because */
};

struct plan_setting_def {
    const char *field, *entry;
    int64_t least, most, dflt;
    const char *unit, *what;
};
extern const struct plan_setting_def plan_setting_defs[];          /* ends with field NULL */
int64_t *plan_setting(struct plan_settings *s, const char *field); /* NULL = unknown */

/* Do callers of both begin in the same way, TLS and PROXY header or not? */
static inline bool plan_same_speech(const struct plan_socket *a, const struct plan_socket *b) {
    return a->scheme == b->scheme && a->external_tls == b->external_tls && a->proxy == b->proxy && a->proxy_inside == b->proxy_inside &&
           (a->services & ~(uint32_t)SVC_HTTP) == (b->services & ~(uint32_t)SVC_HTTP);
}
bool plan_has_udp(const struct plan *p);
bool plan_encode(const struct plan *p, struct buf *out);
bool plan_decode(const char *text, size_t n, struct plan *out, struct err *e); /* on false nothing is left to free */
/* In everything that plan_encode writes. */
bool plan_socket_equal(const struct plan_socket *a, const struct plan_socket *b);
bool plan_cert_equal(const struct plan_cert *a, const struct plan_cert *b);
bool plan_backend_equal(const struct plan_backend *a, const struct plan_backend *b);
void plan_finish(struct plan *p); /* wipes secrets */
/* "http", "https"; "tcp", "tls" or "udp" for other protocols, "tls-pass" where a tunnel passes TLS through, "command" for the shutdown port. */
const char *plan_scheme_text(const struct plan_socket *s);
/* The words of these enums in their order, NULL at the end: bind.lua's plan, the plan's text and people have the same. */
extern const char *const plan_scheme_words[],
    *const plan_restriction_words[], *const plan_client_words[], *const plan_missing_words[], *const plan_proxy_words[],
                                                                                                  *const plan_proxy_out_words[];
uint32_t plan_service_bit(const char *name); /* 0 = unknown */
const char *plan_service_name(uint32_t bit);
void plan_services_text(uint32_t services, char *out, size_t cap); /* "tracker,ui" */
/* How many bits of a remote address count: as one caller, or (net) as one net. family: 4 or 6. */
unsigned plan_bits(const struct plan_socket *s, uint8_t family, bool net);
size_t plan_limit_at(const struct plan_socket *s, enum plan_limit which, char *out,
                     size_t cap);                                                   /* " (conf/listeners.ini:12)", " (--set)" or "" */
const char *plan_limit_name(enum plan_limit which);                                 /* "MaxPerAddress" */
enum plan_limit plan_limit_of(const char *name);                                    /* LIMIT_NONE = no entry of that name */
bool plan_limits_differ(const struct plan_socket *a, const struct plan_socket *b);  /* in what they allow, not in where it stands */
void plan_at_text(const struct plan_socket *s, uint16_t port, char out[ADDR_TEXT]); /* addr_format with the zone; port 0: the planned one */
/* "waiting for 192.0.2.7", "bound", "bound, 192.0.2.7 is away", or "planned" where nothing has been bound yet. */
void plan_state_text(const struct plan_socket *s, bool bound, char out[PLAN_STATE]);
struct plan_to {    /* one address of a backend */
    struct addr at; /* family 0: a unix socket */
    char path[108];
};
#define PLAN_TO_MOST 8u
/* The addresses of `to`: numeric ADDRESS:PORT, [ADDRESS]:PORT or unix:/PATH, separated by commas, each once. */
bool plan_to_parse(const char *to, struct plan_to out[PLAN_TO_MOST], unsigned *n, struct err *e);
size_t plan_to_text(const struct plan_to *t, char *out, size_t cap);
/* The backend of `set` for a caller who asks for `sni` ("" = none was asked for): its own, then "*." before its parent, then the one for all
 * others. NULL = none. */
const struct plan_backend *plan_backend_for(const struct plan *p, const char *set, const char *sni);
bool plan_same_backends(const struct plan *a, const char *set_a, const struct plan *b, const char *set_b);
/* "127.0.0.1:25 (mail.example.org: 127.0.0.1:26, and 3 more names)"; "" where the set is empty. */
void plan_backends_text(const struct plan *p, const char *set, char *out, size_t cap);
struct proof;
/* Readable table and JSON array (`portreeve plan [--json]`). */
struct plan_view {                   /* what is known beside the plan; NULL, or members NULL, where it is not */
    const uint16_t *port;            /* really bound */
    const struct proof *proof;       /* of the self-probe */
    const char (*state)[PLAN_SHOWN]; /* words for each socket instead of plan_state_text's; "" = those all the same */
};
bool plan_print(const struct plan *p, const struct plan_view *v, struct buf *out);
bool plan_json(const struct plan *p, const struct plan_view *v, struct buf *out);
bool plan_json_socket(const struct plan *p, const struct plan_view *v, uint32_t i, struct buf *out); /* one element of it */
bool plan_json_because(const struct plan_because *b, struct buf *out);                               /* ,"because":{…} */
#endif
