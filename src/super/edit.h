/* Changes of configuration entries asked for by the hub or the console (WIRE_EDIT): what may be asked, and the writing of the files.
 * The planner puts the changes into the files' text and judges the whole; only when the new generation has committed is a file replaced,
 * by exactly the text that was judged. Everything that can fail is tried before: the new file is written beside the old one and synced,
 * so that nothing is left but a rename. Refused, with file, user and what to do, before anything changes. */
#ifndef PORTREEVE_SUPER_EDIT_H
#define PORTREEVE_SUPER_EDIT_H
#include "super/account.h"
#include "super/options.h"
#include <limits.h>
#include <stdint.h>

#define EDIT_MOST  64u /* changes of one request */
#define EDIT_FILES 2u
#define EDIT_QUEUE 16u /* requests waiting */

struct edit_file {
    const char *name;                      /* "listeners.ini" */
    bool asked;                            /* a change is about this file */
    bool exists;                           /* it was there when it was read */
    char path[PATH_MAX], beside[PATH_MAX]; /* symlinks followed; "" = nothing is staged */
    bool as_user;                          /* the file belongs to the engine's user, in whose name it is written */
};

struct edit {
    bool engine; /* who waits: see struct waiter */
    pid_t pid;
    uint64_t id;
    bool dry, force; /* force: whomever it shuts out */
    char who[128];
    unsigned n;
    char *arg[2 * EDIT_MOST + 1]; /* for the planner: "--edit", "FILE:ENTRY=VALUE" …, NULL; odd ones are malloc'ed */
    struct edit_file file[EDIT_FILES];
    const struct account *user; /* whom the engine runs as */
    bool same;                  /* staged: the texts already say what was asked for */
};

/* From the payload of WIRE_EDIT. NULL with e: what cannot be asked is refused here, whatever the engine thinks. */
struct edit *edit_parse(const char *payload, struct err *e);
void edit_destroy(struct edit *d); /* unlinks what is staged; NULL is legal */
/* The planner is content: bundle_fd has the new texts, now_fd is the bundle in force, which must be what is on disk. Writes the new files
 * beside the old ones. */
bool edit_stage(struct edit *d, const struct options *o, const struct account *user, int bundle_fd, int now_fd, struct err *e);
bool edit_still(const struct edit *d, int now_fd, struct err *e); /* right before COMMIT: nobody has changed the files meanwhile */
/* The renames. now_fd as for edit_still: whoever has changed a file between COMMIT and COMMITTED keeps his work. false: some file is as it
 * was, though the new generation lives. */
bool edit_write(struct edit *d, int now_fd, struct err *e);
#endif
