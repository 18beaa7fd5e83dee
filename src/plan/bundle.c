#include "plan/bundle.h"
#include "plan/format.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The image: this head, `count` struct bundle_file, then the texts one behind the other. */
struct head {
    char magic[4];
    uint32_t format;
    uint64_t bytes; /* of the whole image */
    uint32_t count;
    uint32_t entry; /* sizeof(struct bundle_file): an image of another build is refused, not misread */
};
static const char MAGIC[4] = {'P', 'R', 'B', 'U'};
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct item {
    struct bundle_file file;
    char *own; /* file.size bytes and a NUL; NULL = forgotten */
    const char *text;
};
struct bundle_writer {
    void (*sha256)(const void *p, size_t n, uint8_t out[32]);
    struct item *item[BUNDLE_MAX_FILES];
    uint32_t n;
    uint64_t bytes; /* of all texts */
};
struct bundle {
    const char *p;
    size_t bytes;
    const struct bundle_file *file;
    unsigned count;
};

struct bundle_writer *bundle_writer_create(void (*sha256)(const void *p, size_t n, uint8_t out[32])) {
    struct bundle_writer *w = calloc(1, sizeof *w);
    if (w) w->sha256 = sha256;
    return w;
}

/* Private keys lie among the texts, so the memory is wiped. */
void bundle_writer_destroy(struct bundle_writer *w) {
    if (!w) return;
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->item[i]->own) explicit_bzero(w->item[i]->own, w->item[i]->file.size);
        free(w->item[i]->own);
        free(w->item[i]);
    }
    free(w);
}

const struct bundle_file *bundle_writer_find(const struct bundle_writer *w, const char *path, const char **text) {
    for (uint32_t i = 0; i < w->n; i++) {
        if (strcmp(w->item[i]->file.path, path) != 0) continue;
        if (text) *text = w->item[i]->text;
        return &w->item[i]->file;
    }
    return NULL;
}

static struct bundle_file *add(struct bundle_writer *w, const char *path, const char *display, const void *text, size_t n, uint32_t mode,
                               struct err *e) {
    size_t path_n = strlen(path), display_n = strlen(display);
    if (path_n == 0 || path_n >= BUNDLE_PATH || display_n >= BUNDLE_PATH)
        return (void)err_set(e, "%s: a path of a configuration file has 1 to %d bytes", display, BUNDLE_PATH - 1), NULL;
    if (bundle_writer_find(w, path, NULL)) return (void)err_set(e, "%s: there are two files for \"%s\"; remove one", display, path), NULL;
    if (w->n == BUNDLE_MAX_FILES) return (void)err_set(e, "%s: more than %u configuration files", display, BUNDLE_MAX_FILES), NULL;
    if (n > BUNDLE_MAX_BYTES - w->bytes)
        return (void)err_set(e, "%s: all configuration files together have more than %llu bytes", display, BUNDLE_MAX_BYTES), NULL;
    struct item *x = calloc(1, sizeof *x);
    if (x && !(x->own = malloc(n + 1))) {
        free(x);
        x = NULL;
    }
    if (!x) return (void)err_set(e, "%s: out of memory", display), NULL;
    memcpy(x->file.path, path, path_n);
    memcpy(x->file.display, display, display_n);
    if (n > 0) memcpy(x->own, text, n);
    x->own[n] = '\0';
    x->text = x->own;
    x->file.size = n;
    x->file.mode = mode;
    w->item[w->n++] = x;
    w->bytes += n;
    return &x->file;
}

bool bundle_add(struct bundle_writer *w, const char *path, const char *display, const void *text, size_t n, uint32_t mode, struct err *e) {
    struct bundle_file *f = add(w, path, display, text, n, mode, e);
    if (f) w->sha256(n ? text : "", n, f->hash);
    return f;
}

bool bundle_add_hashed(struct bundle_writer *w, const char *path, const char *display, const void *text, size_t n, uint32_t mode,
                       const uint8_t hash[32], struct err *e) {
    struct bundle_file *f = add(w, path, display, text, n, mode, e);
    if (f) memcpy(f->hash, hash, sizeof f->hash);
    return f;
}

void bundle_forget(struct bundle_writer *w, const char *path) {
    for (uint32_t i = 0; i < w->n; i++) {
        struct item *x = w->item[i];
        if (strcmp(x->file.path, path) != 0) continue;
        w->bytes -= x->file.size;
        x->file.size = 0;
        x->text = "";
        free(x->own);
        x->own = NULL;
        return;
    }
}

static bool write_all(int fd, const void *p, size_t n) {
    const char *s = p;
    while (n > 0) {
        ssize_t done = write(fd, s, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        s += done;
        n -= (size_t)done;
    }
    return true;
}

/* Every text begins at a multiple of 8, for those that are no text. */
static uint64_t padded(uint64_t n) {
    return (n + 7) / 8 * 8;
}

static bool write_image(struct bundle_writer *w, int fd) {
    static const char zero[8];
    struct head head = {.format = format_number(), .count = w->n, .entry = sizeof(struct bundle_file)};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    head.bytes = sizeof head + (uint64_t)w->n * sizeof(struct bundle_file);
    for (uint32_t i = 0; i < w->n; i++) {
        w->item[i]->file.offset = head.bytes;
        head.bytes += padded(w->item[i]->file.size);
    }
    if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET) < 0 || !write_all(fd, &head, sizeof head)) return false;
    for (uint32_t i = 0; i < w->n; i++)
        if (!write_all(fd, &w->item[i]->file, sizeof w->item[i]->file)) return false;
    for (uint32_t i = 0; i < w->n; i++) {
        uint64_t n = w->item[i]->file.size;
        if (!write_all(fd, w->item[i]->text, n) || !write_all(fd, zero, padded(n) - n)) return false;
    }
    return true;
}

bool bundle_write(struct bundle_writer *w, int memfd, struct err *e) {
    if (!write_image(w, memfd)) return err_set(e, "cannot write the bundle of configuration files: %s", strerror(errno));
    if (fcntl(memfd, F_ADD_SEALS, SEALS)) return err_set(e, "cannot seal the bundle of configuration files: %s", strerror(errno));
    return true;
}

static bool is_text(const char *s, size_t least) {
    size_t n = strnlen(s, BUNDLE_PATH);
    return n >= least && n < BUNDLE_PATH;
}

static bool check_files(const struct bundle *b, uint64_t texts, struct err *e) {
    for (unsigned i = 0; i < b->count; i++) {
        const struct bundle_file *f = &b->file[i];
        if (!is_text(f->path, 1) || !is_text(f->display, 0)) return err_set(e, "bundle: file %u of %u has a damaged path", i + 1, b->count);
        if (f->offset < texts || f->offset > b->bytes || f->size > b->bytes - f->offset)
            return err_set(e, "bundle: the text of %s lies outside of the image", f->path);
    }
    return true;
}

static bool check_image(struct bundle *b, struct err *e) {
    const struct head *h = (const void *)b->p;
    if (memcmp(h->magic, MAGIC, sizeof MAGIC) == 0 && h->format != format_number())
        return err_set(e, "the bundle is of format %u, and this program reads format %u", (unsigned)h->format, (unsigned)format_number());
    if (memcmp(h->magic, MAGIC, sizeof MAGIC) != 0 || h->entry != sizeof(struct bundle_file))
        return err_set(e, "bundle: this is not an image of this version of the program");
    uint64_t texts = sizeof *h + (uint64_t)h->count * sizeof(struct bundle_file);
    if (h->bytes != b->bytes || h->count > BUNDLE_MAX_FILES || texts > b->bytes)
        return err_set(e, "bundle: %zu bytes do not hold what the head of the image says", b->bytes);
    b->file = (const void *)(b->p + sizeof *h);
    b->count = h->count;
    return check_files(b, texts, e);
}

/* An unsealed memfd could change or shrink (SIGBUS) under the reader. MAP_PRIVATE, because before Linux 6.7 a write-sealed memfd
 * cannot be mapped shared, not even for reading; nothing is ever written, so no page is copied. */
struct bundle *bundle_map(int memfd, struct err *e) {
    struct stat st;
    int seals = fcntl(memfd, F_GET_SEALS);
    const size_t most = sizeof(struct head) + BUNDLE_MAX_FILES * (sizeof(struct bundle_file) + 8) + BUNDLE_MAX_BYTES;
    if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_WRITE)) != (F_SEAL_SHRINK | F_SEAL_WRITE) || fstat(memfd, &st)) {
        err_set(e, "bundle: not a sealed memory file");
        return NULL;
    }
    if (st.st_size < (off_t)sizeof(struct head) || (uint64_t)st.st_size > most) {
        err_set(e, "bundle: %lld bytes cannot be an image", (long long)st.st_size);
        return NULL;
    }
    struct bundle *b = calloc(1, sizeof *b);
    void *p = b ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, memfd, 0) : MAP_FAILED;
    if (p == MAP_FAILED) {
        err_set(e, "bundle: cannot map: %s", strerror(errno));
        free(b);
        return NULL;
    }
    madvise(p, (size_t)st.st_size, MADV_DONTDUMP);
    b->p = p;
    b->bytes = (size_t)st.st_size;
    if (check_image(b, e)) return b;
    bundle_unmap(b);
    return NULL;
}

void bundle_unmap(struct bundle *b) {
    if (!b) return;
    munmap((void *)(uintptr_t)b->p, b->bytes);
    free(b);
}

unsigned bundle_count(const struct bundle *b) {
    return b->count;
}

const struct bundle_file *bundle_at(const struct bundle *b, unsigned i) {
    return i < b->count ? &b->file[i] : NULL;
}

const struct bundle_file *bundle_find(const struct bundle *b, const char *path) {
    for (unsigned i = 0; i < b->count; i++)
        if (strcmp(b->file[i].path, path) == 0) return &b->file[i];
    return NULL;
}

const char *bundle_text(const struct bundle *b, const struct bundle_file *f) {
    return b->p + f->offset;
}
