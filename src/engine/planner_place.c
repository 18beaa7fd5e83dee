#include "engine/planner.h"
#include "plan/ini.h"
#include <stdio.h>
#include <string.h>

/* The entry in force that says `value` of this socket: its row's, else its listener's. */
static const struct ini_entry *entry_of(const struct ini *ini, const struct plan_socket *s, const char *word, const char *value) {
    char key[2 * PLAN_NAME + 40];
    const char *dot = strrchr(s->because.entry, '.');
    int row = dot ? (int)(dot - s->because.entry) : 0;
    for (unsigned own = 1; own < 2; own--) {
        if (own) snprintf(key, sizeof key, "%.*s.%s", row, s->because.entry, word);
        else snprintf(key, sizeof key, "%s.%s", s->name, word);
        const struct ini_entry *found = ini_find(ini, key);
        if (found) return strcmp(found->value, value) == 0 ? found : NULL;
    }
    return NULL;
}

void planner_place(const struct planner *p, const struct plan_socket *s, const char *word, const char *value, char *out, size_t cap) {
    const char *text = NULL;
    const struct bundle_file *f = bundle_writer_find(p->files, "listeners.ini", &text);
    struct ini ini = {0};
    struct err e;
    const struct ini_entry *found = f && ini_parse(text, f->size, f->display, &ini, &e) ? entry_of(&ini, s, word, value) : NULL;
    if (found) snprintf(out, cap, "%s:%u: %s=%s", f->display, found->line, found->key, value);
    else snprintf(out, cap, "%s:%u: %s", s->because.file, s->because.line, s->because.entry);
    ini_finish(&ini);
}
