#include "plan/plan_check.h"
#include "base/sort.h"
#include "plan/plan_check_i.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUBLIC_SERVICES (SVC_TRACKER | SVC_UI | SVC_HUB)
#define ALL_SERVICES    (SVC_HTTP | SVC_SHUTDOWN | SVC_TUNNELS | SVC_REMOTE_LOG | SVC_SCRIPT)

struct origin plan_origin(const struct plan_socket *s) {
    struct origin o;
    char at[ADDR_TEXT], line[16] = "";
    const struct plan_because *b = &s->because;
    plan_at_text(s, 0, at);
    if (b->line) snprintf(line, sizeof line, ":%" PRIu32, b->line);
    snprintf(o.text, sizeof o.text, "%s%s: %s%slistener %s on %s", b->file[0] ? b->file : "built-in default", line, b->entry,
             b->entry[0] ? ": " : "", s->name, at);
    return o;
}

#define refuse(s, e, ...) plan_refuse(s, e, __VA_ARGS__)
bool plan_refuse(const struct plan_socket *s, struct err *e, const char *fmt, ...) {
    char text[512];
    struct origin o = plan_origin(s);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(e, "%s: %s", o.text, text);
}

static bool name_good(const char *s) {
    if (!*s) return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("_-.", *s)) return false;
    return true;
}

static bool path_good(const char *s) {
    return strncmp(s, "certs/", 6) == 0 && s[6] && !strstr(s, "..");
}

static const struct plan_cert *cert_named(const struct plan *p, const char *name) {
    for (uint32_t i = 0; i < p->ncerts; i++)
        if (strcmp(p->cert[i].name, name) == 0) return &p->cert[i];
    return NULL;
}

static bool check_components(const struct plan *p, uint32_t *have, struct err *e) {
    char list[PLAN_NAME], *save = NULL;
    snprintf(list, sizeof list, "%s", p->components);
    *have = 0;
    for (char *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        uint32_t bit = plan_service_bit(name) & PUBLIC_SERVICES;
        if (!bit || (*have & bit)) return err_set(e, "plan: components \"%s\": \"%s\" is unknown or there twice", p->components, name);
        *have |= bit;
    }
    return *have || err_set(e, "plan: no component is installed here: Components needs at least one of tracker, ui, hub");
}

static bool check_settings(const struct plan *p, struct err *e) {
    struct plan_settings set = p->set;
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) {
        int64_t v = *plan_setting(&set, d->field);
        if (v < d->least || v > d->most)
            return err_set(e, "plan: %s=%" PRId64 " (%s) is not between %" PRId64 " and %" PRId64, d->entry, v, d->unit, d->least, d->most);
    }
    return true;
}

static bool check_certs(const struct plan *p, struct err *e) {
    for (uint32_t i = 0; i < p->ncerts; i++) {
        const struct plan_cert *c = &p->cert[i];
        const char *file = c->because.file[0] ? c->because.file : "plan";
        if (!name_good(c->name))
            return err_at(e, file, c->because.line, "certificate name \"%s\": letters, digits, _ - and . only", c->name);
        if (cert_named(p, c->name) != c) return err_at(e, file, c->because.line, "certificate %s is there twice", c->name);
        if (!path_good(c->chain) || (c->key[0] && !path_good(c->key)))
            return err_at(e, file, c->because.line, "certificate %s: files must lie below certs/ of the bundle", c->name);
    }
    return true;
}

static bool check_address(const struct plan_socket *s, struct err *e) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const struct addr *a = &s->at;
    if (a->family != 4 && a->family != 6) return refuse(s, e, "no address");
    if (a->family == 6 && memcmp(a->ip, mapped, sizeof mapped) == 0) return refuse(s, e, "IPv4-mapped: write the IPv4 address");
    if (a->family == 4 && a->scope) return refuse(s, e, "an IPv4 address has no scope");
    if (a->scope && !addr_is_link_local(a)) return refuse(s, e, "only a link-local address has a scope");
    if (addr_is_link_local(a) && !a->scope && !s->zone[0])
        return refuse(s, e, "a link-local address needs its interface, as in [fe80::1%%eth0]");
    if ((a->family == 6) != s->v6only) return refuse(s, e, "v6only must be set for IPv6 and only for IPv6");
    if ((a->family == 4 && a->ip[0] >= 224) || (a->family == 6 && a->ip[0] == 0xff))
        return refuse(s, e, "a multicast or broadcast address cannot listen");
    return true;
}

static bool check_missing(const struct plan_socket *s, struct err *e) {
    if (s->when_missing > MISSING_FREEBIND) return refuse(s, e, "unknown word for a missing address");
    if (s->waiting && addr_is_any(&s->at)) return refuse(s, e, "all addresses together are never missing");
    if (s->waiting && s->when_missing == MISSING_FREEBIND) return refuse(s, e, "an address bound in advance does not wait");
    if (s->zone[0] && (!s->waiting || s->at.scope || !addr_is_link_local(&s->at)))
        return refuse(s, e, "a zone by name is for a link-local address that waits for its interface");
    return true;
}

static bool check_scheme(const struct plan *p, const struct plan_socket *s, struct err *e) {
    if (s->scheme != SCHEME_HTTP && s->scheme != SCHEME_HTTPS) return refuse(s, e, "unknown scheme");
    if (s->scheme == SCHEME_HTTP && s->certificate[0])
        return refuse(s, e, "plain HTTP with certificate %s: leave it out or use HTTPS", s->certificate);
    if (s->scheme == SCHEME_HTTPS && s->external_tls) return refuse(s, e, "TLS of our own and TLS in front exclude each other");
    if (s->scheme == SCHEME_HTTPS && !s->certificate[0]) return refuse(s, e, "HTTPS without certificate: name one in certificates.ini");
    if (s->scheme == SCHEME_HTTPS && !cert_named(p, s->certificate))
        return refuse(s, e, "certificate %s is not known: add %s.Certificate to certificates.ini", s->certificate, s->certificate);
    return true;
}

/* A PROXY header within TLS says that the other end is a device, whose own certificate no rule is told of: it is demanded, or not asked for. */
static bool check_client(const struct plan_socket *s, struct err *e) {
    if (s->client > CLIENT_REQUIRE) return refuse(s, e, "unknown word for client certificates");
    if (s->client == CLIENT_OFF) return !s->client_ca[0] || refuse(s, e, "CAs of client certificates, but nobody is asked for one");
    if (s->scheme != SCHEME_HTTPS)
        return refuse(s, e, "client certificates are shown within TLS of our own: set InitTLS=On, or leave ClientCertificate out");
    if (!path_good(s->client_ca))
        return refuse(s, e, "which certificates are good? set its ClientCA entry to a file with the CAs they come from");
    return s->client == CLIENT_REQUIRE || !s->proxy_inside ||
           refuse(s, e, "with a PROXY header within TLS the certificate is the device's: write ClientCertificate=Require, or leave it out");
}

static bool check_proxy(const struct plan_socket *s, struct err *e) {
    if (s->proxy > PROXY_EITHER) return refuse(s, e, "unknown version of the PROXY protocol");
    if (s->proxy != PROXY_OFF && !name_good(s->proxy_from))
        return refuse(s, e, "a PROXY header is believed from known devices only: set its ProxyFrom entry to their address list");
    if (s->proxy == PROXY_OFF && (s->proxy_inside || s->proxy_from[0]))
        return refuse(s, e, "no PROXY header is expected, but said where it comes from");
    if (s->proxy != PROXY_OFF && s->at.udp) return refuse(s, e, "PROXY headers are for TCP only");
    if (s->proxy_inside && s->scheme != SCHEME_HTTPS) return refuse(s, e, "a PROXY header within TLS needs TLS of our own");
    return true;
}

/* Whoever can call it can end the server, so it is kept to this machine. */
static bool check_shutdown(const struct plan_socket *s, struct err *e) {
    if (!(s->services & SVC_SHUTDOWN)) return true;
    if (s->services != SVC_SHUTDOWN || s->scheme != SCHEME_HTTP || s->external_tls || s->restriction != RESTRICT_NONE || s->proxy)
        return refuse(s, e, "the shutdown port carries nothing else, no TLS and no restriction");
    return addr_is_loopback(&s->at) || refuse(s, e, "the shutdown port answers on a loopback address only");
}

/* One protocol a socket. UDP has no connections: nothing to count, no TLS (G16, G23). */
static bool check_protocol(const struct plan_socket *s, struct err *e) {
    uint32_t own = s->services & ~(uint32_t)SVC_HTTP;
    if (own && (s->services != own || (own & (own - 1))))
        return refuse(s, e, "service %s has a protocol of its own and needs a socket to itself", plan_service_name(own & -own));
    if ((s->services & SVC_SCRIPT) && !name_good(s->script)) return refuse(s, e, "service script without a script: name policies/NAME.lua");
    if (s->script[0] && !(s->services & SVC_SCRIPT)) return refuse(s, e, "script %s, but the service is another", s->script);
    if (!s->at.udp) return true;
    if (s->services != SVC_REMOTE_LOG) return refuse(s, e, "UDP carries the service remote-log only");
    if (s->scheme != SCHEME_HTTP || s->external_tls) return refuse(s, e, "TLS is for TCP only, and this socket is UDP");
    return !(s->max_connections | s->max_per_address | s->reserve) ||
           refuse(s, e, "limits of connections are for TCP only, and this socket is UDP");
}

static bool check_socket(const struct plan *p, const struct plan_socket *s, uint32_t have, struct err *e) {
    if (!name_good(s->name)) return refuse(s, e, "listener name \"%s\": letters, digits, _ - and . only", s->name);
    if (!check_address(s, e) || !check_missing(s, e) || !check_scheme(p, s, e) || !check_client(s, e) || !check_proxy(s, e)) return false;
    if (!s->services || (s->services & ~(uint32_t)ALL_SERVICES)) return refuse(s, e, "no service, or an unknown one");
    if (!check_shutdown(s, e) || !plan_check_tunnel(p, s, e) || !check_protocol(s, e)) return false;
    uint32_t missing = s->services & PUBLIC_SERVICES & ~have;
    if (missing) return refuse(s, e, "service %s is not among Components=%s", plan_service_name(missing & -missing), p->components);
    if ((s->services & SVC_TRANSFER) && !(have & SVC_TRACKER))
        return refuse(s, e, "event transfer needs the tracker, which is not installed here");
    if (s->restriction > RESTRICT_DENY) return refuse(s, e, "unknown restriction");
    if (s->restriction != RESTRICT_NONE && !name_good(s->list))
        return refuse(s, e, "a restriction needs an address list: set its List entry");
    if (s->list[0] && !name_good(s->list)) return refuse(s, e, "list name \"%s\": letters, digits, _ - and . only", s->list);
    if (s->backlog < 1 || s->backlog > 65535) return refuse(s, e, "backlog %" PRIu32 " is not between 1 and 65535", s->backlog);
    return true;
}

static int by_place(const void *a, const void *b) {
    const struct plan_socket *x = *(const struct plan_socket *const *)a, *y = *(const struct plan_socket *const *)b;
    int c = plan_by_place(&x->at, &y->at);
    return c ? c : strcmp(x->zone, y->zone);
}

/* ---- two sockets in one place ---- */

struct faults {
    void (*say)(void *ctx, const char *text);
    void *ctx;
    uint32_t n;
};

static void add_fault(struct faults *f, const struct err *e) {
    f->n++;
    f->say(f->ctx, e->text);
}

static bool same_port(const struct plan_socket *a, const struct plan_socket *b) {
    return a->at.port != 0 && a->at.family == b->at.family && a->at.udp == b->at.udp && a->at.port == b->at.port;
}

static bool same_address(const struct plan_socket *a, const struct plan_socket *b) {
    return memcmp(a->at.ip, b->at.ip, sizeof a->at.ip) == 0 && strcmp(a->zone, b->zone) == 0 &&
           (a->at.scope == b->at.scope || !a->at.scope || !b->at.scope);
}

static void say_twice(const struct plan_socket *a, const struct plan_socket *b, struct faults *f) {
    struct origin oa = plan_origin(a), ob = plan_origin(b);
    char for_a[128], for_b[128];
    struct err e;
    plan_services_text(a->services, for_a, sizeof for_a);
    plan_services_text(b->services, for_b, sizeof for_b);
    err_set(
        &e,
        "%s: the same address and port are used by %s: one port serves one listener (%s or %s): give one of them another port or address",
        ob.text, oa.text, for_b, for_a);
    add_fault(f, &e);
}

/* `more`: how many further sockets the wildcard is in the way of. */
static void say_wildcard(const struct plan_socket *wild, const struct plan_socket *single, uint32_t more, struct faults *f) {
    struct origin ow = plan_origin(wild), os = plan_origin(single);
    char others[48] = "";
    struct err e;
    if (more) snprintf(others, sizeof others, " (so it is with %" PRIu32 " more)", more);
    err_set(&e, "%s: all addresses on port %u are already taken by %s: name the addresses there, or use another port here%s", os.text,
            (unsigned)single->at.port, ow.text, others);
    add_fault(f, &e);
}

/* In order of place a port's sockets stand together with the wildcard first, and equal places are neighbours: one pass finds everything. */
static void find_conflicts(const struct plan_socket *const *s, uint32_t n, struct faults *f) {
    for (uint32_t i = 0, end; i < n; i = end) {
        uint32_t single = 0, first = 0;
        for (end = i + 1; end < n && same_port(s[i], s[end]); end++) {
            if (same_address(s[end - 1], s[end])) say_twice(s[end - 1], s[end], f);
            else if (addr_is_any(&s[i]->at) && single++ == 0) first = end;
        }
        if (single) say_wildcard(s[i], s[first], single - 1, f);
    }
}

static void check_conflicts(const struct plan *p, struct faults *f) {
    const struct plan_socket **s = calloc(p->nsockets, sizeof *s);
    struct err e;
    if (!s) {
        err_set(&e, "plan: out of memory");
        add_fault(f, &e);
        return;
    }
    for (uint32_t i = 0; i < p->nsockets; i++) s[i] = &p->socket[i];
    sort_runs(s, p->nsockets, sizeof *s, by_place);
    find_conflicts(s, p->nsockets, f);
    free(s);
}

bool plan_check_each(const struct plan *p, void (*say)(void *ctx, const char *text), void *ctx) {
    struct faults f = {.say = say, .ctx = ctx};
    uint32_t have;
    struct err e;
    bool whole = true;
    if (p->nsockets == 0) whole = err_set(&e, "plan: no socket at all: nothing would be served");
    else if (p->nsockets > PLAN_MAX_SOCKETS)
        whole = err_set(&e, "plan: %" PRIu32 " sockets, at most %u are allowed", p->nsockets, PLAN_MAX_SOCKETS);
    else whole = check_components(p, &have, &e) && check_settings(p, &e) && check_certs(p, &e) && plan_check_backends(p, &e);
    if (!whole) {
        add_fault(&f, &e);
        return false;
    }
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (!check_socket(p, &p->socket[i], have, &e)) add_fault(&f, &e);
    uint32_t shutdowns = 0;
    for (uint32_t i = 0; i < p->nsockets; i++) shutdowns += (p->socket[i].services & SVC_SHUTDOWN) != 0;
    if (shutdowns > PLAN_SHUTDOWNS) {
        err_set(&e, "plan: %" PRIu32 " shutdown ports, at most %u are allowed", shutdowns, PLAN_SHUTDOWNS);
        add_fault(&f, &e);
    }
    if (f.n == 0) check_conflicts(p, &f);
    if (f.n == 0 && !plan_check_loops(p, NULL, NULL, &e)) add_fault(&f, &e);
    return f.n == 0;
}

static void keep_first(void *ctx, const char *text) {
    struct err *e = ctx;
    if (!e->text[0]) snprintf(e->text, sizeof e->text, "%s", text);
}

bool plan_check(const struct plan *p, struct err *e) {
    struct err first = {""};
    if (plan_check_each(p, keep_first, &first)) return true;
    if (e) *e = first;
    return false;
}
