/* Where tunnels must not lead, whoever wrote it: into STATE/run. The sockets there take whoever has the server's own uid for its administrator,
 * and through a tunnel everybody has that uid. */
#include "engine/cmd.h"
#include "engine/planner.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MOST 40 /* as the kernel */

struct walk {
    char done[PATH_MAX]; /* "" = the root */
    char left[PATH_MAX];
    unsigned links;
    bool proc; /* it led through /proc, where a name means something else to each process */
};

/* Takes the next name off w->left. false = there is none. */
static bool next_name(struct walk *w, char name[NAME_MAX + 1]) {
    size_t skip = strspn(w->left, "/"), n = strcspn(w->left + skip, "/");
    if (n == 0 || n > NAME_MAX) return false;
    memcpy(name, w->left + skip, n);
    name[n] = '\0';
    memmove(w->left, w->left + skip + n, strlen(w->left + skip + n) + 1);
    return true;
}

static bool enter_link(struct walk *w, const char *target) {
    char left[PATH_MAX];
    int n = snprintf(left, sizeof left, "%s/%s", target, w->left);
    if (++w->links > LINKS_MOST || n < 0 || (size_t)n >= sizeof left) return false;
    memcpy(w->left, left, (size_t)n + 1);
    if (target[0] == '/') w->done[0] = '\0';
    return true;
}

static bool enter(struct walk *w, const char *name) {
    char target[PATH_MAX];
    size_t n = strlen(w->done), k = strlen(name);
    char *slash = strrchr(w->done, '/');
    if (strcmp(name, ".") == 0) return true;
    if (strcmp(name, "..") == 0) {
        if (slash) *slash = '\0';
        return true;
    }
    if (n + 1 + k >= sizeof w->done) return false;
    w->done[n] = '/';
    memcpy(w->done + n + 1, name, k + 1);
    w->proc = w->proc || strcmp(w->done, "/proc") == 0;
    ssize_t link = readlink(w->done, target, sizeof target - 1);
    if (link < 0) return true;
    target[link] = '\0';
    w->done[n] = '\0';
    return enter_link(w, target);
}

/* The path without symbolic links, . and .., also where nothing is there yet: realpath would not say where a link leads whose end the engine
 * has still to make. false = too long, or links in a ring: nobody can call there. */
static bool resolve(const char *path, struct walk *w) {
    char name[NAME_MAX + 1];
    *w = (struct walk){0};
    if (path[0] != '/' && !getcwd(w->done, sizeof w->done)) return false;
    if (strlen(path) >= sizeof w->left) return false;
    memcpy(w->left, path, strlen(path) + 1);
    while (next_name(w, name))
        if (!enter(w, name)) return false;
    return true;
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* By name, or by a folder on the way that is the same one (a bind mount). */
static bool below(const char *path, const char *run, const struct stat *run_st) {
    size_t n = strlen(run);
    char part[PATH_MAX];
    struct stat st;
    if (strncmp(path, run, n) == 0 && (path[n] == '/' || path[n] == '\0')) return true;
    snprintf(part, sizeof part, "%s", path);
    for (char *slash; run_st && (slash = strrchr(part, '/')) && slash != part;) {
        if (stat(part, &st) == 0 && same_file(&st, run_st)) return true;
        *slash = '\0';
    }
    return false;
}

/* Under another name: a hard link, or a bind mount of the socket alone. */
static bool is_one_of(const char *path, const char *run) {
    struct stat st, other;
    DIR *d = stat(path, &st) == 0 ? opendir(run) : NULL;
    bool found = false;
    for (struct dirent *x; d && !found && (x = readdir(d));)
        found = x->d_name[0] != '.' && fstatat(dirfd(d), x->d_name, &other, AT_SYMLINK_NOFOLLOW) == 0 && same_file(&st, &other);
    if (d) closedir(d);
    return found;
}

struct own { /* STATE/run */
    char path[PATH_MAX];
    struct stat st;
    bool there;
};

static bool find_own(const char *state, struct own *run) {
    struct walk w;
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/run", state);
    if (n < 0 || (size_t)n >= sizeof path || !resolve(path, &w)) return false;
    memcpy(run->path, w.done, strlen(w.done) + 1);
    run->there = stat(run->path, &run->st) == 0;
    return true;
}

static void judge(struct planner *p, const struct plan_backend *b, const char *path, const struct own *run) {
    struct walk w;
    char at[PATH_MAX];
    const struct plan_because *y = &b->because;
    snprintf(at, sizeof at, "%s:%u: %s: unix:%s", y->file, y->line, y->entry, path);
    if (!y->file[0]) snprintf(at, sizeof at, "%s: %s: unix:%s", y->policy, b->set, path);
    if (!resolve(path, &w)) planner_error(p, "%s: the path is too long, or its links lead in a ring: name the socket itself", at);
    else if (w.proc) planner_error(p, "%s: a path by way of /proc means something else to each process: name the socket itself", at);
    else if (below(w.done, run->path, run->there ? &run->st : NULL) || is_one_of(w.done, run->path))
        planner_error(
            p,
            "%s: this leads to portreeve's own sockets (%s), which take whoever comes through a tunnel for the administrator of this "
            "server: name another backend",
            at, run->path);
}

void planner_backends(struct planner *p) {
    struct own run = {.there = false};
    bool known = false;
    for (uint32_t i = 0; i < p->plan.nbackends; i++) {
        struct plan_to to[PLAN_TO_MOST];
        unsigned n;
        if (!plan_to_parse(p->plan.backend[i].to, to, &n, NULL)) continue; /* plan_check has said so */
        for (unsigned k = 0; k < n; k++) {
            if (to[k].at.family) continue;
            if (!known && !find_own(cmd_state(p->state), &run)) {
                planner_error(p, "%s/run: the path of the state folder is too long, or its links lead in a ring", cmd_state(p->state));
                return;
            }
            known = true;
            judge(p, &p->plan.backend[i], to[k].path, &run);
        }
    }
}
