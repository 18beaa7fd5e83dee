/* Files that must exist whole or not at all: write beside, fsync, link into place, fsync the folder. For keys and certificates. */
#ifndef PORTREEVE_BASE_NEWFILE_H
#define PORTREEVE_BASE_NEWFILE_H
#include "base/err.h"
#include <sys/types.h>

/* Make `path` with these bytes and mode. A file that is there already is left alone and is no error (two processes that start together
 * agree on the first one's). false with e naming the path and the reason. */
bool newfile_create(const char *path, const void *p, size_t n, mode_t mode, struct err *e);
/* The same, but an existing file is replaced in one step. */
bool newfile_replace(const char *path, const void *p, size_t n, mode_t mode, struct err *e);
/* fsync the folder that holds path. */
bool newfile_sync_folder(const char *path, struct err *e);
#endif
