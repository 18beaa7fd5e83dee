/* The files of an edit: compared, written beside, renamed. */
#include "base/newfile.h"
#include "plan/bundle.h"
#include "plan/conffile.h"
#include "plan/ini.h"
#include "super/edit.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The supervisor of root has no rights above those of root's own files (caps_drop_self): a file of the engine's user it writes in that
 * user's name. */
static bool become(const struct edit *d, const struct edit_file *f) {
    if (!f->as_user) return true;
    return setegid(d->user->gid) == 0 && seteuid(d->user->uid) == 0;
}

static void be_root_again(const struct edit_file *f) {
    if (f->as_user && (seteuid(0) != 0 || setegid(0) != 0)) abort(); /* nothing of what we do is right as somebody else */
}

static bool cannot(const char *path, const char *what, int why, const char *advice, struct err *e) {
    struct passwd *p = getpwuid(geteuid());
    return err_set(e, "%s: %s by user %s: %s; %s", path, what, p ? p->pw_name : "of portreeve", strerror(why), advice);
}

static const char *advice_for(int why) {
    if (why == ENOSPC || why == EDQUOT) return "make room on that disk and try again";
    if (why == EROFS) return "make that file system writable (systemd: ReadWritePaths), or edit the file elsewhere and reload";
    return "let that user write to the folder of the file, or edit the file yourself and reload";
}

/* ---- what is on disk ---- */

/* Is the file byte for byte this text? NULL = is there no file? */
static bool is_on_disk(const char *path, const char *text, size_t n, bool *same, struct err *e) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) {
        *same = text == NULL;
        return true;
    }
    if (fd < 0 || fstat(fd, &st) != 0) {
        int why = errno;
        if (fd >= 0) close(fd);
        return cannot(path, "cannot be read", why, "let that user read it", e);
    }
    *same = text && S_ISREG(st.st_mode) && (size_t)st.st_size == n;
    char part[16384];
    for (size_t at = 0; *same && at < n;) {
        ssize_t got = read(fd, part, sizeof part < n - at ? sizeof part : n - at);
        if (got < 0 && errno == EINTR) continue;
        *same = got > 0 && memcmp(part, text + at, (size_t)got) == 0;
        if (*same) at += (size_t)got;
    }
    close(fd);
    return true;
}

/* What is edited must be what is in force: else the edit would bring somebody's unfinished work into force, or undo it. */
static bool unchanged(const struct edit *d, const struct edit_file *f, const struct bundle *now, struct err *e) {
    bool same = false;
    const struct bundle_file *live = bundle_find(now, f->name);
    if (!become(d, f)) return err_set(e, "%s: cannot become the user %s", f->path, d->user->name);
    bool good = is_on_disk(f->path, live ? bundle_text(now, live) : NULL, live ? live->size : 0, &same, e);
    be_root_again(f);
    return good &&
           (same || err_set(e,
                            "%s: the file was changed since it was read, and that change is not in force: look at it, reload, and try "
                            "again",
                            f->path));
}

/* ---- the new file, beside the old one ---- */

static bool write_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static bool beside_name(struct edit_file *f, struct err *e) {
    const char *slash = strrchr(f->path, '/');
    int dir = slash ? (int)(slash - f->path) + 1 : 0;
    char name[sizeof f->beside]; /* not written at once: under sanitizers gcc takes the two for overlapping */
    int n = snprintf(name, sizeof name, "%.*s.%s.new-%ld", dir, f->path, f->path + dir, (long)getpid());
    if (n > 0 && (size_t)n < sizeof name) memcpy(f->beside, name, (size_t)n + 1);
    return (n > 0 && (size_t)n < sizeof name) || err_set(e, "%.200s…: the path is too long", f->path);
}

static bool dress(int fd, const struct stat *st) {
    struct stat now;
    if (fstat(fd, &now) != 0) return false;
    bool owned = now.st_uid == st->st_uid && now.st_gid == st->st_gid;
    return (owned || fchown(fd, now.st_uid == st->st_uid ? (uid_t)-1 : st->st_uid, st->st_gid) == 0) &&
           fchmod(fd, st->st_mode & 07777) == 0;
}

static bool write_beside(struct edit_file *f, const struct stat *st, const char *text, size_t n, struct err *e) {
    if (!beside_name(f, e)) return false;
    (void)unlink(f->beside); /* left by an earlier supervisor of this number that was killed */
    int fd = open(f->beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        int why = errno;
        f->beside[0] = '\0';
        return cannot(f->path, "cannot be written", why, advice_for(why), e);
    }
    bool dressed = dress(fd, st);
    int why = errno;
    bool good = dressed && write_all(fd, text, n) && fsync(fd) == 0;
    if (dressed && !good) why = errno;
    if (close(fd) != 0 && good) {
        good = false;
        why = errno;
    }
    if (good) return true;
    return dressed
               ? cannot(f->path, "cannot be written", why, advice_for(why), e)
               : cannot(f->path, "its owner and mode cannot be kept", why, "give the file to that user, or edit it yourself and reload", e);
}

/* Where the file is, with symlinks followed, and whose; where there is none, whose its folder is. false with errno. */
static bool look(struct edit_file *f, const struct options *o, struct stat *st) {
    char real[PATH_MAX], dir[PATH_MAX];
    errno = ENAMETOOLONG;
    if (!conffile_path(o->conf, f->name, f->path, sizeof f->path)) return false;
    f->exists = realpath(f->path, real) != NULL && stat(real, st) == 0;
    if (f->exists) memcpy(f->path, real, strlen(real) + 1);
    if (f->exists || errno != ENOENT) return f->exists;
    const char *slash = strrchr(f->path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? slash == f->path ? 1 : (int)(slash - f->path) : 1, slash ? f->path : ".");
    if (stat(dir, st) != 0) return false;
    st->st_mode = 0644;
    return true;
}

static bool find_file(struct edit *d, struct edit_file *f, const struct options *o, struct stat *st, struct err *e) {
    bool two = geteuid() == 0 && d->user->name[0] && d->user->uid != 0;
    bool found = look(f, o, st);
    if (!found && errno == EACCES && two) { /* the folder may be the engine's user's alone */
        f->as_user = true;
        found = become(d, f) && look(f, o, st);
        int why = errno;
        be_root_again(f);
        errno = why;
    }
    if (!found) return cannot(f->path, "cannot be found", errno, "let that user look into its folders", e);
    f->as_user = two && (f->as_user || st->st_uid == d->user->uid);
    return true;
}

static bool stage_file(struct edit *d, struct edit_file *f, const struct options *o, const struct bundle *b, const struct bundle *now,
                       bool *same, struct err *e) {
    struct stat st = {0};
    const struct bundle_file *text = bundle_find(b, f->name), *old = bundle_find(now, f->name);
    if (!text) return err_set(e, "%s: the planner left no text of it", f->name);
    if (!find_file(d, f, o, &st, e) || !unchanged(d, f, now, e)) return false;
    if (old && old->size == text->size && memcmp(bundle_text(now, old), bundle_text(b, text), old->size) == 0) return true;
    *same = false;
    if (!become(d, f)) return err_set(e, "%s: cannot become the user %s", f->path, d->user->name);
    bool good = write_beside(f, &st, bundle_text(b, text), text->size, e);
    be_root_again(f);
    return good;
}

bool edit_stage(struct edit *d, const struct options *o, const struct account *user, int bundle_fd, int now_fd, struct err *e) {
    struct bundle *b = bundle_map(bundle_fd, e), *now = b ? bundle_map(now_fd, e) : NULL;
    bool good = b && now, same = true;
    d->user = user;
    for (unsigned i = 0; good && i < EDIT_FILES; i++)
        if (d->file[i].asked) good = stage_file(d, &d->file[i], o, b, now, &same, e);
    d->same = same;
    bundle_unmap(now);
    bundle_unmap(b);
    return good;
}

bool edit_still(const struct edit *d, int now_fd, struct err *e) {
    struct bundle *now = bundle_map(now_fd, e);
    bool good = now != NULL;
    for (unsigned i = 0; good && i < EDIT_FILES; i++)
        if (d->file[i].asked) good = unchanged(d, &d->file[i], now, e);
    bundle_unmap(now);
    return good;
}

static bool put_in_place(struct edit_file *f, struct err *e) {
    int bad = f->exists ? rename(f->beside, f->path) : renameat2(AT_FDCWD, f->beside, AT_FDCWD, f->path, RENAME_NOREPLACE);
    if (bad) return cannot(f->path, "the new entries are in force but cannot be written", errno, advice_for(errno), e);
    f->beside[0] = '\0';
    return newfile_sync_folder(f->path, e);
}

bool edit_write(struct edit *d, int now_fd, struct err *e) {
    struct err why;
    bool good = edit_still(d, now_fd, &why) ||
                err_set(e, "the new entries are in force, but were not written and go with the next reload: %.900s", why.text);
    for (unsigned i = 0; good && i < EDIT_FILES; i++) {
        struct edit_file *f = &d->file[i];
        if (!f->beside[0]) continue;
        good = become(d, f) ? put_in_place(f, e) : err_set(e, "%s: cannot become the user %s", f->path, d->user->name);
        be_root_again(f);
    }
    return good;
}

void edit_destroy(struct edit *d) {
    if (!d) return;
    for (unsigned i = 0; i < EDIT_FILES; i++) {
        struct edit_file *f = &d->file[i];
        if (!f->beside[0]) continue;
        if (become(d, f)) (void)unlink(f->beside);
        be_root_again(f);
    }
    for (unsigned i = 0; i < d->n; i++) free(d->arg[2 * i + 1]);
    free(d);
}
