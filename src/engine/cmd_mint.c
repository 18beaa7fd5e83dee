#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "engine/cmd.h"
#include "plan/ini.h"
#include "svc/token.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const char HELP[] =
    "usage: portreeve mint --campaign N --recipient N --link N --url URL [--level LEVEL] [--kind KIND]\n"
    "                      [--base URL] [--conf DIR] [--state DIR]\n"
    "       portreeve mint --new-key [--state DIR]\n"
    "\n"
    "Makes the signed links of one recipient of one campaign and prints them as JSON: open (the picture), click (to --url), unsubscribe, "
    "and the two\n"
    "header fields List-Unsubscribe and List-Unsubscribe-Post.\n"
    "\n"
    "  --campaign N   whole numbers below 2^63: whose links these are\n"
    "  --recipient N\n"
    "  --link N       which link of the mail the click is (default 0)\n"
    "  --url URL      where the click goes: absolute http or https, at most 2048 bytes; without it there is no click\n"
    "  --level LEVEL  the most that may be recorded: off, blind, anonymous, personal (default) or network\n"
    "  --base URL     how recipients reach the tracker (default: UrlForRecipients of lui.ini, else http://localhost\n"
    "                 and Port of tomcat.ini)\n"
    "  --conf DIR     where these two files are (default: ./conf, /etc/portreeve)\n"
    "  --kind KIND    only this one: open, click, unsubscribe, link (short form) or trap\n"
    "  --new-key      put a fresh key into the key ring; links signed before go on working. Then: portreeve reload\n"
    "  --state DIR    state folder with keys/tracker.keys (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help         this text\n"
    "\n"
    "Exit status: 0 made, 1 refused (why is on standard error), 2 wrong usage.\n";

static const char *const paths[] = {"/trk/o/", "/trk/c/", "/trk/l/", "/trk/u/", "/trk/t/"};

struct order {
    const char *base, *url, *state, *conf;
    int kind; /* TOKEN_…, 0 = the usual ones */
    bool new_key, has_campaign, has_recipient;
    struct token t;
};

static bool whole(const char *s, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || v >> 63 != 0) return false;
    *out = v;
    return true;
}

static int word_of(const char *s, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (strcmp(s, words[i]) == 0) return i;
    return -1;
}

static int usage(const char *what, const char *value) {
    fprintf(stderr, "portreeve mint: %s%s%s. portreeve mint --help shows the usage.\n", what, value[0] != '\0' ? ": " : "", value);
    return 2;
}

static bool base_ok(const char *s) {
    size_t n = strlen(s);
    return token_target_ok(s, n) && n < 1024 && strpbrk(s, "?#<>\"") == NULL;
}

/* 0 = go on, else the exit status is that minus 1. */
static int take(struct order *o, int c) {
    int v;
    switch (c) {
    case 'c': o->has_campaign = true; return whole(optarg, &o->t.campaign) ? 0 : usage("--campaign is a whole number", optarg) + 1;
    case 'r': o->has_recipient = true; return whole(optarg, &o->t.recipient) ? 0 : usage("--recipient is a whole number", optarg) + 1;
    case 'l': return whole(optarg, &o->t.link) ? 0 : usage("--link is a whole number", optarg) + 1;
    case 'u': o->url = optarg; return 0;
    case 'v':
        if ((v = word_of(optarg, token_level_words)) < 0) return usage("there is no tracking level", optarg) + 1;
        o->t.level = (uint8_t)v;
        return 0;
    case 'b':
        o->base = optarg;
        return base_ok(optarg) ? 0 : usage("--base is an absolute http or https address without ? and #", optarg) + 1;
    case 'k':
        if ((v = word_of(optarg, token_kind_words)) < 0) return usage("there is no kind of link", optarg) + 1;
        o->kind = v + 1;
        return 0;
    case 's': o->state = optarg; return 0;
    case 'd': o->conf = optarg; return 0;
    case 'n': o->new_key = true; return 0;
    case 'h': fputs(HELP, stdout); return 1;
    default: return usage("unknown option or missing value", "") + 1;
    }
}

/* -1 = go on, else exit status. */
static int read_options(int argc, char **argv, struct order *o) {
    static const struct option options[] = {{"campaign", 1, NULL, 'c'}, {"recipient", 1, NULL, 'r'}, {"link", 1, NULL, 'l'},
                                            {"url", 1, NULL, 'u'},      {"level", 1, NULL, 'v'},     {"base", 1, NULL, 'b'},
                                            {"kind", 1, NULL, 'k'},     {"state", 1, NULL, 's'},     {"new-key", 0, NULL, 'n'},
                                            {"conf", 1, NULL, 'd'},     {"help", 0, NULL, 'h'},      {NULL, 0, NULL, 0}};
    opterr = 0;
    for (int c, rc; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if ((rc = take(o, c)) != 0) return rc - 1;
    if (optind < argc) return usage("what is this", argv[optind]);
    if (o->new_key) return -1;
    if (!o->has_campaign || !o->has_recipient) return usage("--campaign and --recipient are needed", "");
    if (o->kind == TOKEN_CLICK && o->url == NULL) return usage("a click needs --url", "");
    return -1;
}

/* An entry of CONF/NAME, or of the installed tree's CONF/FOLDER/NAME. value stays as it is where there is no such file, and becomes ""
 * where the file has no such entry. place: "FILE:LINE" of the entry. */
static bool entry_of(const char *conf, const char *folder, const char *name, const char *key, char value[1100], char place[1200],
                     struct err *e) {
    struct buf text = {0};
    struct ini ini = {0};
    char path[1100];
    snprintf(path, sizeof path, "%.800s/%s", conf, name);
    if (access(path, F_OK) != 0) snprintf(path, sizeof path, "%.800s/%s/%s", conf, folder, name);
    if (access(path, F_OK) != 0 && errno != EACCES) return true;
    bool fine = file_read(path, INI_MAX_BYTES, &text, e) && ini_parse(text.p, text.n, path, &ini, e);
    const struct ini_entry *x = fine ? ini_find(&ini, key) : NULL;
    if (fine) snprintf(value, 1100, "%s", x ? x->value : "");
    for (size_t n = strlen(value); fine && n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'); n--) value[n - 1] = '\0';
    if (x) snprintf(place, 1200, "%s:%u", path, x->line);
    ini_finish(&ini);
    buf_free(&text);
    return fine;
}

/* Where no --base says how recipients reach the tracker, the configuration does. */
static bool find_base(struct order *o, char base[1100], struct err *e) {
    char value[1100] = "", place[1200] = "";
    uint64_t port = 8080;
    struct stat st;
    const char *conf = o->conf ? o->conf : stat("./conf", &st) == 0 && S_ISDIR(st.st_mode) ? "./conf" : "/etc/portreeve";
    if (o->conf && stat(conf, &st) != 0)
        return err_set(e, "%s: %s; give the configuration folder with --conf", conf, strerrordesc_np(errno));
    if (!entry_of(conf, "lui", "lui.ini", "UrlForRecipients", value, place, e)) return false;
    if (value[0] && !base_ok(value))
        return err_at(e, place, 0, "UrlForRecipients=%.200s: not an absolute http or https address without ? and #", value);
    if (value[0]) {
        snprintf(base, 1100, "%s", value);
    } else {
        strcpy(value, "8080");
        if (!entry_of(conf, "conf", "tomcat.ini", "Port", value, place, e)) return false;
        if (value[0] == '\0') port = 80;
        else if (!whole(value, &port) || port > 65535 || port == 0)
            return err_at(e, place, 0, "Port=%.200s is not a number: say how recipients reach the tracker with --base or UrlForRecipients",
                          value);
        snprintf(base, 1100, port == 80 ? "http://localhost" : "http://localhost:%u", (unsigned)port);
    }
    o->base = base;
    return true;
}

/* The ring's path; the folder is made where it is missing. Run by root, the files become those of the state folder's owner, or the server
 * could not read them. */
static bool ring_path(const char *state, char path[4096], struct stat *owner, struct err *e) {
    if (stat(state, owner) != 0 || !S_ISDIR(owner->st_mode))
        return err_set(e, "%s: there is no such state folder; name the server's with --state", state);
    if (snprintf(path, 4096, "%s/keys", state) >= 4000) return err_set(e, "%.100s…: path too long", state);
    if (mkdir(path, 0700) == 0) {
        if (geteuid() == 0 && chown(path, owner->st_uid, owner->st_gid) != 0)
            return err_set(e, "%s: chown: %s", path, strerrordesc_np(errno));
    } else if (errno != EEXIST) {
        return err_set(e, "%s: cannot make the folder: %s", path, strerrordesc_np(errno));
    }
    if (token_ring_at(state, path, 4096) == RING_GONE)
        return err_set(e, "%s: the file with the tracking keys is gone, though this server has been in use: put it back from the backup",
                       path);
    return true;
}

static bool give_back(const char *path, const struct stat *owner, struct err *e) {
    struct stat st;
    if (geteuid() != 0 || (stat(path, &st) == 0 && st.st_uid == owner->st_uid)) return true;
    return chown(path, owner->st_uid, owner->st_gid) == 0 || err_set(e, "%s: chown: %s", path, strerrordesc_np(errno));
}

static bool add_percent(struct buf *out, const char *s) {
    bool fine = true;
    for (; *s != '\0' && fine; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~:/", c) != NULL;
        fine = plain ? buf_add(out, s, 1) : buf_fmt(out, "%%%02X", c);
    }
    return fine;
}

static bool add_address(struct token_ctx *c, const struct order *o, int kind, struct buf *out, struct err *e) {
    struct token t = o->t;
    char text[TOKEN_MAX];
    size_t base_n = strlen(o->base);
    bool click = kind == TOKEN_CLICK;
    t.kind = (uint8_t)kind;
    if (kind == TOKEN_OPEN || kind == TOKEN_UNSUB || kind == TOKEN_TRAP) t.link = 0;
    if (token_seal(c, &t, click ? o->url : NULL, click ? strlen(o->url) : 0, text, e) < 0) return false;
    while (base_n > 0 && o->base[base_n - 1] == '/') base_n--;
    bool fine = buf_add(out, o->base, base_n) && buf_str(out, paths[kind - 1]) && buf_str(out, text) &&
                (kind != TOKEN_OPEN || buf_str(out, ".gif")) && (!click || (buf_str(out, "?u=") && add_percent(out, o->url)));
    return fine || err_set(e, "out of memory");
}

static bool add_member(struct token_ctx *c, const struct order *o, int kind, struct buf *json, struct err *e) {
    struct buf address = {0};
    bool fine = add_address(c, o, kind, &address, e);
    if (fine)
        fine = (buf_fmt(json, "%s\"%s\": ", json->n > 1 ? ", " : "", token_kind_words[kind - 1]) && buf_json(json, address.p, address.n)) ||
               err_set(e, "out of memory");
    if (fine && kind == TOKEN_UNSUB && o->kind == 0) {
        struct buf header = {0};
        fine = (buf_fmt(&header, "<%.*s>", (int)address.n, address.p) && buf_str(json, ", \"headers\": {\"List-Unsubscribe\": ") &&
                buf_json(json, header.p, header.n) && buf_str(json, ", \"List-Unsubscribe-Post\": \"List-Unsubscribe=One-Click\"}")) ||
               err_set(e, "out of memory");
        buf_free(&header);
    }
    buf_free(&address);
    return fine;
}

static bool mint(const struct order *o, const char *path, struct buf *json, struct err *e) {
    struct token_ring *ring = token_ring_load(path, true, e);
    struct token_ctx *c = ring == NULL ? NULL : token_ctx_create(ring);
    bool fine = c != NULL || (ring == NULL ? false : err_set(e, "out of memory"));
    if (fine) fine = buf_str(json, "{");
    static const int usual[] = {TOKEN_OPEN, TOKEN_CLICK, TOKEN_UNSUB};
    for (unsigned i = 0; fine && o->kind == 0 && i < 3; i++)
        if (usual[i] != TOKEN_CLICK || o->url != NULL) fine = add_member(c, o, usual[i], json, e);
    if (fine && o->kind != 0) fine = add_member(c, o, o->kind, json, e);
    token_ctx_free(c);
    token_ring_free(ring);
    return fine && (buf_str(json, "}\n") || err_set(e, "out of memory"));
}

int cmd_mint(int argc, char **argv) {
    struct order o = {.t = {.level = LEVEL_PERSONAL}};
    o.t.minute = (uint32_t)((clock_real_ms() / 1000 - 1577836800) / 60); /* minutes since 2020-01-01 */
    int rc = read_options(argc, argv, &o);
    if (rc >= 0) return rc;
    char path[4096], base[1100];
    struct err e = {""};
    struct stat owner;
    struct buf json = {0};
    bool fine = ring_path(cmd_state(o.state), path, &owner, &e) && (o.new_key || o.base || find_base(&o, base, &e));
    if (fine) fine = o.new_key ? token_ring_rotate(path, &e) : mint(&o, path, &json, &e);
    if (fine) fine = give_back(path, &owner, &e);
    if (fine && o.new_key) printf("a new key signs from now on: %s. Tell a running server: portreeve reload\n", path);
    if (fine && !o.new_key) fwrite(json.p, 1, json.n, stdout);
    buf_free(&json);
    if (fine && fflush(stdout) != 0) fine = err_set(&e, "cannot write: %s", strerrordesc_np(errno));
    if (!fine) fprintf(stderr, "portreeve mint: %s\n", e.text);
    return fine ? 0 : 1;
}
