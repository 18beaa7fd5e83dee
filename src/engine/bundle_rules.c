#include "engine/bundle_rules.h"
#include <string.h>

static bool load_lists(const struct bundle *b, struct lists *l, struct err *e) {
    for (unsigned i = 0; i < bundle_count(b); i++) {
        const struct bundle_file *f = bundle_at(b, i);
        if (strncmp(f->path, "sets/", 5) != 0) continue;
        const struct pset *set = pset_check(bundle_text(b, f), f->size, f->display, e);
        if (!set || !lists_add(l, f->path + 5, set, e)) return false;
    }
    return true;
}

bool bundle_rules_create(struct bundle_rules *r, int fd, const struct plan *plan, const char *luadir, struct err *e) {
    memset(r, 0, sizeof *r);
    if (!(r->bundle = bundle_map(fd, e)) || !load_lists(r->bundle, &r->lists, e)) return false;
    struct hooks_config cfg = {.bundle = r->bundle, .plan = plan, .lists = &r->lists, .luadir = luadir, .health = &r->health};
    r->hooks = hooks_create(&cfg, e);
    return r->hooks != NULL;
}

void bundle_rules_finish(struct bundle_rules *r) {
    hooks_destroy(r->hooks);
    lists_finish(&r->lists);
    bundle_unmap(r->bundle);
    memset(r, 0, sizeof *r);
}
