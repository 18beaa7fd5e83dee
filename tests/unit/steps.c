/* The order of a change of sockets as a pure function: what is kept, opened alone, opened beside a living socket, deafened, closed, and
 * when. */
#include "plan/steps.h"
#include "unit/tap.h"
#include <stdlib.h>
#include <string.h>

static struct err e;

/* "10.0.0.1:80 http, [::]:443 https": a plan of these; a port 0 is the kernel's choice, "waiting" behind it means that. */
static struct plan plan(const char *text) {
    struct plan p = {.socket = calloc(32, sizeof *p.socket)};
    char copy[512], *save = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        struct plan_socket *s = &p.socket[p.nsockets++];
        *s = (struct plan_socket)PLAN_SOCKET_BLANK;
        item += strspn(item, " ");
        size_t n = strcspn(item, " ");
        if (!addr_parse_hostport(item, n, true, &s->at, &e)) fprintf(stderr, "%s\n", e.text);
        s->name = "http";
        s->v6only = s->at.family == 6;
        s->scheme = strstr(item + n, "https") ? SCHEME_HTTPS : SCHEME_HTTP;
        s->waiting = strstr(item + n, "waiting") != NULL;
    }
    return p;
}

/* The steps from one to the other as "verb address", joined by commas; JOIN with what it stands beside. */
static const char *change(const char *from, const char *to, const uint16_t *bound) {
    static char out[2048];
    struct plan old = plan(from), now = plan(to);
    struct steps s;
    uint16_t ports[32];
    size_t n = 0;
    for (uint32_t i = 0; i < old.nsockets; i++) ports[i] = bound ? bound[i] : old.socket[i].waiting ? 0 : old.socket[i].at.port;
    out[0] = 0;
    if (!steps_make(*from ? &old : NULL, ports, &now, &s)) return "out of memory";
    for (uint32_t i = 0; i < s.n; i++) {
        const struct step *t = &s.step[i];
        char at[ADDR_TEXT] = "", beside[ADDR_TEXT] = "";
        if (t->kind != STEP_COMMIT) addr_format(t->now >= 0 ? &now.socket[t->now].at : &old.socket[t->old].at, at);
        if (t->kind == STEP_JOIN) addr_format(&old.socket[t->old].at, beside);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%s%s%s%s%s", n ? ", " : "", step_name(t->kind), at[0] ? " " : "", at,
                              beside[0] ? " beside " : "", beside);
    }
    steps_finish(&s);
    free(old.socket);
    free(now.socket);
    return out;
}

static void is(const char *what, const char *got, const char *want) {
    if (!ok(strcmp(got, want) == 0, "%s", what)) printf("# got  %s\n# want %s\n", got, want);
}

static void orders(void) {
    is("a start: bound, then heard", change("", "0.0.0.0:80 http, [::]:80 http", NULL),
       "open 0.0.0.0:80, open [::]:80, listen 0.0.0.0:80, listen [::]:80, commit");
    is("nothing changes", change("0.0.0.0:80 http", "0.0.0.0:80 http", NULL), "keep 0.0.0.0:80, commit");
    is("http to https on one port keeps the socket", change("10.0.0.1:80 http", "10.0.0.1:80 https", NULL), "keep 10.0.0.1:80, commit");
    is("a moved port: the new one answers before the old one closes /* M57 */", change("0.0.0.0:7000 http", "0.0.0.0:7001 http", NULL),
       "open 0.0.0.0:7001, listen 0.0.0.0:7001, commit, deafen 0.0.0.0:7000, close 0.0.0.0:7000");
    is("wildcard to specific /* M7 */", change("0.0.0.0:80 http, [::]:80 http", "10.0.0.1:80 http", NULL),
       "join 10.0.0.1:80 beside 0.0.0.0:80, listen 10.0.0.1:80, commit, deafen 0.0.0.0:80, deafen [::]:80, close 0.0.0.0:80, close "
       "[::]:80");
    is("specific to wildcard /* M7 */", change("10.0.0.1:80 http, 10.0.0.2:81 http", "0.0.0.0:80 http", NULL),
       "join 0.0.0.0:80 beside 10.0.0.1:80, listen 0.0.0.0:80, commit, deafen 10.0.0.1:80, deafen 10.0.0.2:81, close 10.0.0.1:80, close "
       "10.0.0.2:81");
    is("the families do not meet (V6ONLY)", change("[::]:80 http", "10.0.0.1:80 http", NULL),
       "open 10.0.0.1:80, listen 10.0.0.1:80, commit, deafen [::]:80, close [::]:80");
    is("another address of the same port meets nobody", change("10.0.0.1:80 http", "10.0.0.2:80 http", NULL),
       "open 10.0.0.2:80, listen 10.0.0.2:80, commit, deafen 10.0.0.1:80, close 10.0.0.1:80");
}

static void special(void) {
    is("what waits has no step; when its address comes it is opened", change("10.0.0.1:80 waiting", "10.0.0.1:80 http", NULL),
       "open 10.0.0.1:80, listen 10.0.0.1:80, commit");
    is("and when the address goes, it is closed", change("10.0.0.1:80 http", "10.0.0.1:80 waiting", NULL),
       "commit, deafen 10.0.0.1:80, close 10.0.0.1:80");
    is("still away", change("10.0.0.1:80 waiting", "10.0.0.1:80 waiting", NULL), "commit");
    const uint16_t chosen[] = {5310};
    is("the port that the kernel chose, written down, is the same socket", change("127.0.0.1:0 http", "127.0.0.1:5310 http", chosen),
       "keep 127.0.0.1:5310, commit");
    is("and the other way round it stays where it is, or not", change("127.0.0.1:0 http", "127.0.0.1:0 http", chosen),
       "keep 127.0.0.1:0, commit");
    is("a wildcard joins a port that the kernel chose", change("127.0.0.1:0 http", "0.0.0.0:5310 http", chosen),
       "join 0.0.0.0:5310 beside 127.0.0.1:0, listen 0.0.0.0:5310, commit, deafen 127.0.0.1:0, close 127.0.0.1:0");
}

static void words(void) {
    struct plan old = plan("0.0.0.0:80 http, 10.0.0.9:81 http"), now = plan("10.0.0.1:80 https");
    const uint16_t ports[] = {80, 81};
    struct steps s;
    struct buf text = {0};
    ok(steps_make(&old, ports, &now, &s) && steps_text(&s, &old, ports, &now, &text) && buf_add(&text, "", 1), "steps as text");
    ok(strstr(text.p, "1. join 10.0.0.1:80 (https): beside 0.0.0.0:80, which serves until the commit\n"), "joining says beside whom");
    ok(strstr(text.p, "deafen 0.0.0.0:80 (http): new callers find the addresses that the new plan names"),
       "who takes over from the wildcard");
    ok(strstr(text.p, "deafen 10.0.0.9:81 (http): the new plan has it no more: new callers are refused"), "and where nobody does");
    printf("# %s", text.p);
    buf_free(&text);
    steps_finish(&s);
    free(old.socket);
    free(now.socket);
}

/* Each step of a kind comes before all of the next kind: what may fail comes before anything that callers notice. */
static void always(void) {
    static const char *const plans[] = {"0.0.0.0:80 http, [::]:80 http", "10.0.0.1:80 http, 10.0.0.2:80 https",
                                        "[fd00::1]:80 http, 10.0.0.2:80 http, 10.0.0.3:81 http", "0.0.0.0:81 https, 10.0.0.2:80 http",
                                        "[::]:80 https, 0.0.0.0:81 http, 10.0.0.9:80 http"};
    unsigned wrong = 0, tried = 0;
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        for (size_t k = 0; k < sizeof plans / sizeof *plans; k++) {
            struct plan old = plan(plans[i]), now = plan(plans[k]);
            uint16_t ports[32];
            struct steps s;
            for (uint32_t j = 0; j < old.nsockets; j++) ports[j] = old.socket[j].at.port;
            bool good = steps_make(&old, ports, &now, &s);
            unsigned of[STEP_CLOSE + 1] = {0};
            for (uint32_t j = 0; good && j < s.n; j++) {
                enum step_kind kind = s.step[j].kind == STEP_JOIN ? STEP_OPEN : s.step[j].kind;
                of[kind]++;
                if (j && s.step[j].kind < s.step[j - 1].kind && kind != STEP_OPEN) wrong++;
            }
            good = good && of[STEP_KEEP] + of[STEP_OPEN] == now.nsockets && of[STEP_LISTEN] == of[STEP_OPEN] && of[STEP_COMMIT] == 1 &&
                   of[STEP_DEAFEN] == of[STEP_CLOSE] && of[STEP_KEEP] + of[STEP_CLOSE] == old.nsockets;
            wrong += !good;
            tried++;
            steps_finish(&s);
            free(old.socket);
            free(now.socket);
        }
    }
    ok(tried == 25 && wrong == 0, "every socket of both plans has its step, in order (%u changes)", tried);
}

int main(void) {
    orders();
    special();
    words();
    always();
    return tap_end();
}
