#include "svc/spool_db.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BALLAST (4 << 20)
#define BESIDES (1 << 20)

bool spool_ballast_make(struct spool_db *d) {
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/ballast", d->dir);
    if (stat(path, &st) == 0 && st.st_size == BALLAST) return true;
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    bool fine = posix_fallocate(fd, 0, BALLAST + BESIDES) == 0 && ftruncate(fd, BALLAST) == 0;
    close(fd);
    if (!fine) unlink(path);
    return fine;
}

void spool_ballast_drop(struct spool_db *d) {
    char path[4096];
    snprintf(path, sizeof path, "%s/ballast", d->dir);
    unlink(path);
}
