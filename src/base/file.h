/* Read a whole file, bounded. */
#ifndef PORTREEVE_BASE_FILE_H
#define PORTREEVE_BASE_FILE_H
#include "base/buf.h"
#include "base/err.h"

/* Append the bytes of `path` (a regular file, a pipe or a terminal) to out. false with e filled ("PATH: …") where it cannot be read or
 * has more than max bytes; out may then hold a part. */
bool file_read(const char *path, size_t max, struct buf *out, struct err *e);
#endif
