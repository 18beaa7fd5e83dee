/* Address lists become prefix sets here, once for everybody: the bundle carries the sets, and neither engine nor worker reads a list. A list that
 * is, with all it includes, the text that a planner has read before is not read again. */
#include "engine/planner_ahead.h"
#include "plan/alist.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fetch(void *ctx, const char *name, struct alist_text *out) {
    char path[BUNDLE_PATH];
    const char *text;
    snprintf(path, sizeof path, "lists/%.200s.list", name);
    const struct bundle_file *f = bundle_writer_find(((struct planner *)ctx)->files, path, &text);
    if (!f) return false;
    *out = (struct alist_text){.text = text, .n = f->size, .display = f->display, .hash = f->hash};
    return true;
}

const struct pset *planner_set(const struct planner *p, const char *name) {
    char path[BUNDLE_PATH];
    const char *image = NULL;
    snprintf(path, sizeof path, "sets/%.200s", name);
    const struct bundle_file *f = bundle_writer_find(p->files, path, &image);
    return f && f->size ? (const void *)image : NULL;
}

/* ---- what has been read before ---- */

static bool same_text(const struct planner *p, const char *display, const uint8_t hash[32]) {
    for (unsigned i = 0; i < p->nlists; i++)
        if (strcmp(p->list[i]->display, display) == 0) return memcmp(p->list[i]->hash, hash, 32) == 0;
    return false;
}

/* The same texts include the same lists, so what one text said before, with all of its sources, it says now. */
static bool still_good(const struct planner *p, const struct bundle_file *list, const struct pset *set) {
    size_t n = pset_sources(set);
    if (n == 0 || strcmp(pset_source(set, 0), list->display) != 0) return false;
    for (unsigned i = 0; i < n; i++)
        if (!same_text(p, pset_source(set, i), pset_source_hash(set, i))) return false;
    return true;
}

static const struct pset *known(const struct planner *p, const struct bundle_file *list, const char *path, const char *name) {
    const struct planner *did = p->ahead ? p->ahead->did : NULL;
    const struct pset *set = did && did->files ? planner_set(did, name) : NULL;
    if (set && still_good(p, list, set)) return set;
    const struct bundle_file *f = p->base ? bundle_find(p->base, path) : NULL;
    set = f ? pset_check(bundle_text(p->base, f), f->size, path, NULL) : NULL;
    return set && still_good(p, list, set) ? set : NULL;
}

/* ---- sets ---- */

/* One number for all that its texts say: the set's own file is compared by it, as every file is. Where they lie says nothing: a list in a copy of the
 * folder is the same list. */
static void hash_of(const struct pset *set, uint8_t out[32]) {
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1;
    for (unsigned i = 0; good && i < pset_sources(set); i++) good = EVP_DigestUpdate(c, pset_source_hash(set, i), 32) == 1;
    if (!good || EVP_DigestFinal_ex(c, out, NULL) != 1) memset(out, 0, 32);
    EVP_MD_CTX_free(c);
}

static void keep(struct planner *p, const char *name, const char *display, const struct pset *set) {
    char path[BUNDLE_PATH];
    uint8_t hash[32];
    struct err e;
    snprintf(path, sizeof path, "sets/%.200s", name);
    hash_of(set, hash);
    if (!bundle_add_hashed(p->files, path, display, set, pset_bytes(set), 0644, hash, &e)) planner_error(p, "%s", e.text);
}

static void make_set(struct planner *p, const struct bundle_file *list) {
    char name[BUNDLE_PATH], path[BUNDLE_PATH];
    const char *base = list->path + strlen("lists/");
    struct err e;
    snprintf(name, sizeof name, "%.*s", (int)(strlen(base) - strlen(".list")), base);
    snprintf(path, sizeof path, "sets/%.200s", name);
    const struct pset *before = known(p, list, path, name);
    struct pset *made = before ? NULL : alist_load(name, fetch, p, &e);
    if (before || made) keep(p, name, list->display, before ? before : made);
    else planner_error(p, "%s", e.text);
    pset_destroy(made);
}

/* A fault in an entry is told like any other: place, entry, what. */
static void say_entry(struct planner *p, const struct planner_inline *l, const char *text) {
    char place[PLANNER_PATH];
    int n = snprintf(place, sizeof place, "%s:%u: ", l->file, l->line);
    bool placed = n > 0 && strncmp(text, place, (size_t)n) == 0;
    planner_error(p, "%s%s: %s", place, l->name, placed ? text + n : text);
}

static void make_inline(struct planner *p, const struct planner_inline *l) {
    uint8_t hash[32];
    struct err e;
    if (EVP_Digest(l->text, strlen(l->text), hash, NULL, EVP_sha256(), NULL) != 1) memset(hash, 0, sizeof hash);
    struct pset *made = alist_inline(l->text, strlen(l->text), l->file, l->line, hash, &e);
    if (made) keep(p, l->name, l->file, made);
    else say_entry(p, l, e.text);
    pset_destroy(made);
}

void planner_sets(struct planner *p) {
    for (unsigned i = 0; !p->again && i < p->nlists; i++) make_set(p, p->list[i]);
    for (unsigned i = 0; i < p->ninlines; i++) make_inline(p, &p->inlines[i]);
    for (unsigned i = 0; !p->again && i < p->nlists; i++) bundle_forget(p->files, p->list[i]->path);
}

/* The file that a list was read from at the last change; NULL = it was read from none. */
static const char *file_before(const struct planner *p, const char *path) {
    const struct planner *did = p->ahead ? p->ahead->did : NULL;
    const char *image;
    const struct bundle_file *f = did && did->files ? bundle_writer_find(did->files, path, &image)
                                  : p->base         ? bundle_find(p->base, path)
                                                    : NULL;
    return f && strncmp(f->display, LIST_BUILT_IN, strlen(LIST_BUILT_IN)) != 0 ? f->display : NULL;
}

/* Lists that are there without a file change when theirs goes: `denied` then denies nobody. A list that is named in listeners.ini is missed by itself. */
void planner_miss_lists(struct planner *p) {
    for (unsigned i = 0; i < p->nlists; i++) {
        const struct bundle_file *list = p->list[i];
        if (strncmp(list->display, LIST_BUILT_IN, strlen(LIST_BUILT_IN)) != 0) continue;
        const char *before = file_before(p, list->path);
        if (before)
            planner_warn(p, "%s: the file is gone: the built-in list takes its place (%s); an empty file says that this is meant", before,
                         list->size ? "this machine alone" : "nobody is in it");
    }
}

static void say_missing(struct planner *p, const struct plan_socket *s, const char *word, const char *list, const char *does) {
    char place[PLAN_PATH + 300];
    for (unsigned i = 0; i < p->ninlines; i++)
        if (strcmp(p->inlines[i].name, list) == 0) return; /* it stands in the entry, and what is wrong with it has been said */
    planner_place(p, s, word, list, place, sizeof place);
    planner_error(p,
                  "%s: listener %s %s the address list %s, but there is no file lists/%s.list: make it, or write the addresses themselves",
                  place, s->name, does, list, list);
}

/* The list of those whose PROXY headers the i-th socket believes is there. Sockets alike are told of once. */
static void ask_for_devices(struct planner *p, uint32_t i) {
    char path[BUNDLE_PATH];
    const struct plan_socket *s = &p->plan.socket[i];
    bool told = i && s[-1].proxy && strcmp(s[-1].name, s->name) == 0 && strcmp(s[-1].proxy_from, s->proxy_from) == 0;
    snprintf(path, sizeof path, "sets/%s", s->proxy_from);
    if (!told && !bundle_writer_find(p->files, path, NULL)) say_missing(p, s, "ProxyFrom", s->proxy_from, "believes PROXY headers of");
}

/* Every list that a listener is restricted by is there. */
void planner_ask_for_lists(struct planner *p) {
    char path[BUNDLE_PATH];
    const struct plan_socket *last = NULL;
    for (uint32_t i = 0; i < p->plan.nsockets; i++) {
        const struct plan_socket *s = &p->plan.socket[i];
        if (s->proxy) ask_for_devices(p, i);
        if (s->restriction == RESTRICT_NONE) continue;
        snprintf(path, sizeof path, "sets/%s", s->list);
        bool told =
            last && strcmp(last->name, s->name) == 0 && strcmp(last->list, s->list) == 0; /* the listener's sockets stand together */
        last = s;
        if (!told && !bundle_writer_find(p->files, path, NULL)) say_missing(p, s, "List", s->list, "asks for");
    }
}

/* ---- lists within entries ---- */

bool planner_inline_add(struct planner *p, const char *name, const char *text, const char *file, unsigned line) {
    struct planner_inline *more = reallocarray(p->inlines, p->ninlines + 1, sizeof *more);
    if (!more) return false;
    p->inlines = more;
    more += p->ninlines;
    *more = (struct planner_inline){.line = line ? line : 1, .text = strdup(text)}; /* an override has no line */
    snprintf(more->name, sizeof more->name, "%s", name);
    snprintf(more->file, sizeof more->file, "%s", file);
    p->ninlines += more->text != NULL;
    return more->text;
}

void planner_inlines_finish(struct planner *p) {
    for (unsigned i = 0; i < p->ninlines; i++) free(p->inlines[i].text);
    free(p->inlines);
    p->inlines = NULL;
    p->ninlines = 0;
}
