/* Certificates: their files go into the bundle, so that a restarted engine has what the gate has seen. */
#include "engine/planner.h"
#include "net/tls.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CERT_MAX (1u << 20)

static bool any_https(const struct plan *p) {
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (p->socket[i].scheme == SCHEME_HTTPS) return true;
    return false;
}

/* Read the file an entry names into the bundle; `field` becomes its path there. secret: others must not read it. */
static void take(struct planner *p, struct plan_cert *c, char field[PLAN_PATH], const char *entry, const char *kind, bool secret) {
    char path[PLANNER_PATH + PLAN_PATH], logical[BUNDLE_PATH];
    const char *file = c->because.file;
    struct buf text = {0};
    struct err e;
    uint32_t mode = 0;
    bool absent;
    if (field[0] == '/') snprintf(path, sizeof path, "%s", field);
    else snprintf(path, sizeof path, "%s/%s", p->certs_dir, field);
    snprintf(logical, sizeof logical, "certs/%s.%s", c->name, kind);
    size_t n = strlen(path);
    const char *display = n < BUNDLE_PATH ? path : path + n - BUNDLE_PATH + 1;
    bool good = planner_read_file(path, CERT_MAX, false, &text, &mode, &absent, &e) &&
                bundle_add(p->files, logical, display, text.p ? text.p : "", text.n, mode, &e);
    if (!good) planner_error(p, "%s:%u: %s.%s=%s: %s", file, c->because.line, c->name, entry, field, e.text);
    else if (secret && (mode & 007))
        planner_warn(p, "%s:%u: %s.%s=%s: everybody on this machine may read the key: chmod 600 %s", file, c->because.line, c->name, entry,
                     field, path);
    snprintf(field, PLAN_PATH, "%.*s", PLAN_PATH - 1, logical);
    if (text.p) explicit_bzero(text.p, text.cap);
    buf_free(&text);
}

/* Certificate=development: one made by ourselves, kept below the state folder. */
static void development(struct planner *p, struct plan_cert *c) {
    char dir[PLANNER_PATH], path[PLANNER_PATH + 32];
    struct err e;
    bool have = p->state && (size_t)snprintf(dir, sizeof dir, "%s/keys", p->state) < sizeof dir;
    snprintf(path, sizeof path, "%s/development.pem", have ? dir : "");
    if (have && p->may_write) {
        bool made =
            (mkdir(dir, 0700) == 0 || errno == EEXIST || err_set(&e, "%s: %s", dir, strerror(errno))) && tls_make_development(path, &e);
        if (!made) planner_error(p, "%s:%u: %s.Certificate=development: %s", c->because.file, c->because.line, c->name, e.text);
        if (!made) return;
    } else if (!have || access(path, F_OK) != 0) {
        snprintf(p->unmade, sizeof p->unmade, "%s", c->name);
        snprintf(c->chain, sizeof c->chain, "certs/%s.chain", c->name);
        return;
    }
    char field[PLAN_PATH];
    char *real = path[0] == '/' ? path : NULL;
    char absolute[PLANNER_PATH * 2];
    if (!real && getcwd(absolute, PLANNER_PATH)) { /* --state is relative to where we stand, unlike the names in certificates.ini */
        size_t n = strlen(absolute);
        snprintf(absolute + n, sizeof absolute - n, "/%s", path);
        real = absolute;
    }
    if (!real || strlen(real) >= sizeof field) {
        planner_error(p, "%s: the path of the state folder is too long", path);
        return;
    }
    snprintf(field, sizeof field, "%.*s", PLAN_PATH - 1, real);
    take(p, c, field, "Certificate", "chain", true);
    snprintf(c->chain, sizeof c->chain, "%s", field);
}

/* An address that appears later may be the first with HTTPS: what can be read of the certificates is taken along, without complaints
 * about what nobody needs now. */
static void take_along(struct planner *p, const struct plan_cert *c, const char *field, const char *kind) {
    char path[PLANNER_PATH + PLAN_PATH], logical[BUNDLE_PATH];
    struct buf text = {0};
    struct err e;
    uint32_t mode = 0;
    bool absent;
    snprintf(path, sizeof path, "%s%s%s", field[0] == '/' ? "" : p->certs_dir, field[0] == '/' ? "" : "/", field);
    snprintf(logical, sizeof logical, "certs/%s.%s", c->name, kind);
    size_t n = strlen(path);
    if (planner_read_file(path, CERT_MAX, false, &text, &mode, &absent, &e))
        (void)bundle_add(p->files, logical, n < BUNDLE_PATH ? path : path + n - BUNDLE_PATH + 1, text.p ? text.p : "", text.n, mode, &e);
    if (text.p) explicit_bzero(text.p, text.cap);
    buf_free(&text);
}

static bool development_path(const struct planner *p, char out[PLANNER_PATH * 2]) {
    char here[PLANNER_PATH] = "";
    if (!p->state || (p->state[0] != '/' && !getcwd(here, sizeof here))) return false;
    return snprintf(out, PLANNER_PATH * 2, "%s%s%s/keys/development.pem", here, here[0] ? "/" : "", p->state) < PLAN_PATH;
}

static void take_all_along(struct planner *p) {
    char path[PLANNER_PATH * 2];
    for (uint32_t i = 0; i < p->plan.ncerts; i++) {
        const struct plan_cert *c = &p->plan.cert[i];
        if (strcmp(c->chain, "development") != 0) take_along(p, c, c->chain, "chain");
        else if (development_path(p, path)) take_along(p, c, path, "chain");
        if (c->key[0]) take_along(p, c, c->key, "key");
    }
}

static bool kept(const struct planner *p, const struct plan_cert *c) {
    char logical[BUNDLE_PATH];
    snprintf(logical, sizeof logical, "certs/%s.chain", c->name);
    return bundle_writer_find(p->files, logical, NULL) != NULL;
}

/* The files are where the first planner put them. */
static void find_again(struct planner *p, struct plan_cert *c, char field[PLAN_PATH], const char *kind) {
    char logical[BUNDLE_PATH];
    snprintf(logical, sizeof logical, "certs/%s.%s", c->name, kind);
    if (!bundle_writer_find(p->files, logical, NULL))
        planner_error(
            p, "%s:%u: certificate %s was not readable when this generation was read, and is needed now: `portreeve reload` reads it",
            c->because.file, c->because.line, c->name);
    snprintf(field, PLAN_PATH, "%.*s", PLAN_PATH - 1, logical);
}

static void find_both_again(struct planner *p, struct plan_cert *c) {
    find_again(p, c, c->chain, "chain");
    if (c->key[0]) find_again(p, c, c->key, "key");
}

void planner_certs(struct planner *p) {
    if (!any_https(&p->plan)) {
        if (!p->again) take_all_along(p);
        p->plan.ncerts = 0;
        return;
    }
    for (uint32_t i = 0; i < p->plan.ncerts; i++) {
        struct plan_cert *c = &p->plan.cert[i];
        if (p->again && (!p->nedits || kept(p, c))) {
            find_both_again(p, c);
            continue;
        }
        if (strcmp(c->chain, "development") == 0) {
            development(p, c);
            continue;
        }
        take(p, c, c->chain, "Certificate", "chain", !c->key[0]);
        if (c->key[0]) take(p, c, c->key, "Key", "key", true);
    }
}
