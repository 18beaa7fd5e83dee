/* The scripts that listeners name: are they there, and are they scripts? */
#include "engine/planner_vm.h"
#include "script/scripts.h"
#include <stdio.h>
#include <string.h>

static bool told_before(const struct plan *p, uint32_t i) {
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(p->socket[k].script, p->socket[i].script) == 0) return true;
    return false;
}

static void try_script(struct planner *p, const struct bundle_file *f, const char *text) {
    struct err e;
    struct vm *v = planner_policy_vm(p, &e);
    bool good = v && vm_policy(v, text, f->size, f->display, &e) && script_check(v, f->display, &e);
    if (!good) planner_error(p, "%s", e.text);
    vm_destroy(v);
}

static void say_missing(struct planner *p, const struct plan_socket *s) {
    char place[PLAN_PATH + 300];
    planner_place(p, s, "Script", s->script, place, sizeof place);
    planner_error(p, "%s: listener %s wants the script %s, but there is no file %s.lua among the policies", place, s->name, s->script,
                  s->script);
}

void planner_scripts(struct planner *p) {
    char path[BUNDLE_PATH];
    for (uint32_t i = 0; i < p->plan.nsockets; i++) {
        const struct plan_socket *s = &p->plan.socket[i];
        if (!s->script[0] || told_before(&p->plan, i)) continue;
        const char *text = NULL;
        snprintf(path, sizeof path, "policies/%.200s.lua", s->script);
        const struct bundle_file *f = bundle_writer_find(p->files, path, &text);
        if (!f) say_missing(p, s);
        else if (!p->again) try_script(p, f, text);
    }
}
