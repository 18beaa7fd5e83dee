#include "super/dirs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool make_path(const char *path, struct err *e) {
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) return err_set(e, "the state folder's path is too long");
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, path[i] ? 0755 : 0750) != 0 && errno != EEXIST) {
            return err_set(e, "%s: cannot make the state folder: %s; make it for uid %u, or use another --state", part, strerror(errno),
                           (unsigned)geteuid());
        }
    }
    return true;
}

/* Only plain files with one name: a second name could be a file elsewhere. */
static void give_files(int dir, const struct account *owner) {
    int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);
    if (!d) {
        if (again >= 0) close(again);
        return;
    }
    for (struct dirent *f = readdir(d); f; f = readdir(d)) {
        struct stat st;
        if (fstatat(dir, f->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid == owner->uid) continue;
        int fd = openat(dir, f->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        struct stat now;
        if (fstat(fd, &now) == 0 && S_ISREG(now.st_mode) && now.st_nlink == 1 && fchown(fd, owner->uid, owner->gid) != 0) {
            /* the one who needs the file will say so with its name */
        }
        close(fd);
    }
    closedir(d);
}

static bool foreign(const char *path, const char *room, const struct stat *st, struct err *e) {
    return err_set(e, "%s/%s: belongs to uid %u, we are uid %u; chown it or use another --state", path, room, (unsigned)st->st_uid,
                   (unsigned)geteuid());
}

static bool prepare_room(int state, const char *path, const char *room, const struct account *owner, struct err *e) {
    if (mkdirat(state, room, 0700) != 0 && errno != EEXIST)
        return err_set(e, "%s/%s: cannot make: %s; the state folder must be writable for uid %u", path, room, strerror(errno),
                       (unsigned)geteuid());
    int fd = openat(state, room, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == EACCES && fstatat(state, room, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid != geteuid())
        return foreign(path, room, &st, e);
    if (fd < 0) return err_set(e, "%s/%s: cannot use it as a folder: %s", path, room, strerror(errno));
    bool good = fstat(fd, &st) == 0;
    if (good && geteuid() == 0) {
        good = st.st_uid == owner->uid || fchown(fd, owner->uid, owner->gid) == 0;
        if (good) give_files(fd, owner);
    } else if (good && st.st_uid != geteuid()) {
        close(fd);
        return foreign(path, room, &st, e);
    }
    good = good && ((st.st_mode & 07777) == 0700 || fchmod(fd, 0700) == 0);
    int why = errno;
    close(fd);
    return good || err_set(e, "%s/%s: cannot set owner and mode 0700: %s", path, room, strerror(why));
}

bool dirs_prepare(const char *state, const struct account *owner, struct err *e) {
    static const char *const rooms[] = {"run", "keys", "spool", "db", "log"};
    struct account self = {.uid = geteuid(), .gid = getegid()};
    if (!owner->name[0]) owner = &self;
    if (!make_path(state, e)) return false;
    int fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_set(e, "%s: cannot open the state folder as uid %u: %s", state, (unsigned)geteuid(), strerror(errno));
    struct stat st;
    if (fstat(fd, &st) == 0 && (st.st_mode & S_IWOTH)) { /* anybody could put a folder of his own in the place of keys/ */
        close(fd);
        return err_set(e, "%s: everybody may write to the state folder: chmod o-w %s", state, state);
    }
    if (geteuid() == 0 && owner->uid != 0 && fstat(fd, &st) == 0 && st.st_uid == 0 && !(st.st_mode & S_IXOTH) &&
        fchown(fd, owner->uid, owner->gid) != 0) {
        /* then a room below cannot be reached, and the engine names it */
    }
    bool good = true;
    for (size_t i = 0; good && i < sizeof rooms / sizeof *rooms; i++) good = prepare_room(fd, state, rooms[i], owner, e);
    close(fd);
    return good;
}
