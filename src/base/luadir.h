/* Where the standard library (lua/portreeve) is: beside the build tree, else where `make install` put it. */
#ifndef PORTREEVE_BASE_LUADIR_H
#define PORTREEVE_BASE_LUADIR_H
#include "base/err.h"
#include <stdint.h>

bool luadir_of(const char *program, char *out, size_t cap, struct err *e); /* that of the program at this path */
bool luadir_find(char *out, size_t cap, struct err *e);
/* A number that changes when a file there does (place, size, time). 0 = it cannot be told. */
uint64_t luadir_stamp(const char *dir);
#endif
