/* Counters, rates and bans that outlive generations and engines: one memfd, made by the supervisor, mapped by the engine. Fixed layout, relaxed atomics,
 * one cache-line-aligned block per worker so that workers never share a line; readers sum. */
#ifndef PORTREEVE_GATE_COUNTERS_H
#define PORTREEVE_GATE_COUNTERS_H
#include "base/err.h"
#include "gate/admins.h"
#include "gate/bans.h"
#include "gate/rates.h"
#include <stdatomic.h>
#include <stdint.h>

#define COUNTERS_WORKERS 256
/* X(field, prometheus name without prefix, help) */
#define COUNTERS(X)                                                                                              \
    X(accepted, "connections_accepted_total", "connections accepted")                                            \
    X(closed, "connections_closed_total", "connections closed")                                                  \
    X(refused_denied, "refused_denied_total", "refused: global denied list")                                     \
    X(refused_restriction, "refused_restriction_total", "refused: listener restriction")                         \
    X(refused_per_address, "refused_per_address_total", "refused: limit per address")                            \
    X(refused_maximum, "refused_maximum_total", "refused: maximum of connections")                               \
    X(refused_banned, "refused_banned_total", "refused: banned")                                                 \
    X(refused_rate, "refused_rate_total", "refused: too often")                                                  \
    X(refused_proxy, "refused_proxy_total", "refused: PROXY header bad, late or from a stranger")                \
    X(refused_certificate, "refused_certificate_total", "refused: no certificate of the caller, or no good one") \
    X(refused_policy, "refused_policy_total", "refused: by the policy for another reason")                       \
    X(refused_error, "refused_policy_error_total", "refused: the policy failed")                                 \
    X(accept_pauses, "accept_pauses_total", "accept paused for want of descriptors or memory")                   \
    X(tls_handshakes, "tls_handshakes_total", "TLS handshakes finished")                                         \
    X(tls_failures, "tls_failures_total", "TLS handshakes failed")                                               \
    X(tunnels, "tunnels_total", "tunnels opened to a backend")                                                   \
    X(tunnels_refused, "tunnels_refused_total", "callers of a tunnel for whom no backend was there")             \
    X(backend_failures, "backend_unreachable_total", "calls to backends that failed")                            \
    X(tunnel_in, "tunnel_received_bytes_total", "bytes from callers to backends, of tunnels that have ended")    \
    X(tunnel_out, "tunnel_sent_bytes_total", "bytes from backends to callers, of tunnels that have ended")       \
    X(requests, "requests_total", "requests read")                                                               \
    X(bad_requests, "bad_requests_total", "requests refused by the parser")                                      \
    X(timeouts, "timeouts_total", "connections closed by a deadline")                                            \
    X(status_2xx, "responses_2xx_total", "answers 2xx")                                                          \
    X(status_3xx, "responses_3xx_total", "answers 3xx")                                                          \
    X(status_4xx, "responses_4xx_total", "answers 4xx")                                                          \
    X(status_5xx, "responses_5xx_total", "answers 5xx")                                                          \
    X(tokens_bad, "tokens_invalid_total", "tracking tokens that did not verify")                                 \
    X(events, "events_total", "events handed to the spool")                                                      \
    X(events_dropped, "events_dropped_total", "events dropped: queue or disk full")                              \
    X(policy_errors, "policy_errors_total", "policy calls that failed")                                          \
    X(datagrams, "datagrams_total", "datagrams received")                                                        \
    X(datagrams_refused, "datagrams_refused_total", "datagrams dropped: their flow was refused")                 \
    X(log_messages, "remote_log_messages_total", "messages taken by the remote log")                             \
    X(log_dropped, "remote_log_dropped_total", "messages lost: queue or disk full")                              \
    X(app_rejected, "app_queue_full_total", "hub or ui requests refused: queue full")

struct counters_block {
#define COUNTERS_FIELD(field, ...) _Atomic uint64_t field;
    _Alignas(64) COUNTERS(COUNTERS_FIELD)
#undef COUNTERS_FIELD
};
struct counters_super { /* written by the supervisor only */
    _Alignas(64) _Atomic uint64_t engine_starts, engine_crashes, reloads_ok, reloads_failed;
    _Atomic int64_t started_ms, generation;
};
/* Live connections by (listener, address), rebuilt by each engine: one slot per engine instance, zeroed by the supervisor before the
 * instance starts. Striped spin locks; a stripe's lock lives in the slot, so a crash inside it dies with the slot. */
#define LIVE_BUCKETS 4096u
#define LIVE_WAYS    16u
struct live_bucket {
    _Alignas(64) atomic_flag lock;
    uint32_t full; /* times an entry did not fit */
    struct {
        uint64_t key;
        uint32_t n;
    } way[LIVE_WAYS];
};
#define LIVE_LISTENERS 1024u
struct counters_live {
    _Atomic uint32_t listener[LIVE_LISTENERS]; /* by listener id */
    struct live_bucket bucket[LIVE_BUCKETS];
};
#define COUNTERS_MAGIC 0x7072763163747232ull
struct counters {
    uint64_t magic, bytes;
    uint64_t hash_key[2];
    struct counters_super super;
    _Atomic int64_t
        policy_suspended_ms; /* written by engines: since when the living policy's rules in Lua are suspended, unix ms; 0 = they are not */
    struct counters_block worker[COUNTERS_WORKERS];
    struct counters_live live[2];
    struct hold_roll roll; /* who may hold the locks of the tables below */
    struct rates rates;
    struct bans bans;
    struct admins admins;
};

bool counters_bans(int fd, struct bans *out, struct err *e);       /* likewise; it is as it was at one moment, and nobody holds its lock */
int counters_create(struct counters **out, struct err *e);         /* supervisor: returns the memfd (CLOEXEC), maps it */
struct counters *counters_map(int fd, struct err *e);              /* engine: checks magic and size */
bool counters_admins(int fd, struct admins *out, struct err *e);   /* a command, whose descriptor may only read: a copy */
void counters_reset_live(struct counters *c, unsigned instance);   /* supervisor, before starting an engine in that slot */
void counters_engine_ended(struct counters *c, unsigned instance); /* supervisor: the engine in that slot has been reaped */
struct holder_id counters_holder(const struct counters *c, unsigned instance); /* engine: for the tables' locks */
struct counter_def {
    const char *field, *metric, *help;
    size_t offset;
};
extern const struct counter_def counter_defs[];                 /* ends with field NULL */
uint64_t counters_sum(const struct counters *c, size_t offset); /* over workers */
#define COUNT(block, field) atomic_fetch_add_explicit(&(block)->field, 1, memory_order_relaxed)

/* Take one place: returns the number of live connections of that address on that listener including this one; 0 = the table is full here
 * (counted, treated as at the limit). Give it back exactly once with live_give. */
uint32_t live_take(struct counters_live *l, uint64_t key);
void live_give(struct counters_live *l, uint64_t key);
/* One of the listener and one of the address, or nothing, in one step of which nobody sees half: while there are fewer than `most` and `most_from`
 * of them (UINT32_MAX = no bound). *n, *from: how many there are with this one, or would have been; *from = UINT32_MAX: the table is full
 * here, which only an address without a bound may pass, and it is not counted then. */
bool live_take_within(struct counters_live *l, uint16_t listener, uint64_t key, uint32_t most, uint32_t most_from, uint32_t *n,
                      uint32_t *from);
uint32_t live_peek(struct counters_live *l, uint64_t key);
#endif
