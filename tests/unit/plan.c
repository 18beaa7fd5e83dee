/* The plan: written and read back whole, hostile texts refused, everything plan_check promises, plan_match, and the two prints. */
#include "plan/plan.h"
#include "plan/plan_check.h"
#include "unit/tap.h"
#include <arpa/inet.h>
#include <stdlib.h>

static struct plan_socket make_socket(const char *name, const char *ip, uint16_t port) {
    struct plan_socket s = PLAN_SOCKET_BLANK;
    s.services = SVC_TRACKER;
    s.backlog = 511;
    s.at.family = strchr(ip, ':') ? 6 : 4;
    s.at.port = port;
    s.v6only = s.at.family == 6;
    if (inet_pton(s.at.family == 6 ? AF_INET6 : AF_INET, ip, s.at.ip) != 1) abort();
    s.name = name;
    s.because.file = "conf/tomcat.ini";
    s.because.line = port;
    s.because.entry = "BindAddress";
    s.because.row = "R7";
    s.because.policy = "policies/bind.lua:41";
    return s;
}

static struct plan make_plan(const struct plan_socket *s, uint32_t n) {
    struct plan p = {.nsockets = n, .ncerts = 1};
    p.socket = calloc(n ? n : 1, sizeof *p.socket);
    p.cert = calloc(1, sizeof *p.cert);
    if (!p.socket || !p.cert) abort();
    p.cert->because = (struct plan_because)PLAN_BECAUSE_BLANK;
    if (n && s) memcpy(p.socket, s, n * sizeof *s);
    snprintf(p.components, sizeof p.components, "tracker,ui,hub");
    snprintf(p.cert->name, sizeof p.cert->name, "default");
    snprintf(p.cert->chain, sizeof p.cert->chain, "certs/default.chain");
    snprintf(p.cert->password, sizeof p.cert->password, " 100%% \"geheim\"\t\xc3\xa4 ");
    snprintf(p.cert->names, sizeof p.cert->names, "a.example,b.example");
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) *plan_setting(&p.set, d->field) = d->dflt;
    return p;
}

static void add_backend(struct plan *p, const char *set, const char *sni, const char *to) {
    p->backend = realloc(p->backend, (p->nbackends + 1) * sizeof *p->backend);
    if (!p->backend) abort();
    struct plan_backend *b = &p->backend[p->nbackends++];
    memset(b, 0, sizeof *b);
    snprintf(b->set, sizeof b->set, "%s", set);
    snprintf(b->sni, sizeof b->sni, "%s", sni);
    snprintf(b->to, sizeof b->to, "%s", to);
    b->because = (struct plan_because)PLAN_BECAUSE_BLANK;
    b->because.file = "conf/listeners.ini";
    b->because.line = p->nbackends;
}

static bool same_plan(const struct plan *a, const struct plan *b) {
    bool same = a->nsockets == b->nsockets && a->ncerts == b->ncerts && !strcmp(a->components, b->components) &&
                !memcmp(&a->set, &b->set, sizeof a->set);
    for (uint32_t i = 0; same && i < a->nsockets; i++) same = plan_socket_equal(&a->socket[i], &b->socket[i]);
    for (uint32_t i = 0; same && i < a->ncerts; i++) same = plan_cert_equal(&a->cert[i], &b->cert[i]);
    same = same && a->nbackends == b->nbackends;
    for (uint32_t i = 0; same && i < a->nbackends; i++) same = plan_backend_equal(&a->backend[i], &b->backend[i]);
    return same;
}

static void test_round_trip(void) {
    struct plan_socket s[4] = {make_socket("http", "0.0.0.0", 80), make_socket("secure", "::1", 8443), make_socket("ll", "fe80::1", 0),
                               make_socket("later", "fe80::2", 80)};
    s[3].when_missing = MISSING_WAIT;
    s[3].waiting = true;
    snprintf(s[3].zone, sizeof s[3].zone, "wan0");
    s[0].when_missing = MISSING_FREEBIND;
    s[1].scheme = SCHEME_HTTPS;
    s[1].services = SVC_UI | SVC_HUB;
    s[1].certificate = "default";
    s[1].restriction = RESTRICT_DENY;
    s[1].list = "lan";
    s[1].max_connections = UINT32_MAX;
    s[1].max_per_address = 3;
    s[1].reserve = 7;
    for (unsigned i = 0; i < PLAN_RATES; i++) s[1].rate[i] = (struct plan_rate){i + 1, 1000 * (i + 1)};
    for (unsigned i = 0; i < PLAN_LIMITS; i++) s[1].limit_line[i] = i ? 10 + i : PLAN_LINE_SET;
    s[1].bits4 = 24, s[1].bits6 = 56, s[1].net4 = 16, s[1].net6 = 32;
    s[1].give_way = true;
    s[1].limit_file = "conf/listeners.ini";
    s[2].at.scope = 4;
    s[2].external_tls = true;
    s[2].proxy = PROXY_ONLY_V2;
    s[2].proxy_from = "devices";
    s[2].because.file = "conf/odd\nname %41.ini";
    s[0].services = SVC_TUNNEL;
    s[0].proxy_out = PROXY_OUT_V2;
    s[0].backends = "smtp";
    struct plan p = make_plan(s, 4), q;
    add_backend(&p, "smtp", "", "127.0.0.1:25,[::1]:26,unix:/run/a b");
    add_backend(&p, "smtp", "*.example.org", "192.0.2.1:25");
    struct buf text = {0}, again = {0};
    struct err e = {""};
    ok(plan_encode(&p, &text), "a plan encodes");
    ok(plan_decode(text.p, text.n, &q, &e), "and decodes: %.200s", e.text);
    ok(same_plan(&p, &q), "every field of plan, settings, certificate and sockets came back");
    ok(plan_encode(&q, &again) && again.n == text.n && !memcmp(again.p, text.p, text.n), "encoding again gives the same bytes");
    plan_finish(&p);
    ok(!p.socket && !p.cert && p.nsockets == 0, "plan_finish leaves an empty plan");
    plan_finish(&p);
    plan_finish(&q);
    buf_free(&text);
    buf_free(&again);
}

static bool refused(const char *text, size_t n) {
    struct plan q;
    struct err e = {""};
    char *exact = malloc(n ? n : 1); /* exact size, so that ASan sees one byte too far */
    if (!exact) abort();
    memcpy(exact, text, n);
    bool good = plan_decode(exact, n, &q, &e);
    if (good) plan_finish(&q);
    free(exact);
    return !good && e.text[0] && !q.socket && !q.cert;
}

/* Replace the first `from` by `to` and say whether that is refused. */
static bool refused_with(const struct buf *text, const char *from, const char *to) {
    struct buf b = {0};
    const char *hit = memmem(text->p, text->n, from, strlen(from));
    if (!hit) return false;
    size_t head = (size_t)(hit - text->p);
    if (!buf_add(&b, text->p, head) || !buf_str(&b, to) || !buf_add(&b, hit + strlen(from), text->n - head - strlen(from))) abort();
    bool r = refused(b.p, b.n);
    buf_free(&b);
    return r;
}

static void test_lines(const struct buf *text) {
    unsigned lines = 0, dropped = 0, doubled = 0;
    for (const char *p = text->p, *end = text->p + text->n; p < end; lines++) {
        const char *next = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1;
        struct buf b = {0};
        if (!buf_add(&b, text->p, (size_t)(p - text->p)) || !buf_add(&b, next, (size_t)(end - next))) abort();
        dropped += refused(b.p, b.n);
        buf_clear(&b);
        if (!buf_add(&b, text->p, (size_t)(next - text->p)) || !buf_add(&b, p, (size_t)(end - p))) abort();
        doubled += refused(b.p, b.n);
        buf_free(&b);
        p = next;
    }
    ok(dropped == lines && lines > 40, "a plan with any one of its %u lines missing is refused (%u)", lines, dropped);
    ok(doubled == lines, "a plan with any one line repeated is refused (%u)", doubled);
}

static void test_hostile(void) {
    struct plan_socket s = make_socket("http", "127.0.0.1", 80);
    struct plan p = make_plan(&s, 1);
    struct buf text = {0};
    if (!plan_encode(&p, &text)) abort();
    unsigned cut = 0;
    for (size_t n = 0; n < text.n; n++) cut += refused(text.p, n);
    ok(cut == text.n, "every proper prefix is refused");
    test_lines(&text);
    ok(refused_with(&text, "[end]\n", "[end]\nmore\n"), "text behind the end is refused");
    ok(refused_with(&text, "v6only 0", "v6only 2"), "a flag that is neither 0 nor 1");
    ok(refused_with(&text, "scheme http", "scheme gopher"), "an unknown scheme");
    ok(refused_with(&text, "port 80", "port 65536"), "a port beyond 65535");
    ok(refused_with(&text, "port 80", "port 080"), "a number with a leading zero");
    ok(refused_with(&text, "port 80", "port -1"), "a negative port");
    ok(refused_with(&text, "port 80", "port 99999999999999999999999"), "a number too large for any integer");
    ok(refused_with(&text, "address 127.0.0.1", "address 127.1"), "a short address");
    ok(refused_with(&text, "name http", "name %00"), "an escaped NUL");
    ok(refused_with(&text, "name http", "name %4"), "half an escape");
    ok(refused_with(&text, "name http", "name \t"), "a raw control character");
    ok(refused_with(&text, "workers 0", "workers 257"), "a setting beyond its range");
    ok(refused_with(&text, "workers 0", "wokers 0"), "an unknown setting");
    char big[PLAN_NAME + 16] = "name ";
    memset(big + 5, 'x', PLAN_NAME);
    ok(refused_with(&text, "name http", big), "a text one byte too long for its field");
    unsigned odd = 0;
    for (size_t i = 0; i < text.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct plan q;
            struct err e;
            text.p[i] = (char)(text.p[i] ^ (1 << bit));
            if (plan_decode(text.p, text.n, &q, &e)) {
                odd += q.nsockets != 1;
                plan_finish(&q);
            }
            text.p[i] = (char)(text.p[i] ^ (1 << bit));
        }
    ok(odd == 0, "no single flipped bit does harm or changes the number of sockets");
    plan_finish(&p);
    buf_free(&text);
}

/* Sockets that are alike take a line for what differs, and no less strictness. */
static void test_alike(void) {
    struct plan_socket s[3] = {make_socket("http", "127.0.0.1", 80), make_socket("http", "127.0.0.2", 80), make_socket("http", "::1", 80)};
    struct plan p = make_plan(s, 3), q;
    struct buf text = {0};
    struct err e = {""};
    if (!plan_encode(&p, &text) || !buf_add(&text, "", 1)) abort();
    text.n--;
    ok(strstr(text.p, "[next]\naddress 127.0.0.2\n[next]\naddress ::1\nv6only 1\n[end]\n") != NULL,
       "a socket is what differs from the one before");
    ok(plan_decode(text.p, text.n, &q, &e) && same_plan(&p, &q), "IPv4, then IPv6, come back %.200s", e.text);
    plan_finish(&q);
    ok(refused_with(&text, "[socket]", "[next]"), "the first socket is whole");
    ok(refused_with(&text, "[next]\n", "[next]\ncolour red\n"), "an unknown key of a later socket");
    ok(refused_with(&text, "[next]\naddress 127.0.0.2\n", "[next]\naddress 127.0.0.2\naddress 127.0.0.3\n"),
       "a repeated key of a later socket");
    ok(refused_with(&text, "[next]\naddress 127.0.0.2\n", "[next]\nport 81\naddress 127.0.0.2\n"), "keys of a later socket out of order");
    ok(refused_with(&text, "[next]\naddress ::1", "[socket]\naddress ::1"), "a whole socket needs every key");
    plan_finish(&p);
    buf_free(&text);
}

static bool check_says(struct plan_socket *s, uint32_t n, const char *part) {
    struct plan p = make_plan(s, n);
    struct err e = {""};
    bool good = plan_check(&p, &e);
    plan_finish(&p);
    bool hit = part ? !good && strstr(e.text, part) : good;
    if (!hit) printf("# said: %s\n", e.text);
    return hit;
}

/* s[0] is a tunnel, n sockets, backends in threes: set, sni, to; NULL ends. */
static bool tunnel_says(struct plan_socket *s, uint32_t n, const char *const *backend, const char *part) {
    struct plan p = make_plan(s, n);
    struct err e = {""};
    for (; backend && *backend; backend += 3) add_backend(&p, backend[0], backend[1], backend[2]);
    bool good = plan_check(&p, &e);
    plan_finish(&p);
    bool hit = part ? !good && strstr(e.text, part) : good;
    if (!hit) printf("# said: %s\n", e.text);
    return hit;
}

#define BACKENDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct plan_socket make_tunnel(const char *name, const char *ip, uint16_t port) {
    struct plan_socket s = make_socket(name, ip, port);
    s.services = SVC_TUNNEL;
    s.backends = name;
    return s;
}

static void test_tunnels(void) {
    struct plan_socket s[3] = {make_tunnel("a", "127.0.0.1", 25), make_tunnel("b", "127.0.0.2", 25), make_tunnel("c", "0.0.0.0", 26)};
    ok(tunnel_says(s, 1, BACKENDS("a", "", "127.0.0.1:2525"), NULL), "Q13: a tunnel with a backend");
    ok(tunnel_says(s, 1, NULL, "add a.Backend="), "without one it is refused, and what to add is said");
    ok(tunnel_says(s, 1, BACKENDS("b", "", "127.0.0.1:2525"), "needs a backend"), "a set nobody has filled");
    static const char *const bad[] = {"",
                                      "127.0.0.1",
                                      "127.0.0.1:0",
                                      "0.0.0.0:25",
                                      "[::]:25",
                                      "mail:25",
                                      "127.0.0.1:25,",
                                      "::1:25",
                                      "unix:run",
                                      "127.0.0.1:25,127.0.0.1:25",
                                      "unix:/a,unix:/a",
                                      "1.1.1.1:1,1.1.1.1:2,1.1.1.1:3,1.1.1.1:4,1.1.1.1:5,1.1.1.1:6,1.1.1.1:7,1.1.1.1:8,1.1.1.1:9"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(tunnel_says(s, 1, BACKENDS("a", "", bad[i]), "backend of a"), "no backend: \"%.40s\"", bad[i]);
    ok(tunnel_says(s, 1, BACKENDS("a", "", "1.1.1.1:1", "a", "", "1.1.1.1:2"), "is there twice"), "two for everybody");
    ok(tunnel_says(s, 1, BACKENDS("a", "", "1.1.1.1:1", "a", "x.org", "1.1.1.1:2"), "tls-tunnel only"), "a tunnel does not see names");
    s[0].scheme = SCHEME_HTTPS;
    s[0].certificate = "default";
    ok(tunnel_says(s, 1, BACKENDS("a", "", "1.1.1.1:1"), "does not end TLS"), "nor ends TLS");
    s[0].services = SVC_TLS_TUNNEL;
    ok(tunnel_says(s, 1, BACKENDS("a", "x.org", "1.1.1.1:1", "a", "*.x.org", "unix:/run/x"), NULL),
       "a TLS tunnel does both, without one for the others too");
    static const char *const names[] = {"X.org", "*", "*.", "x..org", ".x", "x.", "a b", "*x.org"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        ok(tunnel_says(s, 1, BACKENDS("a", names[i], "1.1.1.1:1"), "host name"), "no name: \"%s\"", names[i]);
    s[0] = make_tunnel("a", "127.0.0.1", 25);
    s[0].services |= SVC_HUB;
    ok(tunnel_says(s, 1, BACKENDS("a", "", "1.1.1.1:1"), "alone on its socket"), "a tunnel carries nothing else");
    s[0] = make_socket("a", "127.0.0.1", 25);
    s[0].proxy_out = PROXY_OUT_V1;
    ok(tunnel_says(s, 1, NULL, "of a tunnel only"), "and only a tunnel sends a PROXY header");
    s[0] = make_tunnel("a", "127.0.0.1", 25);
    ok(tunnel_says(s, 1, BACKENDS("a", "", "1.1.1.1:1,127.0.0.1:25"), "go round for ever"), "a tunnel to itself");
    ok(tunnel_says(s, 2, BACKENDS("a", "", "127.0.0.2:25", "b", "", "127.0.0.3:25"), NULL), "one tunnel to another is fine");
    ok(tunnel_says(s, 2, BACKENDS("a", "", "127.0.0.2:25", "b", "", "127.0.0.1:25"), "go round for ever"), "but not back");
    ok(tunnel_says(s, 3, BACKENDS("a", "", "127.0.0.9:26", "b", "", "127.0.0.1:25", "c", "", "127.0.0.2:25"), "go round for ever"),
       "nor by way of a wildcard");
    ok(tunnel_says(s, 3, BACKENDS("a", "", "192.0.2.9:26", "b", "", "127.0.0.1:25", "c", "", "127.0.0.2:25"), NULL),
       "an address of another machine is no loop");
    struct plan p = {0};
    char text[PLAN_TO];
    add_backend(&p, "a", "", "1.1.1.1:1");
    add_backend(&p, "a", "x.org", "1.1.1.1:2");
    add_backend(&p, "a", "*.x.org", "1.1.1.1:3");
    ok(plan_backend_for(&p, "a", "x.org") == &p.backend[1] && plan_backend_for(&p, "a", "y.x.org") == &p.backend[2] &&
           plan_backend_for(&p, "a", "z.y.x.org") == p.backend && plan_backend_for(&p, "a", "") == p.backend &&
           !plan_backend_for(&p, "b", "x.org"),
       "by name, by its parent, else the one for all others");
    plan_backends_text(&p, "a", text, sizeof text);
    ok(strcmp(text, "1.1.1.1:1 (x.org: 1.1.1.1:2, and 1 more name)") == 0, "for people: %s", text);
    plan_finish(&p);
}

static void test_conflicts(void) {
    struct plan_socket p[2] = {make_socket("a", "0.0.0.0", 80), make_socket("b", "127.0.0.1", 80)};
    ok(check_says(p, 2, "all addresses on port 80 are already taken"), "G4: wildcard then specific of one port is refused");
    struct plan_socket swap[2] = {p[1], p[0]};
    ok(check_says(swap, 2, "conf/tomcat.ini:80: BindAddress"), "G4: specific then wildcard too, naming file, line and entry");
    p[1] = make_socket("b", "::1", 80);
    ok(check_says(p, 2, NULL), "G4: IPv4 wildcard beside a specific IPv6 address is allowed");
    p[0] = make_socket("a", "127.0.0.2", 80), p[1] = make_socket("b", "127.0.0.3", 80);
    ok(check_says(p, 2, NULL), "G4: two specific addresses on one port are allowed");
    p[1] = make_socket("b", "127.0.0.2", 80);
    ok(check_says(p, 2, "the same address and port"), "G4: the same address and port twice is refused");
    p[1].at.port = p[0].at.port = 0;
    ok(check_says(p, 2, NULL), "port 0 means a free port each, so no conflict");
    p[0] = make_socket("a", "fe80::1", 80), p[1] = p[0];
    p[0].at.scope = 2, p[1].at.scope = 3;
    ok(check_says(p, 2, NULL), "one link-local address on two interfaces is two addresses");
    p[1].at.scope = 2;
    ok(check_says(p, 2, "the same address and port"), "and on one interface it is one");
    p[0] = make_socket("a", "0.0.0.0", 80), p[1] = make_socket("b", "::", 80);
    ok(check_says(p, 2, NULL), "M1: both wildcards together are allowed");
    struct plan_socket many[40];
    for (int i = 0; i < 40; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "127.0.1.%d", i * 7 % 40);
        many[i] = make_socket("m", ip, 80);
    }
    ok(check_says(many, 40, NULL), "forty addresses in any order are allowed");
    many[33] = make_socket("w", "0.0.0.0", 80);
    ok(check_says(many, 40, "all addresses on port 80"), "and a wildcard anywhere among them is found");
}

static void test_check(void) {
    struct plan_socket good = make_socket("http", "127.0.0.1", 80), s = good;
    ok(check_says(&s, 1, NULL), "a good plan passes");
    ok(check_says(&s, 0, "no socket at all"), "an empty plan is refused");
    s.scheme = SCHEME_HTTPS;
    ok(check_says(&s, 1, "HTTPS without certificate"), "HTTPS needs a certificate");
    s.certificate = "other";
    ok(check_says(&s, 1, "other.Certificate"), "and a known one: the entry to add is named");
    s.certificate = "default";
    ok(check_says(&s, 1, NULL), "then it passes");
    s.external_tls = true;
    ok(check_says(&s, 1, "exclude each other"), "own TLS and TLS in front exclude each other");
    s.external_tls = false, s.proxy = PROXY_EITHER;
    ok(check_says(&s, 1, "set its ProxyFrom entry"), "a PROXY header is believed from a list only");
    s.proxy_from = "devices", s.proxy_inside = true;
    ok(check_says(&s, 1, NULL), "within TLS of ours");
    s.scheme = SCHEME_HTTP, s.certificate = "";
    ok(check_says(&s, 1, "needs TLS of our own"), "but not within none");
    s.proxy_inside = false, s.proxy = PROXY_OFF;
    ok(check_says(&s, 1, "no PROXY header is expected"), "a list of devices without header");
    s = good, s.services = 0;
    ok(check_says(&s, 1, "no service"), "a socket without service");
    s.services = 1u << 31;
    ok(check_says(&s, 1, "no service, or an unknown one"), "a service bit nobody knows");
    s = good, s.services = SVC_SHUTDOWN;
    ok(check_says(&s, 1, addr_is_loopback(&s.at) ? NULL : "on a loopback address only"), "M64: the shutdown port is on loopback only");
    s.services |= SVC_OPS;
    ok(check_says(&s, 1, "carries nothing else"), "M64: and carries nothing else");
    s = good, s.backlog = 0;
    ok(check_says(&s, 1, "backlog"), "backlog 0");
    s = good, s.restriction = RESTRICT_GRANT;
    ok(check_says(&s, 1, "needs an address list"), "a restriction without list");
    s = good, s.name = " tp";
    ok(check_says(&s, 1, "listener name"), "a listener name with a blank");
    s = make_socket("x", "::ffff:127.0.0.1", 80);
    ok(check_says(&s, 1, "IPv4-mapped"), "an IPv4-mapped address");
    s = make_socket("x", "::1", 80), s.v6only = false;
    ok(check_says(&s, 1, "v6only"), "M1: an IPv6 socket that would also take IPv4");
    s = make_socket("x", "fe80::1", 80);
    ok(check_says(&s, 1, "needs its interface"), "M20: a link-local address without scope");
    s = make_socket("x", "::1", 80), s.at.scope = 1;
    ok(check_says(&s, 1, "only a link-local"), "a scope elsewhere");
    s = make_socket("x", "239.1.2.3", 80);
    ok(check_says(&s, 1, "multicast"), "a multicast address");
    struct plan p = make_plan(&good, 1);
    struct err e = {""};
    snprintf(p.components, sizeof p.components, "ui,hub");
    ok(!plan_check(&p, &e) && strstr(e.text, "service tracker is not among Components"), "S6: a service of a component not installed here");
    snprintf(p.components, sizeof p.components, "tracker,tracker");
    ok(!plan_check(&p, &e) && strstr(e.text, "twice"), "a component twice");
    snprintf(p.components, sizeof p.components, "tracker");
    p.set.max_line = 1;
    ok(!plan_check(&p, &e) && strstr(e.text, "MaxRequestLine=1"), "a setting out of its range");
    p.set.max_line = 8192;
    snprintf(p.cert->chain, sizeof p.cert->chain, "certs/../tomcat.ini");
    ok(!plan_check(&p, &e) && strstr(e.text, "below certs/"), "a certificate path that leaves certs/");
    plan_finish(&p);
}

/* Q7 Q18: an address that may come and go. */
static void test_waiting(void) {
    struct plan_socket o[3] = {make_socket("a", "192.0.2.7", 80), make_socket("b", "fe80::1", 80), make_socket("c", "fe80::1", 80)}, n[3];
    for (int i = 0; i < 3; i++) {
        o[i].when_missing = MISSING_WAIT;
        o[i].waiting = true;
        if (i) snprintf(o[i].zone, sizeof o[i].zone, "eth%d", i);
        n[i] = o[i];
    }
    struct plan old = make_plan(o, 3), now;
    struct err e = {""};
    ok(plan_check(&old, &e), "Q7 M20: the same link-local address may wait for two interfaces: %.200s", e.text);
    n[0].waiting = n[1].waiting = false;
    n[1].zone[0] = '\0';
    n[1].at.scope = 7;
    now = make_plan(n, 3);
    ok(plan_check(&now, &e), "one of them has come: %.200s", e.text);
    int32_t keep[3];
    bool used[3];
    ok(plan_match(&old, NULL, &now, keep, used), "a plan that waits is compared");
    ok(keep[0] == -1 && keep[1] == -1 && keep[2] == 2, "waiting and bound are no match, waiting and waiting are");
    ok(plan_match(&now, NULL, &old, keep, used), "the other way round");
    ok(keep[0] == -1 && keep[1] == -1 && keep[2] == 2 && !used[0] && !used[1], "Q18: nor the other way round: what is bound is retired");
    char text[PLAN_STATE], at[ADDR_TEXT];
    plan_state_text(&o[0], true, text);
    plan_at_text(&o[0], 0, at);
    ok(!strcmp(text, "waiting for 192.0.2.7") && !strcmp(at, "192.0.2.7:80"), "%s", text);
    plan_state_text(&o[1], true, text);
    plan_at_text(&o[1], 0, at);
    ok(!strcmp(text, "waiting for fe80::1%eth1") && !strcmp(at, "[fe80::1%eth1]:80"), "%s, %s", text, at);
    plan_state_text(&n[0], true, text);
    ok(!strcmp(text, "bound"), "else it is bound");
    plan_finish(&old);
    plan_finish(&now);
    struct plan_socket s = make_socket("x", "0.0.0.0", 80);
    s.when_missing = MISSING_WAIT;
    s.waiting = true;
    ok(check_says(&s, 1, "never missing"), "all addresses do not wait");
    s = o[0];
    s.when_missing = MISSING_FREEBIND;
    ok(check_says(&s, 1, "does not wait"), "freebind does not wait");
    s = o[1];
    s.waiting = false;
    ok(check_says(&s, 1, "by name"), "a zone that does not exist can only wait");
    struct plan_socket both[2] = {o[1], o[1]};
    ok(check_says(both, 2, "the same address and port"), "two of one name are a conflict all the same");
}

/* G1 G4 G16 G23: UDP sockets in the plan. */
static void test_udp(void) {
    struct plan_socket s[3] = {make_socket("logs", "127.0.0.1", 5001), make_socket("logs", "127.0.0.1", 5001),
                               make_socket("w", "0.0.0.0", 5001)};
    for (int i = 0; i < 3; i++) s[i].services = SVC_REMOTE_LOG;
    s[1].at.udp = true;
    ok(check_says(s, 2, NULL), "G4: TCP N and UDP N together are fine");
    ok(!strcmp(plan_scheme_text(&s[0]), "tcp") && !strcmp(plan_scheme_text(&s[1]), "udp"), "and are told apart in what is shown");
    ok(check_says(s + 1, 2, NULL), "G4: so are a specific UDP socket and the TCP wildcard");
    s[2].at.udp = true;
    ok(check_says(s + 1, 2, "all addresses on port 5001"), "G4: all addresses of UDP N exclude any other on UDP N");
    s[2] = s[1];
    ok(check_says(s + 1, 2, "the same address and port"), "G4: and so does the same one");
    struct plan old = make_plan(s, 1), now = make_plan(s + 1, 1);
    int32_t keep[1];
    bool used[1];
    ok(plan_match(&old, NULL, &now, keep, used) && keep[0] == -1, "a TCP socket is not kept as a UDP one");
    struct plan both = make_plan(s, 2), again;
    struct buf text = {0};
    struct err e = {""};
    ok(plan_encode(&both, &text) && plan_decode(text.p, text.n, &again, &e) && same_plan(&both, &again),
       "both come back from the text: %.200s", e.text);
    plan_finish(&old);
    plan_finish(&now);
    plan_finish(&both);
    plan_finish(&again);
    buf_free(&text);
    s[2].scheme = SCHEME_HTTPS;
    s[2].certificate = "default";
    ok(check_says(s + 2, 1, "TLS is for TCP only"), "G16: there is no TLS on UDP");
    s[2] = s[1], s[2].max_per_address = 1;
    ok(check_says(s + 2, 1, "limits of connections are for TCP only"), "G23: and no limit of connections");
    s[2] = s[1], s[2].services = SVC_TRACKER;
    ok(check_says(s + 2, 1, "UDP carries the service remote-log only"), "a tracker over UDP");
    s[2] = s[0], s[2].services |= SVC_TRACKER;
    ok(check_says(s + 2, 1, "needs a socket to itself"), "two protocols on one socket");
    s[2] = s[0], s[2].services = SVC_SCRIPT;
    ok(check_says(s + 2, 1, "name policies/NAME.lua"), "a script without its name");
    s[2].script = "finger";
    ok(check_says(s + 2, 1, NULL), "with it, it passes");
    s[2].services = SVC_TRACKER;
    ok(check_says(s + 2, 1, "the service is another"), "a script where none runs");
}

struct heard {
    unsigned n;
    char all[4096];
};

static void hear(void *ctx, const char *text) {
    struct heard *h = ctx;
    h->n++;
    strncat(h->all, text, sizeof h->all - strlen(h->all) - 2);
    strcat(h->all, "\n");
}

static void test_all_conflicts(void) { /* Q2 Q6 */
    struct plan_socket s[8] = {make_socket("b", "127.0.0.1", 80), make_socket("all", "0.0.0.0", 80), make_socket("c", "127.0.0.2", 80),
                               make_socket("d", "127.0.0.3", 80), make_socket("e", "127.0.0.9", 81), make_socket("f", "127.0.0.9", 81),
                               make_socket("six", "::1", 80),     make_socket("six", "::1", 8081)};
    s[5].services = SVC_HUB;
    struct plan p = make_plan(s, 8);
    struct heard h = {0};
    ok(!plan_check_each(&p, hear, &h) && h.n == 2, "one run finds every conflict (%u)", h.n);
    ok(strstr(h.all,
              "listener b on 127.0.0.1:80: all addresses on port 80 are already taken by conf/tomcat.ini:80: BindAddress: listener all on "
              "0.0.0.0:80: name the addresses there, or use another port here (so it is with 2 more)"),
       "a wildcard is told once, with its first victim and the number of the others");
    ok(strstr(
           h.all,
           "listener f on 127.0.0.9:81: the same address and port are used by conf/tomcat.ini:81: BindAddress: listener e on 127.0.0.9:81: "
           "one port serves one listener (hub or tracker)"),
       "two services on one address and port are both named");
    p.socket[0].backlog = p.socket[2].backlog = 0;
    memset(&h, 0, sizeof h);
    ok(!plan_check_each(&p, hear, &h) && h.n == 2 && !strstr(h.all, "taken"), "faults of sockets come first, all of them");
    plan_finish(&p);
}

static void test_same(void) {
    struct plan_socket o[2] = {make_socket("a", "192.0.2.7", 80), make_socket("b", "192.0.2.8", 80)}, n[2] = {o[1], o[0]};
    struct plan a = make_plan(o, 2), b = make_plan(n, 2);
    ok(plan_same(&a, &b), "the same sockets in another order are no news");
    a.socket[0].away = true;
    ok(plan_same(&a, &b) && plan_same(&b, &a), "nor that an address is away: no plan says that");
    b.socket[0].because.line++;
    ok(!plan_same(&a, &b), "another line that is the reason is");
    b.socket[0].because.line--;
    b.set.idle_ms++;
    ok(!plan_same(&a, &b), "so is a setting");
    b.set.idle_ms--;
    b.cert->names[0] = 'x';
    ok(!plan_same(&a, &b), "and a certificate");
    plan_finish(&b);
    b = make_plan(n, 1);
    ok(!plan_same(&a, &b) && !plan_same(&b, &a), "and a socket more or less");
    b.socket[0].waiting = true;
    plan_finish(&a);
    a = make_plan(n, 1);
    ok(!plan_same(&a, &b), "and one that waits");
    plan_finish(&a);
    plan_finish(&b);
}

static void test_match(void) {
    struct plan_socket o[3] = {make_socket("http", "0.0.0.0", 80), make_socket("b", "127.0.0.1", 81), make_socket("c", "127.0.0.1", 0)};
    struct plan_socket n[4] = {make_socket("new-name", "127.0.0.1", 81), make_socket("d", "::", 80), make_socket("c", "127.0.0.1", 0),
                               make_socket("c2", "127.0.0.1", 0)};
    struct plan old = make_plan(o, 3), now = make_plan(n, 4), none = make_plan(o, 0);
    int32_t keep[4];
    bool used[3];
    ok(plan_match(&old, NULL, &now, keep, used), "two plans are compared");
    ok(keep[0] == 1, "same address and port is kept, whatever its name");
    ok(keep[1] == -1, "another family is opened anew");
    ok(keep[2] == 2 && keep[3] == -1, "of two port-0 sockets only one takes the old one over");
    ok(!used[0] && used[1] && used[2], "what nobody takes over is retired");
    ok(plan_match(&none, NULL, &now, keep, used), "an empty one too");
    ok(keep[0] == -1 && keep[3] == -1, "against an empty plan everything is new");
    ok(plan_match(&old, NULL, &old, keep, used), "one with itself");
    ok(keep[0] == 0 && keep[1] == 1 && keep[2] == 2 && used[0] && used[1] && used[2], "an unchanged plan keeps everything");
    const uint16_t bound[3] = {80, 81, 40001};
    now.socket[3].at.port = 40001;
    now.socket[2] = make_socket("e", "127.0.0.1", 0);
    ok(plan_match(&old, bound, &now, keep, used) && keep[3] == 2 && keep[2] == -1 && keep[0] == 1,
       "a plan that names the port which the kernel chose means the socket that is there");
    ok(plan_match(&old, NULL, &now, keep, used) && keep[3] == -1 && keep[2] == -1, "a port-0 socket of another listener is another socket");
    plan_finish(&old);
    plan_finish(&now);
    plan_finish(&none);
}

/* 16,384 sockets against the same in reverse: comparing every pair would be 268 million comparisons. */
static void test_match_many(void) {
    uint32_t n = PLAN_MAX_SOCKETS, good = 0;
    struct plan old = make_plan(NULL, n), now = make_plan(NULL, n); /* make_plan copies nothing from NULL: filled here */
    int32_t *keep = calloc(n, sizeof *keep);
    bool *used = calloc(n, sizeof *used);
    if (!keep || !used) abort();
    for (uint32_t i = 0; i < n; i++) {
        struct plan_socket s = make_socket("many", "10.0.0.0", (uint16_t)(1 + i % 4));
        s.at.ip[2] = (uint8_t)(i / 4 / 256);
        s.at.ip[3] = (uint8_t)(i / 4 % 256);
        old.socket[i] = now.socket[n - 1 - i] = s;
    }
    struct err e = {""};
    ok(plan_check(&old, &e), "the largest plan is checked: %s", e.text);
    ok(plan_match(&old, NULL, &now, keep, used), "and matched");
    for (uint32_t i = 0; i < n; i++) good += keep[i] == (int32_t)(n - 1 - i) && used[i];
    ok(good == n, "every socket found itself (%u)", good);
    free(keep);
    free(used);
    plan_finish(&old);
    plan_finish(&now);
}

static void test_print(void) {
    struct plan_socket s[2] = {make_socket("http", "127.0.0.1", 0), make_socket("secure", "::1", 8443)};
    s[1].scheme = SCHEME_HTTPS;
    s[1].certificate = "default";
    s[1].because.file = "conf/a\"b.ini";
    struct plan p = make_plan(s, 2);
    uint16_t actual[2] = {40123, 0};
    struct buf b = {0};
    ok(plan_print(&p, &(struct plan_view){.port = actual}, &b) && buf_add(&b, "", 1), "the table prints");
    ok(strstr(b.p, "127.0.0.1:40123") && strstr(b.p, "[::1]:8443"), "with the port really bound where it is known");
    ok(strstr(b.p, "conf/tomcat.ini BindAddress (policies/bind.lua:41)") && strstr(b.p, " R7 "), "and file, entry, row and policy line");
    buf_clear(&b);
    ok(plan_json(&p, &(struct plan_view){.port = actual}, &b) && buf_add(&b, "", 1), "the JSON prints");
    ok(strstr(b.p, "\"port\":40123") && strstr(b.p, "\"services\":[\"tracker\"]") &&
           strstr(b.p, "\"file\":\"conf/a\\\"b.ini\",\"line\":8443"),
       "with port, services and because");
    ok(!strstr(b.p, "geheim"), "and never a password");
    buf_free(&b);
    plan_finish(&p);
    char t[64];
    plan_services_text(SVC_TRACKER | SVC_TRANSFER, t, sizeof t);
    ok(!strcmp(t, "tracker,transfer"), "services as text");
    plan_services_text(SVC_TRACKER | SVC_TRANSFER, t, 10);
    ok(!strcmp(t, "tracker"), "cut at a whole word where room is short");
    ok(plan_service_bit("hub") == SVC_HUB && plan_service_bit("x") == 0 && !strcmp(plan_service_name(SVC_OPS), "ops"), "names and bits");
}

int main(void) {
    test_round_trip();
    test_hostile();
    test_alike();
    test_check();
    test_conflicts();
    test_udp();
    test_tunnels();
    test_waiting();
    test_same();
    test_all_conflicts();
    test_match();
    test_match_many();
    test_print();
    return tap_end();
}
