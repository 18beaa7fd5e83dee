#include "engine/cmd.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

const char *cmd_state(const char *given) {
    const char *env = getenv("PORTREEVE_STATE");
    struct stat st;
    bool ours; /* not the ./var of the root folder: it has keys/, or we may not even look */
    if (given != NULL) return given;
    if (env != NULL && *env != '\0') return env;
    ours = stat("./var/keys", &st) == 0 ? S_ISDIR(st.st_mode) : errno == EACCES;
    return ours ? "./var" : "/var/lib/portreeve";
}
