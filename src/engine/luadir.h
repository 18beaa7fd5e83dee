/* Where the standard library (lua/portreeve) is: beside the build tree, else where `make install` put it. */
#ifndef PORTREEVE_ENGINE_LUADIR_H
#define PORTREEVE_ENGINE_LUADIR_H
#include "base/err.h"

bool luadir_find(char *out, size_t cap, struct err *e);
#endif
