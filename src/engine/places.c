#include "engine/places.h"
#include "plan/ini.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct places {
    char file[BUNDLE_PATH];
    struct ini ini, set;            /* listeners.ini; what --set says, which stands above it: key FILE, value ENTRY=VALUE */
    const struct ini_entry **entry; /* of ini by key, later ones of a key in front */
};

static bool read_ini(const struct bundle *b, const char *path, struct ini *out, const char **display, struct err *e) {
    const struct bundle_file *f = bundle_find(b, path);
    *display = f ? f->display : "";
    return !f || ini_parse(bundle_text(b, f), f->size, f->display, out, e);
}

static int by_key(const void *a, const void *b) {
    const struct ini_entry *x = *(const struct ini_entry *const *)a, *y = *(const struct ini_entry *const *)b;
    int c = strcmp(x->key, y->key);
    return c ? c : x->line > y->line ? -1 : x->line < y->line;
}

struct places *places_create(const struct bundle *b, struct err *e) {
    struct places *p = calloc(1, sizeof *p);
    const char *display, *ignored;
    if (!p) return (void)err_set(e, "out of memory"), NULL;
    bool good = read_ini(b, "listeners.ini", &p->ini, &display, e) && read_ini(b, "--set", &p->set, &ignored, e);
    if (good && !(p->entry = calloc(p->ini.n + 1u, sizeof *p->entry))) good = err_set(e, "out of memory");
    if (!good) {
        places_destroy(p);
        return NULL;
    }
    snprintf(p->file, sizeof p->file, "%s", display);
    for (uint32_t i = 0; i < p->ini.n; i++) p->entry[i] = &p->ini.entry[i];
    qsort(p->entry, p->ini.n, sizeof *p->entry, by_key);
    return p;
}

void places_destroy(struct places *p) {
    if (!p) return;
    ini_finish(&p->ini);
    ini_finish(&p->set);
    free(p->entry);
    free(p);
}

static bool overridden(const struct places *p, const char *key) {
    size_t n = strlen(key);
    for (uint32_t i = 0; i < p->set.n; i++) {
        const struct ini_entry *x = &p->set.entry[i];
        if (strcmp(x->key, "listeners.ini") == 0 && strncmp(x->value, key, n) == 0 && x->value[n] == '=') return true;
    }
    return false;
}

static bool look(const struct places *p, const char *prefix, size_t prefix_n, const char *word, size_t word_n, struct decision *d) {
    char key[2 * PLAN_NAME + 8];
    if (prefix_n + word_n + 2 > sizeof key) return false;
    snprintf(key, sizeof key, "%.*s.%.*s", (int)prefix_n, prefix, (int)word_n, word);
    if (overridden(p, key)) {
        d->entry_file = "--set";
        return true;
    }
    uint32_t low = 0, high = p->ini.n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (strcmp(p->entry[mid]->key, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == p->ini.n || strcmp(p->entry[low]->key, key) != 0) return false;
    d->entry_file = p->file;
    d->entry_line = p->entry[low]->line;
    return true;
}

/* A row of the listener may have the entry for itself; then it counts. */
static bool look_both(const struct places *p, const struct plan_socket *s, const char *word, size_t n, struct decision *d) {
    const char *own = s->because.entry, *dot = strrchr(own, '.');
    if (dot && strcmp(own, s->name) != 0 && look(p, own, (size_t)(dot - own), word, n, d)) return true;
    return look(p, s->name, strlen(s->name), word, n, d);
}

void places_find(const struct places *p, const struct plan_socket *s, const struct verdict *v, struct decision *d) {
    static const char *const restricts[] = {"List", "Restriction"};
    if (!p || (v->list[0] && strcmp(v->because, v->list) == 0)) return; /* the line of a list has decided, as for most who are refused */
    size_t n =
        strspn(v->because, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"); /* "MaxPerAddress=3 of listener few" */
    if (n && v->because[n] == '=' && look_both(p, s, v->because, n, d)) return;
    if (v->refusal == REFUSE_PROXY) look_both(p, s, "Proxy", 5, d);
    if (v->refusal != REFUSE_RESTRICTION || v->list[0]) return;
    for (unsigned i = 0; i < 2; i++)
        if (look_both(p, s, restricts[i], strlen(restricts[i]), d)) return;
}
