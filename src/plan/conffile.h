/* Where the configuration files lie: flat in the folder given with --conf, or in the folders of the installed tree (conf/, hub/, lui/ …).
 * The planner reads them there, and the supervisor writes back there what was changed from the hub or the console. */
#ifndef PORTREEVE_PLAN_CONFFILE_H
#define PORTREEVE_PLAN_CONFFILE_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

struct conffile {
    const char *name, *folder; /* "listeners.ini", and its folder in the installed tree: "conf" */
};
extern const struct conffile conffiles[]; /* ends with name NULL */

/* DIR + "/" + REL without a leading "./"; false where it is longer than cap. */
bool conffile_join(char *out, size_t cap, const char *dir, const char *rel);
/* The file as it is there, or, where it is not, where it belongs: beside the files that are there. false: too long a path, or a name that
 * is none of ours. */
bool conffile_path(const char *conf, const char *name, char *out, size_t cap);
/* Is it text at all? An editor that saved it as UTF-16 leaves a file in which no entry means anything, and comments look like entries.
 * false: a byte 0 is in it, and e says in which line of `path`. */
bool conffile_is_text(const char *path, const char *text, size_t n, struct err *e);
#endif
