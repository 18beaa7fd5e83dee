/* Inside of hardening: harden.c calls these in order; each says in `how` what it reached. */
#ifndef PORTREEVE_ENGINE_HARDEN_I_H
#define PORTREEVE_ENGINE_HARDEN_I_H
#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HARDEN_SANITIZED 1
#else
#define HARDEN_SANITIZED 0
#endif

enum harden_state { HARDEN_OFF, HARDEN_PART, HARDEN_ON };
/* harden_files.c: Landlock. */
enum harden_state harden_files(const char *state_dir, const char *luadir, char *how, size_t room);
/* harden_calls.c: seccomp. */
enum harden_state harden_calls(char *how, size_t room);
#endif
