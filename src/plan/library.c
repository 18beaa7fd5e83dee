#include "plan/library.h"
#include "base/file.h"
#include "base/luadir.h"
#include "plan/bundle.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEPEST 8

static struct bundle *held;

/* Nobody asks for the hashes of these. */
static void no_hash(const void *p, size_t n, uint8_t out[32]) {
    (void)p;
    (void)n;
    memset(out, 0, 32);
}

static bool add_file(struct bundle_writer *w, const char *dir, const char *rel, struct err *e) {
    char path[1024];
    struct buf text = {0};
    snprintf(path, sizeof path, "%s/%s", dir, rel);
    bool good = file_read(path, LIBRARY_FILE, &text, e) && bundle_add(w, rel, rel, text.n ? text.p : "", text.n, 0, e);
    buf_free(&text);
    return good;
}

/* rel: of the folder, "" = dir itself. What begins with a dot is no part of it. */
static bool add_folder(struct bundle_writer *w, const char *dir, const char *rel, int depth, struct err *e) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, rel);
    DIR *d = depth < DEEPEST ? opendir(path) : NULL;
    bool good = d != NULL || err_set(e, "%s: %s", path, depth < DEEPEST ? strerror(errno) : "too many folders in one another");
    for (struct dirent *f = d ? readdir(d) : NULL; good && f; f = readdir(d)) {
        char name[BUNDLE_PATH];
        struct stat st;
        if (f->d_name[0] == '.') continue;
        good = (size_t)snprintf(name, sizeof name, "%s%s%s", rel, rel[0] ? "/" : "", f->d_name) < sizeof name ||
               err_set(e, "%s/%s: the path is too long", path, f->d_name);
        if (!good || fstatat(dirfd(d), f->d_name, &st, 0) != 0) continue; /* gone meanwhile */
        if (S_ISDIR(st.st_mode)) good = add_folder(w, dir, name, depth + 1, e);
        else if (S_ISREG(st.st_mode)) good = add_file(w, dir, name, e);
    }
    if (d) closedir(d);
    return good;
}

int library_take(const char *dir, struct err *e) {
    struct bundle_writer *w = bundle_writer_create(no_hash);
    int fd = memfd_create("portreeve-library", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool good = w && fd >= 0;
    if (!good) err_set(e, "cannot keep the Lua library: %s", strerror(errno));
    good = good && add_folder(w, dir, "", 0, e) && bundle_write(w, fd, e);
    bundle_writer_destroy(w);
    if (good) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

bool library_open(int fd, struct err *e) {
    struct bundle *b = bundle_map(fd, e);
    if (b) held = b;
    return b != NULL;
}

bool library_held(void) {
    return held != NULL;
}

bool library_dir(char *out, size_t cap, struct err *e) {
    if (!held) return luadir_find(out, cap, e);
    out[0] = '\0';
    return true;
}

const char *library_text(const char *path, size_t *n) {
    const struct bundle_file *f = held ? bundle_find(held, path) : NULL;
    if (!f) return NULL;
    *n = f->size;
    return bundle_text(held, f);
}
