#include "plan/bundle.h"
#include "unit/tap.h"
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void sha256(const void *p, size_t n, uint8_t out[32]) {
    SHA256(p, n, out);
}

static int memfd(void) {
    return memfd_create("bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static void check_round(void) {
    static const char text[] = "Port=8080\n", key[] = "a\0b";
    struct err e = {""};
    const char *back = NULL;
    uint8_t want[32];
    int fd = memfd();
    struct bundle_writer *w = bundle_writer_create(sha256);
    ok(bundle_add(w, "tomcat.ini", "conf/tomcat.ini", text, 10, 0100644, &e) &&
           bundle_add(w, "certs/key", "conf/key.pem", key, 4, 0100600, &e) && bundle_add(w, "services", "/etc/services", NULL, 0, 0, &e),
       "three files are taken");
    ok(!bundle_add(w, "tomcat.ini", "conf/conf/tomcat.ini", "", 0, 0, &e) && strstr(e.text, "tomcat.ini"),
       "a second file of one name is refused: %.300s", e.text);
    const struct bundle_file *f = bundle_writer_find(w, "tomcat.ini", &back);
    ok(f && f->size == 10 && memcmp(back, text, 10) == 0 && !bundle_writer_find(w, "hub.ini", NULL), "the writer finds what it has");
    ok(bundle_write(w, fd, &e), "written %.300s", e.text);
    bundle_writer_destroy(w);
    ok(write(fd, "x", 1) < 0 && ftruncate(fd, 1) < 0 && pwrite(fd, "x", 1, 0) < 0, "sealed: nobody can change it");
    struct bundle *b = bundle_map(fd, &e);
    close(fd);
    ok(b && bundle_count(b) == 3, "mapped, outlives the descriptor %.300s", e.text);
    f = bundle_find(b, "tomcat.ini");
    SHA256((const unsigned char *)text, 10, want);
    ok(f && f->size == 10 && f->mode == 0100644 && strcmp(f->display, "conf/tomcat.ini") == 0 && memcmp(bundle_text(b, f), text, 10) == 0,
       "text, mode and name come back");
    ok(f && memcmp(f->hash, want, 32) == 0, "with the hash");
    f = bundle_find(b, "certs/key");
    ok(f && f->size == 4 && memcmp(bundle_text(b, f), key, 4) == 0, "bytes with NUL come back");
    f = bundle_at(b, 2);
    ok(f && strcmp(f->path, "services") == 0 && f->size == 0 && !bundle_at(b, 3) && !bundle_find(b, "hub.ini"),
       "an empty file is there, an absent one is not");
    bundle_unmap(b);
    bundle_unmap(NULL);
    bundle_writer_destroy(NULL);
}

static void check_bounds(void) {
    struct err e = {""};
    char name[400];
    struct bundle_writer *w = bundle_writer_create(sha256);
    memset(name, 'a', sizeof name);
    name[BUNDLE_PATH] = 0;
    ok(!bundle_add(w, name, "x", "", 0, 0, &e) && !bundle_add(w, "x", name, "", 0, 0, &e) && !bundle_add(w, "", "x", "", 0, 0, &e),
       "a path too long, or none");
    name[BUNDLE_PATH - 1] = 0;
    ok(bundle_add(w, name, name, "", 0, 0, &e), "the longest path");
    bool fine = true;
    for (unsigned i = 1; i < BUNDLE_MAX_FILES; i++) {
        snprintf(name, sizeof name, "lists/%u.list", i);
        fine = fine && bundle_add(w, name, name, &i, sizeof i, 0, &e);
    }
    ok(fine && !bundle_add(w, "one more", "one more", "", 0, 0, &e) && strstr(e.text, "4096"), "4,096 files, not one more");
    int fd = memfd();
    ok(bundle_write(w, fd, &e), "written");
    bundle_writer_destroy(w);
    struct bundle *b = bundle_map(fd, &e);
    const struct bundle_file *f = b ? bundle_find(b, "lists/4095.list") : NULL;
    unsigned v = 0;
    if (f) memcpy(&v, bundle_text(b, f), sizeof v);
    ok(v == 4095, "the last one is found");
    bundle_unmap(b);
    close(fd);
}

/* Every byte of head and table is changed in turn: mapping either refuses or gives files whose every byte can be read. */
static void check_damage(void) {
    struct err e;
    int fd = memfd();
    struct bundle_writer *w = bundle_writer_create(sha256);
    bundle_add(w, "a", "conf/a", "12345", 5, 1, &e);
    bundle_add(w, "b", "conf/b", "678", 3, 1, &e);
    bundle_write(w, fd, &e);
    bundle_writer_destroy(w);
    off_t size = lseek(fd, 0, SEEK_END);
    char *image = malloc((size_t)size);
    unsigned refused = 0, changed = 0, sum = 0;
    ssize_t got = pread(fd, image, (size_t)size, 0);
    close(fd);
    for (off_t i = 0; i < size - 8; i++) {
        for (int bit = 0; bit < 8; bit += 7) {
            int copy = memfd();
            image[i] = (char)(image[i] ^ (1 << bit));
            changed += write(copy, image, (size_t)size) == size;
            image[i] = (char)(image[i] ^ (1 << bit));
            fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
            struct bundle *b = bundle_map(copy, &e);
            close(copy);
            refused += !b;
            for (unsigned k = 0; b && k < bundle_count(b); k++) {
                const struct bundle_file *f = bundle_at(b, k);
                sum += (unsigned)strlen(f->path) + (unsigned)strlen(f->display);
                for (uint64_t n = 0; n < f->size; n++) sum += (unsigned char)bundle_text(b, f)[n];
            }
            bundle_unmap(b);
        }
    }
    ok(got == size && changed == 2 * (unsigned)(size - 8) && refused >= 64 && sum > 0, "%u damaged images, %u refused, none read astray",
       changed, refused);
    for (off_t n = 0; n < size; n += 7) {
        int copy = memfd();
        if (write(copy, image, (size_t)n) != n) break;
        fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        struct bundle *b = bundle_map(copy, &e);
        close(copy);
        if (b) ok(0, "an image cut to %lld bytes is mapped", (long long)n);
        bundle_unmap(b);
    }
    int open_fd = memfd();
    ok(write(open_fd, image, (size_t)size) == size && !bundle_map(open_fd, &e) && strstr(e.text, "sealed"),
       "an unsealed image is refused: %.300s", e.text);
    close(open_fd);
    ok(!bundle_map(-1, &e), "no descriptor is refused");
    free(image);
}

int main(void) {
    check_round();
    check_bounds();
    check_damage();
    return tap_end();
}
