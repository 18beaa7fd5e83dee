#include "engine/cmd.h"
#include <stdlib.h>
#include <sys/stat.h>

const char *cmd_state(const char *given) {
    const char *env = getenv("PORTREEVE_STATE");
    struct stat st;
    if (given != NULL) return given;
    if (env != NULL && *env != '\0') return env;
    return stat("./var", &st) == 0 && S_ISDIR(st.st_mode) ? "./var" : "/var/lib/portreeve";
}
