/* Entries that the console or the hub wants changed (--edit, --edit-remove): put into the text of their file before anything reads it, so
 * that the whole gate judges what will be written. */
#include "engine/planner.h"
#include "plan/ini_edit.h"
#include <stdlib.h>
#include <string.h>

/* FILE:ENTRY[=VALUE] of this file? Then the entry begins there. */
static const char *entry_of(const char *edit, const char *file) {
    size_t n = strlen(file);
    return strncmp(edit, file, n) == 0 && edit[n] == ':' ? edit + n + 1 : NULL;
}

/* An override stands above the file for as long as this supervisor lives: what is written below it would not come into force. */
static bool overridden(struct planner *p, const char *file, const char *entry, size_t n) {
    for (unsigned i = 0; i < p->nsets; i++) {
        const char *set = entry_of(p->set[i], file);
        bool section = n > 2 && memcmp(entry + n - 2, ".*", 2) == 0;
        if (!set || strncmp(set, entry, section ? n - 1 : n) != 0 || (!section && set[n] != '=')) continue;
        planner_error(p,
                      "%s: %.*s: portreeve was started with --set %s, which stands above the file: start it without, then change the entry",
                      file, (int)n, entry, p->set[i]);
        return true;
    }
    return false;
}

/* The changes of one file. Each text is cut in two at its `=`; true with *n of them. */
static bool collect(struct planner *p, const char *file, char **copy, struct ini_change *c, unsigned *n) {
    *n = 0;
    for (unsigned i = 0; i < p->nedits; i++) {
        const char *entry = entry_of(p->edit[i].text, file);
        if (!entry) continue;
        if (overridden(p, file, entry, strcspn(entry, "="))) return false;
        char *own = strdup(entry), *value = own ? strchr(own, '=') : NULL;
        copy[*n] = own;
        if (!own || (!p->edit[i].remove && !value)) {
            planner_error(p, "--edit %s: a change is written FILE:ENTRY=VALUE", p->edit[i].text);
            free(own);
            return false;
        }
        if (value) *value++ = '\0';
        c[(*n)++] = (struct ini_change){.entry = own, .value = p->edit[i].remove ? NULL : value};
    }
    return true;
}

static bool apply(struct planner *p, const char *display, const struct ini_change *c, unsigned n, struct buf *text) {
    struct buf made = {0}, said = {0};
    struct err e;
    bool good = ini_edit(text->p ? text->p : "", text->n, display, c, n, &made, &said, &e);
    if (good && said.n && !buf_add(&p->edited, said.p, said.n)) good = err_set(&e, "%s: out of memory", display);
    if (!good) planner_error(p, "%s", e.text);
    buf_free(&said);
    buf_free(good ? text : &made);
    if (good) *text = made;
    return good;
}

bool planner_edit(struct planner *p, const char *logical, const char *display, bool there, struct buf *text) {
    char *copy[PLANNER_EDITS];
    struct ini_change c[PLANNER_EDITS];
    unsigned n = 0;
    bool good = collect(p, logical, copy, c, &n);
    if (good && n && strcmp(logical, "listeners.ini") == 0) {
        p->edits_listeners = true;
        buf_clear(&p->unedited);
        if (!buf_add(&p->unedited, text->p ? text->p : "", text->n)) {
            planner_error(p, "%s: out of memory", display);
            good = false;
        }
    }
    bool edited = good && n && apply(p, display, c, n, text);
    for (unsigned i = 0; i < n; i++) free(copy[i]);
    return there || edited;
}

static bool is_about(const char *edit, const char *listener) {
    const char *entry = entry_of(edit, "listeners.ini");
    size_t n = strlen(listener);
    return entry && strncmp(entry, listener, n) == 0 && entry[n] == '.';
}

/* Whoever may say where tunnels lead, who may use them and what a backend is told of its callers reaches every server that this one can, and
 * lets others in there: that is for the machine's own administrator, who may hand it on (TunnelEdits). Said once, where the edit makes the
 * tunnel if it does. */
void planner_edit_closed(struct planner *p, const char *listener) {
    const char *found = NULL;
    for (unsigned i = 0; i < p->nedits; i++)
        if (is_about(p->edit[i].text, listener) && (!found || strstr(p->edit[i].text, ".Services="))) found = p->edit[i].text;
    const char *entry = found ? entry_of(found, "listeners.ini") : NULL;
    if (!entry) return;
    planner_error(
        p,
        "listeners.ini: %.*s: %s carries a tunnel, and nothing of such a listener is changed from hub and console here: edit the file "
        "and reload, or write TunnelEdits=On into portreeve.ini",
        (int)strcspn(entry, "="), entry, listener);
}

/* A bind policy may make tunnels of what does not look like one. */
void planner_edit_plan(struct planner *p) {
    for (uint32_t i = 0; i < p->plan.nsockets && p->nedits && !p->tunnel_edits && !p->errors; i++)
        if (p->plan.socket[i].services & SVC_TUNNELS) planner_edit_closed(p, p->plan.socket[i].name);
}
