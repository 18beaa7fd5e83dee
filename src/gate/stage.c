#include "gate/stage.h"
#include <string.h>

static const char *const stages[STAGES] = {"peer", "hello", "identity", "request"};
static const char *const verdicts[VERDICTS] = {"allow", "refuse", "reset", "answer"};

static unsigned place_of(const char *name, const char *const *words, unsigned n) {
    unsigned i = 0;
    while (i < n && strcmp(words[i], name) != 0) i++;
    return i;
}

const char *stage_name(enum stage s) {
    return (unsigned)s < STAGES ? stages[s] : "?";
}

enum stage stage_of(const char *name) {
    return (enum stage)place_of(name, stages, STAGES);
}

const char *verdict_name(enum verdict_kind k) {
    return (unsigned)k < VERDICTS ? verdicts[k] : "?";
}

enum verdict_kind verdict_of(const char *name) {
    return (enum verdict_kind)place_of(name, verdicts, VERDICTS);
}
