/* portreeve would: what would become of a caller. Asks the engine that runs, or the files on disk with --conf. */
#include "engine/bundle_rules.h"
#include "engine/cmd.h"
#include "engine/console_call.h"
#include "engine/planner.h"
#include "engine/say.h"
#include "engine/would.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char HELP[] =
    "usage: portreeve would --listener NAME [--port PORT] [--local ADDRESS] [--sni NAME] [--alpn LIST] [--ja4 TEXT] [--certificate SUBJECT] [--method WORD] [--path PATH] [--host "
    "NAME]\n"
    "                       [--at TIME] [--json] [--state DIR | --conf DIR [--policies DIR] [--set FILE:ENTRY=VALUE]…] ADDRESS\n"
    "\n"
    "Says what would become of a caller from this address: what each rule of policies/admission.lua would say, stage by stage, which line "
    "of the policy,\n"
    "of a list or of listeners.ini would decide, how many connections there are now and what is left of the limits. It is asked of the "
    "server that runs;\n"
    "nothing is taken, counted or recorded. The request is asked about where --path, --method or --host is given.\n"
    "\n"
    "  --listener NAME   the listener he calls; where it has several sockets, --port: the one with this port, --local: the one he reaches by\n"
    "                    calling this address of ours\n"
    "  --sni, --alpn, --ja4       what his TLS greeting says; a listener with TLS is assumed to finish the handshake as TLSv1.3\n"
    "  --certificate SUBJECT      he shows a good certificate for it (\"CN=anna,O=Partner\"), where he is asked; --certificate-issuer,\n"
    "                             --certificate-names: what else it says (names with commas). Without it he shows none\n"
    "  --method, --path, --host   what he asks for (default GET, /)\n"
    "  --at TIME         the rules see this moment: \"2026-11-17 14:00\", 2026-11-17T14:00:05Z, 14:00 for today\n"
    "  --conf DIR        instead: ask the configuration and policies on disk, which need not be in force; no caller is there then\n"
    "  --json            the whole answer as one object\n"
    "  --help            this text\n"
    "\n"
    "Examples: portreeve would 203.0.113.9 --listener http    portreeve would 203.0.113.9 --listener secure --sni www.example.org --path "
    "/hub\n"
    "Exit status: 0 he would be let in, 1 he would be refused (standard output says by what) or it cannot be told (standard error), 2 "
    "wrong usage.\n";

struct wish {
    struct question q;
    struct planner *p; /* conf, policies, state, set */
    bool json;
};

/* ---- the server that runs ---- */

static bool put_field(struct buf *b, const char *name, const char *value) {
    bool good = !value || buf_fmt(b, "%s=\"", name);
    for (const char *s = value; good && s && *s; s++)
        good = buf_fmt(b, "\\%03u", (unsigned)(unsigned char)*s); /* a Lua string that holds anything */
    return good && (!value || buf_str(b, "\","));
}

static bool ask_running(const struct wish *w, struct buf *out, struct err *e) {
    const struct question *q = &w->q;
    struct console_call c;
    struct buf text = {0};
    bool ok = false;
    bool good = buf_str(&text, "would{") && put_field(&text, "address", q->address) && put_field(&text, "listener", q->listener) &&
                put_field(&text, "local_address", q->local) && put_field(&text, "sni", q->sni) && put_field(&text, "alpn", q->alpn) &&
                put_field(&text, "ja4", q->ja4) && put_field(&text, "certificate", q->certificate) &&
                put_field(&text, "certificate_issuer", q->certificate_issuer) &&
                put_field(&text, "certificate_names", q->certificate_names) && put_field(&text, "method", q->method) &&
                put_field(&text, "path", q->path) && put_field(&text, "host", q->host) &&
                buf_fmt(&text, "port=%u,at_ms=%" PRId64 "}", q->port, q->at_ms) && buf_add(&text, "", 1);
    if (!good) err_set(e, "out of memory");
    good = good && console_call_init(&c, cmd_state(w->p->state), e);
    if (good) {
        good = console_call_eval(&c, text.p, true, &ok, out, e);
        console_call_finish(&c);
    }
    buf_free(&text);
    if (good && !ok) good = err_set(e, "%.*s", (int)(out->n < 800 ? out->n : 800), out->n ? out->p : "");
    return good;
}

/* ---- files on disk ---- */

static bool ask_bundle(const struct wish *w, int fd, struct buf *out, struct err *e) {
    struct bundle_rules r;
    bool good = bundle_rules_create(&r, fd, &w->p->plan, w->p->luadir, e);
    struct would_world world = {.plan = &w->p->plan, .lists = &r.lists, .hooks = r.hooks};
    good = good && would_answer(&world, &w->q, out, e);
    bundle_rules_finish(&r);
    return good;
}

static bool ask_files(const struct wish *w, struct buf *out, struct err *e) {
    int fd = memfd_create("portreeve-would", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = planner_run(w->p, fd);
    if (!good) {
        planner_say(w->p);
        err_set(e, "this configuration is refused");
    }
    good = good && ask_bundle(w, fd, out, e);
    if (fd >= 0) close(fd);
    return good;
}

/* ---- */

static int answer(const struct wish *w) {
    struct err e;
    struct buf out = {0};
    bool good = w->p->conf ? ask_files(w, &out, &e) : ask_running(w, &out, &e);
    bool in = good && memmem(out.p, out.n, "\"in\":true", 9) != NULL;
    if (good && w->json) good = buf_str(&out, "\n") && say_text(out.p, out.n, &e);
    else if (good) good = say_words("portreeve.would", out.p, out.n, &e);
    if (!good) fprintf(stderr, "portreeve would: %s\n", e.text);
    buf_free(&out);
    return good && in ? 0 : 1;
}

static int complain(const char *what, const char *value) {
    fprintf(stderr, "portreeve would: %s%s; see `portreeve would --help`\n", what, value);
    return 2;
}

static const struct option options[] = {{"listener", 1, NULL, 'l'},
                                        {"port", 1, NULL, 'p'},
                                        {"local", 1, NULL, 'L'},
                                        {"sni", 1, NULL, 'n'},
                                        {"alpn", 1, NULL, 'a'},
                                        {"ja4", 1, NULL, '4'},
                                        {"method", 1, NULL, 'm'},
                                        {"path", 1, NULL, 'u'},
                                        {"host", 1, NULL, 'o'},
                                        {"at", 1, NULL, 't'},
                                        {"json", 0, NULL, 'j'},
                                        {"state", 1, NULL, 's'},
                                        {"conf", 1, NULL, 'c'},
                                        {"set", 1, NULL, 'e'},
                                        {"policies", 1, NULL, 'i'},
                                        {"help", 0, NULL, 'h'},
                                        {"certificate", 1, NULL, 'C'},
                                        {"certificate-issuer", 1, NULL, 'I'},
                                        {"certificate-names", 1, NULL, 'N'},
                                        {NULL, 0, NULL, 0}};

static int take(struct wish *w, int o, const char *value) {
    struct question *q = &w->q;
    struct planner *p = w->p;
    struct {
        int o;
        const char **place;
    } const texts[] = {{'l', &q->listener},
                       {'L', &q->local},
                       {'n', &q->sni},
                       {'a', &q->alpn},
                       {'4', &q->ja4},
                       {'m', &q->method},
                       {'u', &q->path},
                       {'o', &q->host},
                       {'s', &p->state},
                       {'c', &p->conf},
                       {'i', &p->policies},
                       {'C', &q->certificate},
                       {'I', &q->certificate_issuer},
                       {'N', &q->certificate_names}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].o == o) return *texts[i].place = value, 0;
    if (o == 'j') return w->json = true, 0;
    if (o == 't') return say_time(value, &q->at_ms) ? 0 : complain("a time is written \"2026-11-17 14:00\", not ", value);
    if (o == 'e' && p->nsets < PLANNER_SETS - 1) return p->set[p->nsets++] = value, 0;
    if (o == 'p') {
        char *end;
        unsigned long n = strtoul(value, &end, 10);
        if (*end || n < 1 || n > 65535) return complain("a port is a number from 1 to 65535, not ", value);
        return q->port = (uint16_t)n, 0;
    }
    return 2;
}

static int parse(int argc, char **argv, struct wish *w) {
    struct addr a;
    struct err e;
    argv[0] = "portreeve would"; /* what getopt's messages begin with */
    for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (o == 'h') return fputs(HELP, stdout) < 0 ? 1 : -1;
        int code = o == '?' ? 2 : take(w, o, optarg);
        if (code) return code;
    }
    if (optind != argc - 1) return complain("one address is wanted", "");
    if (!w->q.listener) return complain("which listener does he call? --listener NAME", "");
    if (!w->p->conf && (w->p->nsets || w->p->policies)) return complain("--set and --policies go with --conf", "");
    w->q.address = argv[optind];
    if (!addr_parse_ip(w->q.address, strlen(w->q.address), &a, &e)) return complain(e.text, "");
    return !w->q.local || addr_parse_ip(w->q.local, strlen(w->q.local), &a, &e) ? 0 : complain("--local: ", e.text);
}

int cmd_would(int argc, char **argv) {
    struct wish w = {.p = calloc(1, sizeof *w.p)};
    if (!w.p) return 1;
    int code = parse(argc, argv, &w);
    if (code < 0) code = 0;
    else if (code == 0) code = answer(&w);
    planner_finish(w.p);
    free(w.p);
    return code;
}
