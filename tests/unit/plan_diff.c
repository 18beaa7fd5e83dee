/* What a new plan changes in a running one: matching, wildcards and the addresses they stand for, live connections, the words, the JSON; and the
 * form in which the supervisor tells its plan. */
#include "plan/plan_diff.h"
#include "plan/plan_check.h"
#include "unit/tap.h"
#include <arpa/inet.h>
#include <stdlib.h>

static struct addr address(const char *ip, uint16_t port) {
    struct addr a = {.family = strchr(ip, ':') ? 6 : 4, .port = port};
    if (inet_pton(a.family == 6 ? AF_INET6 : AF_INET, ip, a.ip) != 1) abort();
    return a;
}

static struct plan_socket make(const char *name, const char *ip, uint16_t port) {
    struct plan_socket s = PLAN_SOCKET_BLANK;
    s.services = SVC_TRACKER | SVC_HUB;
    s.backlog = 511;
    s.at = address(ip, port);
    s.v6only = s.at.family == 6;
    s.name = name;
    s.because.file = "conf/tomcat.ini";
    s.because.line = 7;
    s.because.entry = "BindAddress";
    s.because.row = "R7";
    return s;
}

static struct plan plan_of(struct plan_socket *s, uint32_t n) {
    static struct plan_cert cert = {.name = "default", .chain = "certs/default.chain", .because = PLAN_BECAUSE_BLANK};
    struct plan p = {.socket = s, .nsockets = n, .cert = &cert, .ncerts = 1, .components = "tracker,ui,hub"};
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) *plan_setting(&p.set, d->field) = d->dflt;
    return p;
}

static bool says(const struct buf *b, const char *what) {
    if (b->n && memmem(b->p, b->n, what, strlen(what))) return true;
    printf("# not said: %s\n", what);
    for (size_t i = 0, n; i < b->n && i < 4000; i += n + 1) {
        n = strcspn(b->p + i, "\n");
        printf("# | %.*s\n", (int)n, b->p + i);
    }
    return false;
}

/* The text, compared with generation 3. */
static struct buf text_of(const struct diff_input *in) {
    struct plan_diff d;
    struct err e = {""};
    struct buf out = {0};
    if (!plan_diff_make(in, &d, &e) || !plan_diff_text(in, &d, "generation 3", &out) || !buf_add(&out, "", 1)) abort();
    out.n--;
    plan_diff_finish(&d);
    return out;
}

static void test_one_line(void) { /* the change everybody makes */
    struct plan_socket o[3] = {make("http", "192.0.2.10", 80), make("http", "192.0.2.11", 80), make("ops", "127.0.0.1", 0)};
    struct plan_socket w[3] = {make("http", "192.0.2.10", 80), make("http", "192.0.2.12", 80), make("ops", "127.0.0.1", 0)};
    struct plan old = plan_of(o, 3), now = plan_of(w, 3);
    const uint16_t port[3] = {80, 80, 40001};
    const struct diff_live live[2] = {{address("192.0.2.10", 80), 5}, {address("192.0.2.11", 80), 12}};
    struct diff_input in = {.old = {.plan = &old, .port = port}, .now = {.plan = &now}, .live = live, .nlive = 2, .live_known = true};
    struct plan_diff d;
    struct err e = {""};
    ok(plan_diff_make(&in, &d, &e), "two plans are compared");
    ok(d.count[DIFF_KEPT] == 2 && d.count[DIFF_OPENED] == 1 && d.count[DIFF_CLOSED] == 1 && d.n == 4, "two kept, one opened, one closed");
    ok(!plan_diff_same(&in, &d) && d.nswaps == 0, "that is a change, and no swap");
    plan_diff_finish(&d);
    struct buf t = text_of(&in);
    ok(says(&t, "\n192.0.2.11:80 closes: its 12 connections finish their requests, new callers are refused\n"),
       "who is closed, and to whom");
    ok(says(&t, "\n192.0.2.12:80 opens: http for tracker,hub; because conf/tomcat.ini:7 BindAddress, row R7\n"), "what opens, and why");
    ok(says(&t, "each of 192.0.2.10:80 and 127.0.0.1:40001 stays open: nobody notices\n"), "what stays, by the port that is really bound");
    buf_free(&t);
    in.live_known = false;
    in.nlive = 0;
    t = text_of(&in);
    ok(says(&t, "192.0.2.11:80 closes: its connections finish their requests, new"), "no number where none is known");
    buf_free(&t);
    in.now.plan = &old;
    t = text_of(&in);
    ok(says(&t, "nothing changes: generation 3 has these 3 sockets"), "no change is said too");
    buf_free(&t);
}

static void test_fields(void) {
    struct plan_socket o[1] = {make("http", "192.0.2.10", 80)}, w[1] = {o[0]};
    struct plan old = plan_of(o, 1), now = plan_of(w, 1);
    const struct diff_live live[1] = {{address("192.0.2.10", 80), 1}};
    struct running_file f[3] = {{.path = "certs/default.chain"}, {.path = "sets/lan"}, {.path = "tomcat.ini"}}, g[3] = {f[0], f[1], f[2]};
    struct diff_input in = {.old = {&old, NULL, f, 3}, .now = {&now, NULL, g, 3}, .live = live, .nlive = 1, .live_known = true};
    static const struct {
        const char *says;
        uint32_t field;
    } cases[] = {
        {"stays open, but it speaks HTTPS instead of HTTP from now on with certificate default: new callers must too, its one connection goes",
         DIFF_SCHEME},
        {"new callers get certificate shop instead of default", DIFF_CERTIFICATE},
        {"new callers get the new certificate default, open connections notice nothing", DIFF_RENEWED},
        {"it no longer carries hub: such requests get 404, on open connections too; it carries ui besides", DIFF_SERVICES},
        {"only list lan may call (before: everybody may call): open connections stay", DIFF_RESTRICTION},
        {"list lan has other lines: new callers are judged by them", DIFF_LIST},
        {"connections at once: no limit before, 9 now (new callers", DIFF_LIMITS},
        {"128 callers may wait to be accepted instead of 511: nobody notices", DIFF_BACKLOG},
        {"it belongs to listener other instead of http", DIFF_LISTENER},
        {"TLS is taken to end in front of it (Ext)", DIFF_TLS_FRONT},
        {"new callers must begin with a PROXY header (v2) and come from list front", DIFF_PROXY}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o[0] = w[0] = make("http", "192.0.2.10", 80);
        memset(g[0].hash, 0, 32);
        memset(g[1].hash, 0, 32);
        uint32_t k = cases[i].field;
        bool tls = k == DIFF_CERTIFICATE || k == DIFF_RENEWED;
        if (tls) o[0].scheme = SCHEME_HTTPS;
        if (tls) o[0].certificate = "default";
        if (tls || k == DIFF_SCHEME) w[0].scheme = SCHEME_HTTPS;
        if (tls || k == DIFF_SCHEME) w[0].certificate = k == DIFF_CERTIFICATE ? "shop" : "default";
        if (k == DIFF_RENEWED) g[0].hash[5] = 1;
        if (k == DIFF_SERVICES) w[0].services = SVC_TRACKER | SVC_UI;
        if (k == DIFF_LIST) o[0].restriction = RESTRICT_GRANT;
        if (k == DIFF_LIST || k == DIFF_RESTRICTION) w[0].restriction = RESTRICT_GRANT;
        if (k == DIFF_LIST) o[0].list = "lan";
        if (k == DIFF_LIST || k == DIFF_RESTRICTION) w[0].list = "lan";
        if (k == DIFF_LIST) g[1].hash[31] = 1;
        if (k == DIFF_LIMITS) w[0].max_connections = 9;
        if (k == DIFF_BACKLOG) w[0].backlog = 128;
        if (k == DIFF_LISTENER) w[0].name = "other";
        if (k == DIFF_TLS_FRONT) w[0].external_tls = true;
        if (k == DIFF_PROXY) w[0].proxy = PROXY_ONLY_V2, w[0].proxy_from = "front";
        struct plan_diff d;
        struct err e = {""};
        struct buf t = {0};
        if (!plan_diff_make(&in, &d, &e) || !plan_diff_text(&in, &d, "generation 3", &t)) abort();
        ok(d.n == 1 && d.item[0].kind == DIFF_CHANGED && d.item[0].fields == k, "field %u and no other", k);
        ok(says(&t, cases[i].says), "%s", cases[i].says);
        buf_free(&t);
        plan_diff_finish(&d);
    }
    o[0] = w[0] = make("http", "192.0.2.10", 80);
    w[0].because.line = 99;
    memset(g, 0, sizeof g);
    memcpy(g, f, sizeof g);
    struct buf t = text_of(&in);
    ok(says(&t, "nothing changes"), "another line of the same file is no change for anybody");
    buf_free(&t);
    now.set.idle_ms = 500;
    now.set.durable = 0;
    g[2].hash[0] = 1;
    t = text_of(&in);
    ok(says(&t, "no socket changes (1 stay as they are)") &&
           says(&t, "IdleTimeout (between requests of a kept connection): 75000 before, 500 now") && says(&t, "durable before, fast now") &&
           says(&t, "files that differ: tomcat.ini (changed)\n"),
       "settings and files beside the sockets");
    buf_free(&t);
}

static void test_swap(void) { /* G4: a wildcard never stands beside an address of its port, so it gives way */
    struct plan_socket o[3] = {make("http", "0.0.0.0", 80), make("http", "::", 80), make("in", "0.0.0.0", 1099)};
    struct plan_socket w[4] = {make("http", "192.0.2.10", 80), make("http", "192.0.2.11", 80), make("http", "192.0.2.12", 8081),
                               make("in", "0.0.0.0", 1099)};
    struct plan old = plan_of(o, 3), now = plan_of(w, 4);
    const struct addr host[5] = {address("127.0.0.1", 0), address("192.0.2.10", 0), address("192.0.2.12", 0), address("192.0.2.13", 0),
                                 address("::1", 0)};
    const struct diff_live live[3] = {{address("192.0.2.10", 80), 2}, {address("192.0.2.12", 80), 3}, {address("192.0.2.10", 1099), 4}};
    struct diff_live sorted[3] = {live[0], live[1], live[2]}; /* by family, port, address */
    struct diff_input in = {
        .old = {.plan = &old}, .now = {.plan = &now}, .host = host, .nhost = 5, .live = sorted, .nlive = 3, .live_known = true};
    struct plan_diff d;
    struct err e = {""};
    ok(plan_diff_make(&in, &d, &e) && d.nswaps == 1 && !d.swap[0].to_wildcard && d.swap[0].port == 80 && d.swap[0].n == 5,
       "one swap about five addresses");
    uint32_t both = 0, lost = 0;
    for (uint32_t i = 0; i < d.nreach; i++) {
        both += d.reach[i].old >= 0 && d.reach[i].now >= 0;
        lost += d.reach[i].now < 0;
    }
    ok(both == 2 && lost == 3, "two are served on, one of them not on the machine, and three are lost (%u, %u)", both, lost);
    ok(d.item[0].live == 5 && d.count[DIFF_CLOSED] == 2, "a wildcard's connections are those of all its addresses (%u)", d.item[0].live);
    plan_diff_finish(&d);
    struct buf t = text_of(&in);
    ok(says(&t, "0.0.0.0:80 (all IPv4 addresses) gives way to 192.0.2.10:80 and 192.0.2.11:80:\n"), "what gives way to what");
    ok(says(
           &t,
           "  192.0.2.10:80 is served on without a gap: new callers meet a socket of its own, its 2 connections finish their requests and then call anew\n"),
       "an address that stays");
    ok(says(&t, "  192.0.2.12:80 is no longer served: its 3 connections finish their requests, new callers are refused\n"),
       "one that does not");
    ok(says(&t, "each of 127.0.0.1:80 and 192.0.2.13:80 is no longer served: nobody is connected"), "equal fates are one sentence");
    ok(says(&t, "an address that this machine gets later is no longer served by itself"), "and what is to come");
    ok(says(&t, "\n[::]:80 closes: nobody is connected"), "a wildcard without heirs only closes");
    buf_free(&t);
    in = (struct diff_input){.old = {.plan = &now}, .now = {.plan = &old}, .host = host, .nhost = 5};
    t = text_of(&in);
    ok(says(&t, "0.0.0.0:80 (all IPv4 addresses) takes the place of 192.0.2.10:80 and 192.0.2.11:80:\n") &&
           says(&t, "each of 127.0.0.1:80, 192.0.2.12:80 and 192.0.2.13:80 is served from now on\n"),
       "the other way round (Q12)");
    buf_free(&t);
}

static void test_waiting(void) { /* Q18 */
    struct plan_socket s[1] = {make("dial", "192.0.2.7", 80)}, t[1] = {s[0]}, none[1] = {make("x", "127.0.0.1", 1)};
    s[0].when_missing = t[0].when_missing = MISSING_WAIT;
    s[0].waiting = true;
    struct plan waits = plan_of(s, 1), here = plan_of(t, 1), other = plan_of(none, 1);
    const struct {
        const struct plan *a, *b;
        const char *says;
    } cases[] = {{&waits, &here, "192.0.2.7:80 opens, since its address has come: http"},
                 {&here, &waits, "192.0.2.7:80 closes until its address comes back to this machine: its connections finish"},
                 {&other, &waits, "192.0.2.7:80 waits until its address is on this machine, and opens then: http"},
                 {&waits, &other, "192.0.2.7:80 is no longer waited for: nobody notices"}};
    for (size_t i = 0; i < 4; i++) {
        struct diff_input in = {.old = {.plan = cases[i].a}, .now = {.plan = cases[i].b}};
        struct buf b = text_of(&in);
        ok(says(&b, cases[i].says), "%s", cases[i].says);
        buf_free(&b);
    }
}

static void test_many(void) { /* 16,384 sockets, all moved to another port */
    uint32_t n = PLAN_MAX_SOCKETS;
    struct plan_socket *o = calloc(n, sizeof *o), *w = calloc(n, sizeof *w);
    if (!o || !w) abort();
    for (uint32_t i = 0; i < n; i++) {
        o[i] = make("many", "10.0.0.0", (uint16_t)(1 + i % 4));
        o[i].at.ip[2] = (uint8_t)(i / 4 / 256);
        o[i].at.ip[3] = (uint8_t)(i / 4 % 256);
        w[n - 1 - i] = o[i];
        w[n - 1 - i].at.port = (uint16_t)(5 + i % 4);
    }
    struct plan old = plan_of(o, n), now = plan_of(w, n);
    struct diff_input in = {.old = {.plan = &old}, .now = {.plan = &now}, .live_known = true};
    struct plan_diff d;
    struct err e = {""};
    struct buf t = {0};
    ok(plan_diff_make(&in, &d, &e) && d.count[DIFF_OPENED] == n && d.count[DIFF_CLOSED] == n, "the largest plans are compared");
    ok(plan_diff_text(&in, &d, "generation 3", &t) && t.n < 2000 && says(&t, "and 16376 more opens"), "and told in few words");
    buf_clear(&t);
    ok(plan_diff_summary(&in, &d, "generation 3", &t) && t.n < 2000, "and in fewer");
    buf_free(&t);
    ok(plan_diff_json(&in, &d, "generation 3", "", &t), "and as JSON in full (%zu bytes)", t.n);
    buf_free(&t);
    plan_diff_finish(&d);
    free(o);
    free(w);
}

static void test_running(void) {
    struct plan_socket s[2] = {make("http", "127.0.0.1", 0), make("http", "::1", 80)};
    struct plan_cert cert = {.name = "default", .chain = "certs/default.chain", .password = "geheim", .because = PLAN_BECAUSE_BLANK};
    struct running r = {.pid = 4711, .since_ms = 5, .generation = 3, .workers = 2, .engine = "live", .plan = plan_of(s, 2)}, q;
    struct running_socket where[2] = {{.port = 40001, .state = "bound"}, {.port = 80, .state = "bound, proved"}};
    struct running_file file[1] = {{.path = "lists/odd name.list"}};
    char one[] = "tomcat.ini:Port=0", *sets[1] = {one};
    r.plan.cert = &cert;
    r.socket = where;
    r.file = file;
    r.nfiles = 1;
    r.set = sets;
    r.nsets = 1;
    r.secrets = 1;
    for (int i = 0; i < 32; i++) file[0].hash[i] = (uint8_t)(i * 9);
    snprintf(r.conf, sizeof r.conf, "./conf");
    snprintf(r.conf_path, sizeof r.conf_path, "/srv/my conf");
    struct buf b = {0};
    struct err e = {""};
    ok(running_encode(&r, &b) && !memmem(b.p, b.n, "geheim", 6), "a running plan is told without its passwords");
    ok(!strcmp(cert.password, "geheim"), "and keeps them");
    ok(running_decode(b.p, b.n, &q, &e), "and read: %.200s", e.text);
    ok(q.pid == 4711 && q.since_ms == 5 && q.generation == 3 && q.workers == 2 && !strcmp(q.engine, "live") &&
           !strcmp(q.conf_path, "/srv/my conf") && !q.policies[0] && q.nsets == 1 && !strcmp(q.set[0], one) && q.secrets == 1,
       "with what a reload reads");
    ok(q.plan.nsockets == 2 && q.socket[0].port == 40001 && !strcmp(q.socket[1].state, "bound, proved") && q.nfiles == 1 &&
           !memcmp(&q.file[0], &file[0], sizeof file[0]),
       "with ports, states and files");
    running_finish(&q);
    unsigned cut = 0;
    for (size_t n = 0; n < b.n; n++) {
        char *exact = malloc(n ? n : 1);
        if (!exact) abort();
        memcpy(exact, b.p, n);
        bool good = running_decode(exact, n, &q, &e);
        if (good) running_finish(&q);
        else cut++;
        free(exact);
    }
    ok(cut == b.n, "every part of it is refused");
    buf_free(&b);
}

int main(void) {
    test_one_line();
    test_fields();
    test_swap();
    test_waiting();
    test_many();
    test_running();
    return tap_end();
}
