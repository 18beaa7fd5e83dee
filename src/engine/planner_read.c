/* Reads every file once. What is in the bundle afterwards is what the generation lives on, whatever happens on disk. */
#include "engine/planner.h"
#include "plan/conffile.h"
#include "plan/ini.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLICY_MAX (1u << 20)
#define LIST_MAX   (256u << 20)

/* Lists that policies ask for by name: where the operator has no file, these stand in. */
static const struct {
    const char *name, *text;
} shipped_lists[] = {
    {"denied", ""}, {"clients", ""}, {"cluster", ""}, {"admin", "127.0.0.0/8\n::1\n"}, {"components", "127.0.0.0/8\n::1\n"},
};

static void sha256(const void *p, size_t n, uint8_t out[32]) {
    unsigned len = 32;
    if (EVP_Digest(p, n, out, &len, EVP_sha256(), NULL) != 1) memset(out, 0, 32);
}

static bool read_all(int fd, const char *path, size_t most, struct buf *out, struct err *e) {
    out->max = most + 1;
    for (;;) {
        if (out->n > most) return err_set(e, "%s: more than %zu bytes", path, most);
        size_t room = most + 1 - out->n;
        if (!buf_reserve(out, room < 65536 ? room : 65536)) return err_set(e, "%s: out of memory", path);
        ssize_t n = read(fd, out->p + out->n, room < 65536 ? room : 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(e, "%s: cannot be read: %s", path, strerror(errno));
        if (n == 0) return true;
        out->n += (size_t)n;
    }
}

bool planner_read_file(const char *path, size_t most, bool nofollow, struct buf *out, uint32_t *mode, bool *absent, struct err *e) {
    struct stat st;
    *absent = false;
    /* O_NONBLOCK: a FIFO in the folder must not hold the gate up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (nofollow ? O_NOFOLLOW : 0));
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR) && lstat(path, &st) != 0) {
        *absent = true;
        return err_set(e, "%s: there is no such file", path);
    }
    if (fd < 0 && errno == EACCES)
        return err_set(e,
                       "%s: cannot be read: Permission denied for uid %u, as whom this runs: chown or chgrp it, or let that user into "
                       "its folders",
                       path, (unsigned)geteuid());
    if (fd < 0)
        return err_set(e, "%s: cannot be read: %s", path,
                       errno == ELOOP ? "it is a symbolic link, which is not followed here" : strerror(errno));
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (!good) err_set(e, "%s: is not a regular file", path);
    *mode = st.st_mode & 07777;
    good = good && read_all(fd, path, most, out, e);
    close(fd);
    return good;
}

static bool join(char out[PLANNER_PATH], const char *dir, const char *rel) {
    return conffile_join(out, PLANNER_PATH, dir, rel);
}

/* What people see: the path, or its end where it is longer than a bundle keeps. */
static const char *display_of(const char *path) {
    size_t n = strlen(path);
    return n < BUNDLE_PATH ? path : path + n - BUNDLE_PATH + 1;
}

/* Into the bundle. false = not there (no error). */
static bool take(struct planner *p, const char *logical, const char *path, size_t most, bool policy) {
    struct buf text = {0};
    struct err e;
    uint32_t mode = 0644;
    bool absent, there = planner_read_file(path, most, policy, &text, &mode, &absent, &e);
    if (there && !policy) there = conffile_is_text(display_of(path), text.p, text.n, &e);
    if (!there && !absent) planner_error(p, "%s", e.text);
    if (there && policy && (mode & S_IWOTH)) planner_error(p, "%s: everybody may write to this policy: chmod o-w %s", path, path);
    if (p->nedits && !policy && (there || absent)) there = planner_edit(p, logical, display_of(path), there, &text);
    if (there && !policy && (mode & S_IWOTH)) planner_warn(p, "%s: everybody on this machine may write to it: chmod o-w %s", path, path);
    if (there && !bundle_add(p->files, logical, display_of(path), text.p, text.n, mode, &e)) planner_error(p, "%s", e.text);
    buf_free(&text);
    return !absent;
}

static void read_known(struct planner *p) {
    for (const struct conffile *f = conffiles; f->name; f++) {
        char rel[64], flat[PLANNER_PATH], tree[PLANNER_PATH], path[PLANNER_PATH];
        snprintf(rel, sizeof rel, "%s/%s", f->folder, f->name);
        if (!join(flat, p->conf, f->name) || !join(tree, p->conf, rel) || !conffile_path(p->conf, f->name, path, sizeof path)) {
            planner_error(p, "%s: the path is too long", p->conf);
            return;
        }
        bool both = access(flat, F_OK) == 0 && access(tree, F_OK) == 0;
        if (both) planner_error(p, "%s and %s: two files of one meaning: remove one", flat, tree);
        else (void)take(p, f->name, path, INI_MAX_BYTES, false);
    }
}

/* The switch for secure communication between components. Falling back to clear text because we cannot do it yet would be the worst answer.
 */
static void refuse_ssl(struct planner *p) {
    const struct bundle_file *f = bundle_writer_find(p->files, "ssl.ini", NULL);
    if (f)
        planner_error(
            p,
            "%s: this version cannot secure the communication between components, and will not send in clear what was meant to be secured: "
            "remove the file to run without",
            f->display);
}

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), t = strlen(tail);
    return n > t && strcmp(s + n - t, tail) == 0;
}

static bool name_good(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '_' && s[i] != '-') return false;
    return n > 0 && n < PLAN_NAME;
}

static bool name_known(const char *name) {
    for (const struct conffile *f = conffiles; f->name; f++)
        if (strcmp(f->name, name) == 0) return true;
    return false;
}

/* Remember the file just added under its kind. */
static void note(struct planner *p, const char *logical, const char *path, bool policy) {
    const struct bundle_file *f = bundle_writer_find(p->files, logical, NULL);
    unsigned *n = policy ? &p->npolicies : &p->nlists;
    if (f && *n == PLANNER_FILES) planner_error(p, "%s: more than %d %s", path, PLANNER_FILES, policy ? "policies" : "address lists");
    else if (f) (policy ? p->policy : p->list)[(*n)++] = f;
}

/* Every file of `dir` that ends with `tail`, in order of names, as folder/NAME<tail>. */
static void read_folder(struct planner *p, const char *dir, const char *folder, const char *tail, size_t most) {
    struct dirent **entry = NULL;
    int n = scandir(dir, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        char path[PLANNER_PATH], logical[BUNDLE_PATH];
        bool fits = name[0] != '.' && ends_with(name, tail) && join(path, dir, name);
        bool policy = strcmp(folder, "policies") == 0;
        if (fits && !name_good(name, strlen(name) - strlen(tail))) {
            planner_error(p, "%s: a file name here has letters, digits, _ and - before %s, at most %d", path, tail, PLAN_NAME - 1);
        } else if (fits) {
            snprintf(logical, sizeof logical, "%s/%.200s", folder, name);
            unsigned before = p->errors;
            if (take(p, logical, path, most, policy) && p->errors == before) note(p, logical, path, policy);
        }
        free(entry[i]);
    }
    free(entry);
}

static void warn_unknown(struct planner *p, const char *dir) {
    struct dirent **entry = NULL;
    int n = scandir(dir, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        if (name[0] != '.' && ends_with(name, ".ini") && !name_known(name))
            planner_warn(p, "%s/%s: no file of this name is read (capital and small letters matter)", dir, name);
        free(entry[i]);
    }
    free(entry);
}

static void read_lists(struct planner *p) {
    static const char *const places[] = {"lists", "", "conf/lists", "conf"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char dir[PLANNER_PATH];
        if (join(dir, p->conf, places[i])) read_folder(p, dir, "lists", ".list", LIST_MAX);
    }
    for (size_t i = 0; i < sizeof shipped_lists / sizeof *shipped_lists; i++) {
        char logical[BUNDLE_PATH], display[BUNDLE_PATH];
        struct err e;
        snprintf(logical, sizeof logical, "lists/%s.list", shipped_lists[i].name);
        snprintf(display, sizeof display, LIST_BUILT_IN "%s.list", shipped_lists[i].name);
        if (bundle_writer_find(p->files, logical, NULL)) continue;
        if (bundle_add(p->files, logical, display, shipped_lists[i].text, strlen(shipped_lists[i].text), 0644, &e))
            note(p, logical, display, false);
        else planner_error(p, "%s", e.text);
    }
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool planner_policies_of(const char *conf, char out[PLANNER_PATH]) {
    if (join(out, conf, "policies") && is_folder(out)) return true;
    char parent[PLANNER_PATH];
    if (!join(parent, conf, "x")) return false;
    *strrchr(parent, '/') = '\0';
    char *slash = strrchr(parent, '/');
    bool plain =
        strcmp(parent, ".") != 0 && strcmp(parent, "..") != 0 && !(slash && (strcmp(slash, "/..") == 0 || strcmp(slash, "/.") == 0));
    bool joined = plain && slash && slash != parent ? (*slash = '\0', join(out, parent, "policies"))
                  : plain && !slash                 ? (size_t)snprintf(out, PLANNER_PATH, "policies") < PLANNER_PATH
                                                    : join(out, conf, "../policies");
    if (joined && is_folder(out)) return true;
    return (size_t)snprintf(out, PLANNER_PATH, "%s/policies", DATADIR) < PLANNER_PATH;
}

static bool find_policies(struct planner *p) {
    if (p->policies) return (size_t)snprintf(p->policies_dir, PLANNER_PATH, "%s", p->policies) < PLANNER_PATH;
    return planner_policies_of(p->conf, p->policies_dir);
}

static void read_policies(struct planner *p) {
    static const char *const needed[] = {"bind", "admission", "route"};
    if (!find_policies(p)) {
        planner_error(p, "%s: the path is too long", p->policies ? p->policies : p->conf);
        return;
    }
    if (!is_folder(p->policies_dir)) {
        planner_error(p, "%s: there is no such folder of policies: give one with --policies", p->policies_dir);
        return;
    }
    struct stat st;
    if (stat(p->policies_dir, &st) == 0 && (st.st_mode & S_IWOTH))
        planner_error(p, "%s: everybody may put policies into this folder: chmod o-w %s", p->policies_dir, p->policies_dir);
    read_folder(p, p->policies_dir, "policies", ".lua", POLICY_MAX);
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        char logical[BUNDLE_PATH];
        snprintf(logical, sizeof logical, "policies/%s.lua", needed[i]);
        if (!bundle_writer_find(p->files, logical, NULL))
            planner_error(p, "%s/%s.lua: the file is missing, and nothing can stand in for it", p->policies_dir, needed[i]);
    }
}

/* An override as a line of an INI text whose key is the file: `tomcat.ini Port=0`, escaped so that reading gives the very same text back.
 */
static bool add_override(struct buf *out, const char *set) {
    const char *colon = strchr(set, ':');
    if (!colon || colon == set || !strchr(colon, '=')) return false;
    for (const char *s = set; s < colon; s++)
        if (!isalnum((unsigned char)*s) && !strchr("_-.", *s)) return false;
    bool good = buf_add(out, set, (size_t)(colon - set)) && buf_str(out, " ");
    if (isspace((unsigned char)colon[1]) || strchr("=:", colon[1])) return false;
    for (const char *s = colon + 1; *s && good; s++) {
        if (*s == '\\') good = buf_str(out, "\\\\");
        else if (*s == '\n') good = buf_str(out, "\\n");
        else if (*s == '\r') good = buf_str(out, "\\r");
        else good = buf_add(out, s, 1);
    }
    return good && buf_str(out, "\n");
}

static void read_overrides(struct planner *p) {
    struct buf text = {.max = INI_MAX_BYTES};
    struct err e;
    for (unsigned i = 0; i < p->nsets; i++)
        if (!add_override(&text, p->set[i]))
            planner_error(p, "--set %s: an override is written FILE:ENTRY=VALUE, as in tomcat.ini:Port=8080", p->set[i]);
    if (text.n && !bundle_add(p->files, "--set", "--set", text.p, text.n, 0600, &e)) planner_error(p, "%s", e.text);
    buf_free(&text);
}

static void no_hash(const void *text, size_t n, uint8_t out[32]) {
    (void)text, (void)n;
    memset(out, 0, 32);
}

/* Lists are only asked for by name here, so their texts stay where they are. */
void planner_read_bundle(struct planner *p, const struct bundle *b) {
    p->files = bundle_writer_create(no_hash);
    for (unsigned i = 0; i < bundle_count(b); i++) {
        const struct bundle_file *f = bundle_at(b, i);
        struct err e;
        bool list = strncmp(f->path, "lists/", 6) == 0, set = strncmp(f->path, "sets/", 5) == 0;
        if (!p->files || !bundle_add(p->files, f->path, f->display, bundle_text(b, f), set ? 0 : f->size, f->mode, &e)) {
            planner_error(p, "%s", p->files ? e.text : "out of memory");
            return;
        }
        if (list || strncmp(f->path, "policies/", 9) == 0) note(p, f->path, f->display, !list);
    }
}

/* Names of certificate files are meant relative to the folder of certificates.ini. */
static void find_certs_dir(struct planner *p) {
    const struct bundle_file *f = bundle_writer_find(p->files, "certificates.ini", NULL);
    char tree[PLANNER_PATH];
    bool installed = f && join(tree, p->conf, "conf/certificates.ini") && strcmp(display_of(tree), f->display) == 0;
    if (!join(p->certs_dir, p->conf, installed ? "conf" : ".")) planner_error(p, "%s: the path is too long", p->conf);
}

static void take_edited(struct planner *p, const struct bundle *b, const char *name) {
    const struct bundle_file *f = bundle_find(b, name);
    char path[PLANNER_PATH];
    struct buf text = {0};
    struct err e;
    if (!conffile_path(p->conf, name, path, sizeof path)) planner_error(p, "%s: the path is too long", p->conf);
    const char *display = f ? f->display : display_of(path);
    bool good = !f || buf_add(&text, bundle_text(b, f), f->size) || err_set(&e, "%s: out of memory", display);
    if (good && planner_edit(p, name, display, f != NULL, &text))
        good = bundle_add(p->files, name, display, text.p ? text.p : "", text.n, f ? f->mode : 0644, &e);
    if (!good) planner_error(p, "%s", e.text);
    buf_free(&text);
}

/* Sets of lists within entries are named like these, with a dot, which no list's file can be. They are made anew of the edited entries. */
static bool is_inline(const char *path) {
    return strncmp(path, "sets/", 5) == 0 && strchr(path, '.');
}

void planner_read_edited(struct planner *p, const struct bundle *b) {
    struct err e;
    p->files = bundle_writer_create(sha256);
    if (!p->files) {
        planner_error(p, "out of memory");
        return;
    }
    for (const struct conffile *f = conffiles; f->name; f++) take_edited(p, b, f->name);
    for (unsigned i = 0; i < bundle_count(b); i++) {
        const struct bundle_file *f = bundle_at(b, i);
        bool list = strncmp(f->path, "lists/", 6) == 0;
        if (name_known(f->path) || is_inline(f->path)) continue;
        if (!bundle_add_hashed(p->files, f->path, f->display, bundle_text(b, f), f->size, f->mode, f->hash, &e))
            planner_error(p, "%s", e.text);
        else if (list || strncmp(f->path, "policies/", 9) == 0) note(p, f->path, f->display, !list);
    }
    find_certs_dir(p);
}

void planner_read(struct planner *p) {
    char dir[PLANNER_PATH];
    p->files = bundle_writer_create(sha256);
    if (!p->files) {
        planner_error(p, "out of memory");
        return;
    }
    if (!is_folder(p->conf) || access(p->conf, R_OK | X_OK) != 0) {
        planner_error(p, "%s: there is no such folder, or it cannot be read: give the configuration folder with --conf", p->conf);
        return;
    }
    read_known(p);
    refuse_ssl(p);
    if (join(dir, p->conf, "x")) {
        *strrchr(dir, '/') = '\0';
        warn_unknown(p, dir);
    }
    read_lists(p);
    read_policies(p);
    read_overrides(p);
    find_certs_dir(p);
}
