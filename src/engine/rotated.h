/* A file that lines are appended to and that never grows beyond a bound: NAME, then NAME.1 … NAME.N-1, the oldest of which goes. One thread at a time.
 * Another process may append to it and rotate it too (an engine that drains), and so may logrotate. Blocks on the disk: not for workers. */
#ifndef PORTREEVE_ENGINE_ROTATED_H
#define PORTREEVE_ENGINE_ROTATED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rotated {
    char path[512];
    int fd;      /* -1 = not open */
    int why;     /* errno of the last failure, 0 = all is well: for saying it once */
    bool ragged; /* the end of the file is a part of a line that could not be taken back */
};
void rotated_init(struct rotated *f, const char *path);
void rotated_finish(struct rotated *f);
/* Append n bytes of whole lines. bytes: a file that holds as many is put aside before, most: files of that name. false with f->why: nothing was
 * written (a full disk, a folder that is not there …), and what a failed write left has been taken back. */
bool rotated_add(struct rotated *f, const char *p, size_t n, int64_t bytes, unsigned most);
#endif
