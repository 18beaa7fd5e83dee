#include "super/options.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A ./var of ours, not the one of the root folder: it has keys/, or we may not even look. */
static bool is_state(const char *path) {
    char keys[64];
    struct stat st;
    snprintf(keys, sizeof keys, "%s/keys", path);
    return is_folder(path) && (stat(keys, &st) == 0 ? S_ISDIR(st.st_mode) : errno == EACCES);
}

static void defaults(struct options *o) {
    const char *env = getenv("PORTREEVE_STATE");
    if (!o->state) o->state = env && *env ? env : is_state("./var") ? "./var" : "/var/lib/portreeve";
    if (!o->conf) o->conf = is_folder("./conf") ? "./conf" : "/etc/portreeve";
}

static int complain(const char *command, const char *what, const char *option) {
    fprintf(stderr, "portreeve %s: %s %s; see `portreeve %s --help`\n", command, option, what, command);
    return EXIT_USAGE;
}

/* Where the value of a known option goes, or NULL. */
static const char **place_of(struct options *o, const char *name, size_t n, unsigned takes) {
    struct {
        const char *name;
        const char **place;
        unsigned needs;
    } known[] = {{"--state", &o->state, TAKES_STATE},
                 {"--conf", &o->conf, TAKES_RUN},
                 {"--policies", &o->policies, TAKES_RUN},
                 {"--user", &o->user, TAKES_RUN},
                 {"--set", &o->set[o->nsets], TAKES_RUN}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((takes & known[i].needs) && strlen(known[i].name) == n && memcmp(known[i].name, name, n) == 0) return known[i].place;
    }
    return NULL;
}

int options_parse(int argc, char **argv, unsigned takes, struct options *o) {
    *o = (struct options){0};
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            o->help = true;
            return EXIT_DONE;
        }
        if ((takes & TAKES_JSON) && strcmp(a, "--json") == 0) {
            o->json = true;
            continue;
        }
        if ((takes & TAKES_FORCE) && strcmp(a, "--force") == 0) {
            o->force = true;
            continue;
        }
        if ((takes & TAKES_SECURITY) && strcmp(a, "--security") == 0) {
            o->security = true;
            continue;
        }
        if (o->nsets == OPTIONS_SETS - 1) return complain(argv[0], "is given too often", "--set");
        size_t n = strcspn(a, "=");
        const char **place = place_of(o, a, n, takes);
        if (!place) return complain(argv[0], "is not known", a);
        const char *value = a[n] ? a + n + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!value || !*value) return complain(argv[0], "needs a value", a);
        *place = value;
        if (place == &o->set[o->nsets]) o->nsets++;
    }
    defaults(o);
    return EXIT_DONE;
}
