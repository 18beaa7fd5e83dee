/* The CAs that callers' certificates must come from: their files go into the bundle, each once, so that the engine needs no file. */
#include "engine/planner.h"
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define CA_FILE_MAX (256u << 10) /* 64 CAs with long keys and comments are well below */

/* By the name as written: a run of the same bundle must find it whatever folder it stands in. */
static void logical_of(const char *file, char out[BUNDLE_PATH]) {
    unsigned char md[SHA256_DIGEST_LENGTH];
    int n = snprintf(out, BUNDLE_PATH, "certs/clients-");
    SHA256((const unsigned char *)file, strlen(file), md);
    for (int i = 0; i < 16; i++) n += snprintf(out + n, 3, "%02x", md[i]);
}

static bool read_into(struct planner *p, const char *file, const char *logical, struct err *e) {
    char path[PLANNER_PATH + PLAN_PATH];
    struct buf text = {0};
    uint32_t mode = 0;
    bool absent;
    snprintf(path, sizeof path, "%s%s%s", file[0] == '/' ? "" : p->certs_dir, file[0] == '/' ? "" : "/", file);
    size_t n = strlen(path);
    const char *display = n < BUNDLE_PATH ? path : path + n - BUNDLE_PATH + 1;
    bool good = planner_read_file(path, CA_FILE_MAX, false, &text, &mode, &absent, e) &&
                bundle_add(p->files, logical, display, text.p ? text.p : "", text.n, mode, e);
    if (good && (mode & 002))
        planner_warn(p, "%s: everybody on this machine may change which callers are trusted: chmod o-w %s", path, path);
    buf_free(&text);
    return good;
}

void planner_client_take(struct planner *p, const char *file) {
    char logical[BUNDLE_PATH];
    struct err e;
    if (p->again && !p->nedits) return; /* nothing is read from disk */
    logical_of(file, logical);
    if (!bundle_writer_find(p->files, logical, NULL)) (void)read_into(p, file, logical, &e); /* where the plan needs it this is said */
}

static bool find(struct planner *p, const struct plan_socket *s, const char *logical) {
    char place[PLAN_PATH + 300];
    struct err e;
    if (bundle_writer_find(p->files, logical, NULL)) return true;
    if (p->again && !p->nedits)
        err_set(&e, "it was not readable when this generation was read, and is needed now: `portreeve reload` reads it");
    else if (read_into(p, s->client_ca, logical, &e)) return true;
    planner_place(p, s, "ClientCA", s->client_ca, place, sizeof place);
    planner_error(p, "%s: %s", place, e.text);
    return false;
}

void planner_clients(struct planner *p) {
    char logical[BUNDLE_PATH];
    const char *as_written = "", *kept = "";
    for (uint32_t i = 0; i < p->plan.nsockets; i++) {
        struct plan_socket *s = &p->plan.socket[i];
        if (!s->client_ca[0]) continue;
        if (strcmp(s->client_ca, as_written) != 0) {
            logical_of(s->client_ca, logical);
            if (!find(p, s, logical)) return;
            as_written = s->client_ca;
            kept = texts_add(&p->plan.texts, logical, strlen(logical));
            if (!kept) {
                planner_error(p, "out of memory");
                return;
            }
        }
        s->client_ca = kept;
    }
}
