/* What an engine may ask to have changed: the supervisor's own list, whatever the engine thinks (it may be in somebody else's hands). */
#include "super/edit.c"
#include "unit/tap.h"

/* edit_destroy unlinks staged files (edit_file.c); here nothing is ever staged. */
void edit_destroy(struct edit *d) {
    if (!d) return;
    for (unsigned i = 0; i < d->n; i++) free(d->arg[2 * i + 1]);
    free(d);
}

static bool taken(const char *lines) {
    char payload[70000];
    struct err e = {""};
    snprintf(payload, sizeof payload, "id 1\ndry 0\nwho test\n\n%s", lines);
    struct edit *d = edit_parse(payload, &e);
    bool good = d != NULL;
    edit_destroy(d);
    if (!good && !e.text[0]) ok(0, "a refusal says why");
    return good;
}

static const char *const allowed[] = {
    "set listeners.ini web.Port 8081\n",
    "set listeners.ini web.Address 127.0.0.1, [::1]\n",
    "set listeners.ini a-b_9.InitTLS On\n",
    "set listeners.ini web.Certificate default\n",
    "set listeners.ini web.Services tracker,ui\n",
    "set listeners.ini web.Restriction Grant\n",
    "set listeners.ini web.List lan\n",
    "set listeners.ini web.MaxConnections 5\n",
    "set listeners.ini web.MaxPerAddress 5\n",
    "set listeners.ini web.Reserve 5\n",
    "set listeners.ini web.RateConnections 5/10s\n",
    "set listeners.ini web.GiveWay On\n",
    "set listeners.ini web.Backlog 5\n",
    "set listeners.ini web.WhenMissing Wait\n",
    "set listeners.ini web.Proxy V2\n",
    "set listeners.ini web.ProxyFrom devices\n",
    "set listeners.ini web.ProxyInside On\n",
    "set listeners.ini web.ClientCertificate Ask\n",
    "set listeners.ini web.Transport UDP\n",
    "set listeners.ini web.Script finger\n",
    "set listeners.ini web.Backend 192.0.2.7:25\n",
    "set listeners.ini web.SendProxy V2\n",
    "set listeners.ini web.Backend-mail.example.org 192.0.2.7:25\n",
    "set listeners.ini web.2.Label-site north\n",
    "set listeners.ini web.Backend-*.example.org 192.0.2.7:25\n",
    "remove listeners.ini web.Backend-*.example.org\n",
    "set listeners.ini web.2.Port 8082\n",
    "set listeners.ini web.List \n",
    "remove listeners.ini web.List\n",
    "remove listeners.ini web.*\n",
    "remove listeners.ini web.2.*\n",
    "set tracker.ini CommunicationsPort 7001\n",
    "remove tracker.ini CommunicationsPort\n",
    "set listeners.ini a.Port 1\nset listeners.ini b.Port 2\nremove listeners.ini c.*\n",
};
static const char *const refused[] = {
    "set certificates.ini default.Certificate /etc/shadow\n",
    "set certificates.ini x.Key /etc/ssl/private/key\n",
    "set certificates.ini x.PasswordFile /etc/shadow\n",
    "set portreeve.ini User root\n",
    "set portreeve.ini Components hub\n",
    "set tomcat.ini Port 80\n",
    "set tomcat.ini ShutdownPort -1\n",
    "set tracker.ini RMIPort 1\n",
    "set tracker.ini TrackerId x\n",
    "set tracker.ini CommunicationsPort.x 7\n",
    "set hub.ini RMIPort 1\n",
    "set ../listeners.ini web.Port 1\n",
    "set conf/listeners.ini web.Port 1\n",
    "set /etc/passwd root.Port 1\n",
    "set listeners.ini web.CertificateFile x\n",
    "set listeners.ini web.ClientCA /etc/shadow\n",
    "set listeners.ini web.port 1\n",
    "set listeners.ini Port 1\n",
    "set listeners.ini .Port 1\n",
    "set listeners.ini web. 1\n",
    "set listeners.ini web.x.Port 1\n",
    "set listeners.ini web.22222.Port 1\n",
    "set listeners.ini web.Backend- 1\n",
    "set listeners.ini web.Label- 1\n",
    "set listeners.ini web.Label-a/b 1\n",
    "set listeners.ini web.Key-a 1\n",
    "set listeners.ini web.Backend-a.* 1\n",
    "remove listeners.ini web.Backend-a.*\n",
    "set listeners.ini web.Backend-a\xc3 1\n",
    "set listeners.ini we b.Port 1\n",
    "set listeners.ini w/b.Port 1\n",
    "set listeners.ini web.* 1\n",
    "remove listeners.ini *\n",
    "remove listeners.ini .*\n",
    "remove tracker.ini *\n",
    "remove policies/bind.lua x.*\n",
    "set --set web.Port 1\n",
    "set listeners.ini web.Port 1\nset portreeve.ini User root\n",
    "set listeners.ini web.Port 1\nset listeners.ini web.Port 2\n",
    "set listeners.ini web.List a\tb\n",
    "set listeners.ini web.List \x7f\n",
    "set listeners.ini web.List \xc3\xa4\n",
    "remove listeners.ini web.List x\n",
    "move listeners.ini web.Port 1\n",
    "set listeners.ini\n",
    "set\n",
    "\n",
    "",
};

static void check_bounds(void) {
    char lines[70000] = "", line[200], value[1100];
    for (unsigned i = 0; i < EDIT_MOST; i++) {
        snprintf(line, sizeof line, "set listeners.ini l%u.Port %u\n", i, 5000 + i);
        strcat(lines, line);
    }
    ok(taken(lines), "%u changes", EDIT_MOST);
    ok(!taken(strcat(lines, "set listeners.ini more.Port 1\n")), "but not one more");
    memset(value, 'x', sizeof value);
    snprintf(lines, sizeof lines, "set listeners.ini web.List %.1024s\n", value);
    ok(taken(lines), "a value of 1024 bytes");
    snprintf(lines, sizeof lines, "set listeners.ini web.List %.1025s\n", value);
    ok(!taken(lines), "but not of 1025");
    snprintf(lines, sizeof lines, "set listeners.ini %.60s.Port 1\n", value);
    ok(taken(lines), "a name of 60 bytes");
    snprintf(lines, sizeof lines, "set listeners.ini %.61s.Port 1\n", value);
    ok(!taken(lines), "but not of 61");
}

int main(void) {
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        ok(taken(allowed[i]), "may be asked: %.*s", (int)strcspn(allowed[i], "\n"), allowed[i]);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        ok(!taken(refused[i]), "may not be asked: %.*s", (int)strcspn(refused[i], "\n"), refused[i]);
    struct err e;
    struct edit *d = edit_parse("id 7\ndry 1\nwho a\x01"
                                "b\n\nset listeners.ini web.Port 1\nremove listeners.ini x.*\n",
                                &e);
    ok(d && d->dry && strcmp(d->who, "a?b") == 0 && d->n == 2, "who, and whether it is a rehearsal");
    ok(d && strcmp(d->arg[0], "--edit") == 0 && strcmp(d->arg[1], "listeners.ini:web.Port=1") == 0 &&
           strcmp(d->arg[2], "--edit-remove") == 0 && strcmp(d->arg[3], "listeners.ini:x.*") == 0 && !d->arg[4] && d->file[0].asked &&
           !d->file[1].asked,
       "options for the planner");
    edit_destroy(d);
    check_bounds();
    return tap_end();
}
