#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 65536u

static bool read_fd(int fd, const char *path, size_t max, struct buf *out, struct err *e) {
    size_t start = out->n;
    for (;;) {
        if (!buf_reserve(out, CHUNK)) return err_at(e, path, 0, "cannot read: out of memory");
        ssize_t n = read(fd, out->p + out->n, out->cap - out->n);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_at(e, path, 0, "cannot read: %s", strerror(errno));
        if (n == 0) return true;
        out->n += (size_t)n;
        if (out->n - start > max) return err_at(e, path, 0, "more than %zu bytes", max);
    }
}

bool file_read(const char *path, size_t max, struct buf *out, struct err *e) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return err_at(e, path, 0, "cannot open: %s", strerror(errno));
    out->max = max + 2 * CHUNK + out->n;
    bool fine = true, regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    /* One step to the full size: doubling would copy a large list several times. */
    if (regular && (uint64_t)st.st_size > max) fine = err_at(e, path, 0, "more than %zu bytes", max);
    else if (regular && !buf_reserve(out, (size_t)st.st_size + CHUNK)) fine = err_at(e, path, 0, "cannot read: out of memory");
    fine = fine && read_fd(fd, path, max, out, e);
    close(fd);
    return fine;
}
