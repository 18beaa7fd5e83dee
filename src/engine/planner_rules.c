/* The configuration as portreeve.rules reads it, and what the plan takes from it beside sockets: settings, components, certificates, lists
 * within entries. */
#include "engine/planner_ahead.h"
#include "engine/planner_vm.h"
#include "script/vm.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CERTS   4096
#define PASSWORD_MAX 4096

/* { ["tomcat.ini"] = { text =, display = }, … } of every INI file, services and the overrides, as hooks_push_conf makes it from a bundle. */
static void push_texts(lua_State *L, const struct planner *p) {
    static const char *const names[] = {"tomcat.ini",    "hub.ini",       "lui.ini",          "tracker.ini", "ssl.ini", "my.ini",
                                        "listeners.ini", "portreeve.ini", "certificates.ini", "services",    "--set"};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text;
        const struct bundle_file *f = bundle_writer_find(p->files, names[i], &text);
        if (!f) continue;
        lua_createtable(L, 0, 2);
        lua_pushlstring(L, text, f->size);
        lua_setfield(L, -2, "text");
        lua_pushstring(L, f->display);
        lua_setfield(L, -2, "display");
        lua_setfield(L, -2, names[i]);
    }
}

/* Call portreeve.rules.NAME with the value on top (replaced by nresults). */
static bool call_rules(struct vm *v, const char *name, int nresults, struct err *e) {
    lua_State *L = vm_lua(v);
    if (!vm_require(v, "portreeve.rules", e)) return false;
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_insert(L, -2);
    return vm_call(v, 1, nresults, e);
}

void planner_messages(struct planner *p, lua_State *L, const char *field, bool error) {
    lua_getfield(L, -1, field);
    for (lua_Unsigned i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        const char *s = lua_tostring(L, -1);
        if (s && error) planner_error(p, "%s", s);
        else if (s) planner_warn(p, "%s", s);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

bool planner_push_rules(struct planner *p, struct vm *v, bool report, struct err *e) {
    lua_State *L = vm_lua(v);
    push_texts(L, p);
    if (!call_rules(v, "read", 2, e)) return false;
    if (report) {
        planner_messages(p, L, "errors", true);
        if (!p->again || p->nedits) planner_messages(p, L, "warnings", false);
        lua_getfield(L, -1, "more");
        if (!p->again || p->nedits) p->hidden += (unsigned)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

/* A text field of the table on top; nil leaves out empty. */
static bool text_field(struct planner *p, lua_State *L, const char *name, const char *place, char *out, size_t cap) {
    size_t n = 0;
    lua_getfield(L, -1, name);
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : "";
    bool good = n < cap && strlen(s) == n;
    if (good) memcpy(out, s, n + 1);
    else planner_error(p, "%s: %s is longer than %zu bytes or holds a NUL", place, name, cap - 1);
    lua_pop(L, 1);
    return good;
}

/* The first line of the password file; the file goes into the bundle, since another plan may be made of it. */
static void take_password(struct planner *p, struct plan_cert *c, const char *place, const char *file) {
    char path[PLANNER_PATH * 2], logical[BUNDLE_PATH];
    struct buf text = {0};
    struct err e;
    const char *kept = NULL;
    uint32_t mode = 0;
    bool absent;
    snprintf(path, sizeof path, "%s%s%s", file[0] == '/' ? "" : p->certs_dir, file[0] == '/' ? "" : "/", file);
    snprintf(logical, sizeof logical, "certs/%s.password", c->name);
    const struct bundle_file *f = p->again ? bundle_writer_find(p->files, logical, &kept) : NULL;
    bool good = p->again ? f && buf_add(&text, kept, f->size) : planner_read_file(path, PASSWORD_MAX, false, &text, &mode, &absent, &e);
    if (good && !p->again)
        good = bundle_add(p->files, logical, strlen(path) < BUNDLE_PATH ? path : "password file", text.p ? text.p : "", text.n, mode, &e);
    if (!good && !p->again) planner_error(p, "%s: %s.PasswordFile: %s", place, c->name, e.text);
    else if (mode & 077) planner_warn(p, "%s: %s.PasswordFile: others than its owner may read %s: chmod 600", place, c->name, path);
    size_t n = 0; /* a file of one line */
    while (n < text.n && text.p[n] && text.p[n] != '\r' && text.p[n] != '\n') n++;
    if (n < sizeof c->password) memcpy(c->password, text.p ? text.p : "", n);
    else planner_error(p, "%s: %s.PasswordFile: the password is longer than %zu bytes", place, c->name, sizeof c->password - 1);
    if (text.p) explicit_bzero(text.p, text.cap);
    buf_free(&text);
}

static bool keep_text(struct planner *p, const char *text, const char **out) {
    const char *kept = texts_add(&p->plan.texts, text, strlen(text));
    if (kept) *out = kept;
    else planner_error(p, "out of memory");
    return kept != NULL;
}

static void take_cert(struct planner *p, lua_State *L, struct plan_cert *c) {
    char place[PLAN_PATH + PLAN_NAME + 32], file[PLAN_PATH], entry[PLAN_NAME], password_file[PLANNER_PATH];
    c->because = (struct plan_because)PLAN_BECAUSE_BLANK;
    lua_getfield(L, -1, "line");
    c->because.line = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (!text_field(p, L, "file", "certificates.ini", file, sizeof file)) return;
    snprintf(place, sizeof place, "%s:%" PRIu32, file, c->because.line);
    bool good = text_field(p, L, "name", place, c->name, sizeof c->name) && text_field(p, L, "entry", place, entry, sizeof entry) &&
                keep_text(p, file, &c->because.file) && keep_text(p, entry, &c->because.entry) &&
                text_field(p, L, "certificate", place, c->chain, sizeof c->chain) &&
                text_field(p, L, "key", place, c->key, sizeof c->key) && text_field(p, L, "names", place, c->names, sizeof c->names) &&
                text_field(p, L, "password", place, c->password, sizeof c->password) &&
                text_field(p, L, "password_file", place, password_file, sizeof password_file);
    const struct bundle_file *ini = bundle_writer_find(p->files, "certificates.ini", NULL);
    if (good && c->password[0] && ini && (ini->mode & 007))
        planner_warn(p, "%s: %s.Password: everybody on this machine may read it: chmod o= %s, or use PasswordFile", place, c->name,
                     ini->display);
    if (good && password_file[0]) take_password(p, c, place, password_file);
}

static void take_certs(struct planner *p, lua_State *L) {
    lua_getfield(L, -1, "certificates");
    lua_Unsigned n = lua_rawlen(L, -1);
    if (n > MOST_CERTS) planner_error(p, "certificates.ini: more than %d certificates", MOST_CERTS);
    else p->plan.cert = calloc(n ? n : 1, sizeof *p->plan.cert);
    for (lua_Unsigned i = 1; p->plan.cert && i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        take_cert(p, L, &p->plan.cert[p->plan.ncerts++]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Lists written into listeners.ini: { { name =, text =, file =, line = }, … }. */
static void take_inlines(struct planner *p, lua_State *L) {
    planner_inlines_finish(p);
    lua_getfield(L, -1, "lists");
    for (lua_Unsigned i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        lua_getfield(L, -1, "name");
        lua_getfield(L, -2, "text");
        lua_getfield(L, -3, "file");
        lua_getfield(L, -4, "line");
        if (!planner_inline_add(p, lua_tostring(L, -4), lua_tostring(L, -3), lua_tostring(L, -2), (unsigned)lua_tointeger(L, -1)))
            planner_error(p, "out of memory");
        lua_pop(L, 5);
    }
    lua_pop(L, 1);
}

static void take_client_files(struct planner *p, lua_State *L) {
    lua_getfield(L, -1, "client_files");
    for (lua_Unsigned i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        planner_client_take(p, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Which listeners the edits must leave alone. The rules are on top and stay. */
static bool take_closed(struct planner *p, struct vm *v, struct err *e) {
    lua_State *L = vm_lua(v);
    lua_newtable(L);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "now");
    push_texts(L, p);
    lua_getfield(L, -1, "listeners.ini");
    if (lua_istable(L, -1)) {
        lua_pushlstring(L, p->unedited.p ? p->unedited.p : "", p->unedited.n);
        lua_setfield(L, -2, "text");
    }
    lua_pop(L, 1);
    lua_setfield(L, -2, "before");
    if (!call_rules(v, "closed_to_edits", 1, e)) return false;
    for (lua_Unsigned i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        planner_edit_closed(p, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

/* What the plan needs beside the sockets: settings, components, certificates, lists within entries. The rules are on top and stay. */
static bool take_rules(struct planner *p, struct vm *v, struct err *e) {
    lua_State *L = vm_lua(v);
    lua_pushvalue(L, -1);
    if (!call_rules(v, "for_gate", 1, e)) return false;
    lua_getfield(L, -1, "settings");
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) {
        int whole = 0;
        lua_getfield(L, -1, d->field);
        *plan_setting(&p->plan.set, d->field) = lua_tointegerx(L, -1, &whole);
        if (!whole)
            planner_error(p, "portreeve.ini: %s is missing from lua/portreeve/settings.lua: is the installation of one version?", d->entry);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    (void)text_field(p, L, "components", "portreeve.ini: Components", p->plan.components, sizeof p->plan.components);
    (void)text_field(p, L, "user", "portreeve.ini: User", p->user, sizeof p->user);
    take_certs(p, L);
    take_inlines(p, L);
    take_client_files(p, L);
    lua_getfield(L, -1, "tunnel_edits");
    p->tunnel_edits = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return !p->edits_listeners || take_closed(p, v, e);
}

static void read_rules(struct planner *p) {
    struct err e;
    struct vm *v = ahead_rules(p);
    if (!v) v = planner_vm(p, &e);
    unsigned before = p->errors;
    bool good = v && planner_push_rules(p, v, true, &e) && (p->errors > before || take_rules(p, v, &e));
    if (!good) planner_error(p, "%s", e.text);
    if (good && p->keep) lua_settop(vm_lua(v), 0);
    if (good && p->keep) p->keep->rules = v;
    else if (!p->ahead) vm_destroy(v);
}

void planner_rules(struct planner *p) {
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) *plan_setting(&p->plan.set, d->field) = d->dflt;
    read_rules(p);
}
