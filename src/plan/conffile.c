#include "plan/conffile.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const struct conffile conffiles[] = {
    {"tomcat.ini", "conf"},
    {"hub.ini", "hub"},
    {"lui.ini", "lui"},
    {"tracker.ini", "trk"},
    {"ssl.ini", "commands"},
    {"my.ini", "lui/database"},
    {"listeners.ini", "conf"},
    {"portreeve.ini", "conf"},
    {"certificates.ini", "conf"},
    {"services", "conf"},
    {NULL, NULL},
};

bool conffile_join(char *out, size_t cap, const char *dir, const char *rel) {
    while (dir[0] == '.' && dir[1] == '/' && dir[2]) dir += 2;
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    int len = snprintf(out, cap, "%.*s%s%s", (int)n, dir, n == 1 && dir[0] == '/' ? "" : "/", rel);
    return len > 0 && (size_t)len < cap;
}

static bool there(const char *dir, const char *rel) {
    char path[PATH_MAX];
    struct stat st; /* not access(2), which asks for the real user: the supervisor may look as another */
    return conffile_join(path, sizeof path, dir, rel) && stat(path, &st) == 0;
}

bool conffile_path(const char *conf, const char *name, char *out, size_t cap) {
    for (const struct conffile *f = conffiles; f->name; f++) {
        char rel[128];
        if (strcmp(f->name, name) != 0) continue;
        snprintf(rel, sizeof rel, "%s/%s", f->folder, f->name);
        bool tree = !there(conf, name) &&
                    (there(conf, rel) || (!there(conf, "tomcat.ini") && there(conf, "conf/tomcat.ini") && there(conf, f->folder)));
        return conffile_join(out, cap, conf, tree ? rel : name);
    }
    return false;
}

bool conffile_is_text(const char *path, const char *text, size_t n, struct err *e) {
    const char *zero = n == 0 ? NULL : memchr(text, '\0', n);
    if (zero == NULL) return true;
    unsigned line = 1;
    for (const char *p = text; (p = memchr(p, '\n', (size_t)(zero - p))) != NULL; p++) line++;
    bool wide = n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0 || zero <= text + 1);
    return err_set(e,
                   wide ? "%s:%u: the file is in UTF-16, as some editors save it: save it as UTF-8"
                        : "%s:%u: a byte 0 is in this line: this is no text; save it as UTF-8",
                   path, line);
}
