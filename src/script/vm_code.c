/* Compiled library modules, kept for the life of the process: an engine has a dozen Lua states and makes them anew at every reload, a planner
 * has one for each policy and each test, and compiling the library was half of what a state costs. What is kept is what this process compiled
 * itself from the file as it is: one that has changed (place, size, time) is compiled again. Any thread. */
#include "plan/library.h"
#include "script/vm_i.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST 256 /* modules; what comes later is compiled each time */

struct code {
    char *path;
    struct stat st;
    char *bytes;
    size_t n;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct code kept[MOST];
static unsigned nkept;

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static struct code *find(const char *path) {
    for (unsigned i = 0; i < nkept; i++)
        if (strcmp(kept[i].path, path) == 0) return &kept[i];
    return NULL;
}

static int add_bytes(lua_State *L, const void *p, size_t n, void *ud) {
    (void)L;
    struct code *c = ud;
    char *more = realloc(c->bytes, c->n + n);
    if (!more) return 1;
    memcpy(more + c->n, p, n);
    c->bytes = more;
    c->n += n;
    return 0;
}

/* The function on top is what the file at path compiles to. */
static void keep(lua_State *L, const char *path, const struct stat *st) {
    struct code c = {.st = *st};
    bool good = lua_dump(L, add_bytes, &c, 0) == 0 && (c.path = strdup(path));
    pthread_mutex_lock(&lock);
    struct code *there = good ? find(path) : NULL;
    if (good && !there && nkept < MOST) there = &kept[nkept++], *there = (struct code){0};
    if (there) {
        struct code old = *there;
        *there = c;
        c = old;
    }
    pthread_mutex_unlock(&lock);
    free(c.path);
    free(c.bytes);
}

/* A copy, since lua_load may run long and another thread may replace what is kept. NULL: not kept, or the file is another. */
static char *fetch(const char *path, const struct stat *st, size_t *n) {
    char *copy = NULL;
    pthread_mutex_lock(&lock);
    const struct code *c = find(path);
    if (c && same_file(&c->st, st) && (copy = malloc(c->n))) {
        memcpy(copy, c->bytes, c->n);
        *n = c->n;
    }
    pthread_mutex_unlock(&lock);
    return copy;
}

struct part {
    const char *p;
    size_t n;
};
static const char *whole(lua_State *L, void *ud, size_t *n) {
    (void)L;
    struct part *part = ud;
    *n = part->n;
    part->n = 0;
    return *n ? part->p : NULL;
}

struct source {
    int fd;
    char part[4096];
};
static const char *read_part(lua_State *L, void *ud, size_t *n) {
    (void)L;
    struct source *s = ud;
    ssize_t got = read(s->fd, s->part, sizeof s->part);
    *n = got > 0 ? (size_t)got : 0;
    return got > 0 ? s->part : NULL;
}

/* From the image, which does not change. */
static int load_held(lua_State *L, const char *tail, const char *display) {
    static const struct stat unchanging;
    struct part part, text;
    text.p = library_text(tail, &text.n);
    if (!text.p) return VM_NO_FILE;
    char *code = fetch(tail, &unchanging, &part.n);
    part.p = code;
    int status = lua_load(L, whole, code ? &part : &text, display, code ? "b" : "t");
    if (!code && status == LUA_OK) keep(L, tail, &unchanging);
    free(code);
    return status;
}

int vm_load_file(lua_State *L, const char *tail, const char *display) {
    char path[4096];
    struct stat st;
    if (library_held()) return load_held(L, tail, display);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", vm_of(L)->luadir, tail) >= sizeof path) return VM_NO_FILE;
    struct part part;
    struct source s = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (s.fd < 0) return VM_NO_FILE;
    bool known = fstat(s.fd, &st) == 0;
    char *code = known ? fetch(path, &st, &part.n) : NULL;
    part.p = code;
    int status = code ? lua_load(L, whole, &part, display, "b") : lua_load(L, read_part, &s, display, "t"); /* do not raise */
    close(s.fd);
    if (!code && known && status == LUA_OK) keep(L, path, &st);
    free(code);
    return status;
}
