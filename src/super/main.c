/* portreeve: the one command people type. What only needs the supervisor is done here; everything else is the engine program's. */
#include "super/client.h"
#include "super/super.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command {
    const char *name, *what;
    unsigned takes;
    int (*run)(const struct options *o); /* NULL: the engine program does it */
    const char *help;
};

#define STATE_HELP "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"

static int run(const struct options *o);
static const struct command commands[] = {
    {"run", "start the server in the foreground", TAKES_STATE | TAKES_RUN, run,
     "usage: portreeve run [OPTIONS]\n"
     "Start the server in the foreground. SIGHUP reloads, SIGTERM or SIGINT ends it after running requests (twice: at once),\n"
     "SIGUSR2 replaces the engine by the program on disk.\n"
     "  --conf DIR      configuration (default: ./conf, /etc/portreeve)\n"
     "  --state DIR     state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
     "  --policies DIR  policies (default: those of the installation)\n"
     "  --set FILE:ENTRY=VALUE   override one entry, e.g. tomcat.ini:Port=0; may be repeated\n"
     "  --user NAME     as root: run planner and engine as this user\n"},
    {"reload", "read configuration and policies again", TAKES_STATE, client_reload,
     "usage: portreeve reload [--state DIR]\n"
     "Read configuration and policies again and change over if all of it is good; exit status 1 and the reason if not.\n" STATE_HELP},
    {"status", "what runs, what is bound and why", TAKES_STATE | TAKES_JSON, client_status,
     "usage: portreeve status [--json] [--state DIR]\n" STATE_HELP},
    {"stop", "finish running requests and end", TAKES_STATE, client_stop,
     "usage: portreeve stop [--state DIR]\nReturns when the server is gone.\n" STATE_HELP},
    {"check", "try configuration and policies without changing anything", 0, NULL, NULL},
    {"plan", "show which sockets the configuration asks for, and why", 0, NULL, NULL},
    {"ini", "show an INI file's entries as they are read", 0, NULL, NULL},
    {"list", "ask an address list about addresses", 0, NULL, NULL},
    {"test", "run the policies' tests", 0, NULL, NULL},
    {"console", "look inside the running server", 0, NULL, NULL},
    {"eval", "evaluate one expression inside the running server", 0, NULL, NULL},
    {"mint", "make tracking links", 0, NULL, NULL},
    {"events", "show recorded events", 0, NULL, NULL},
    {"login-link", "make a one-time link to the hub", 0, NULL, NULL},
    {"hash-password", "hash a password read from standard input", 0, NULL, NULL},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const struct command *find(const char *name) {
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

static void help(FILE *to) {
    fputs("usage: portreeve COMMAND [OPTIONS]\n\n", to);
    for (size_t i = 0; i < COMMANDS; i++) fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].what);
    fputs("  help           this; `portreeve COMMAND --help` tells more\n  version        print the version\n", to);
}

/* Beside our own program, else where the installation keeps it. */
static bool find_engine(char *out, size_t cap) {
    static const char name[] = "portreeve-engine";
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        char *slash = strrchr(self, '/');
        if (slash) *slash = 0;
        if (snprintf(out, cap, "%s/%s", self, name) < (int)cap && access(out, X_OK) == 0) return true;
    }
    if (snprintf(out, cap, "%s/%s", LIBEXECDIR, name) < (int)cap && access(out, X_OK) == 0) return true;
    fprintf(stderr, "portreeve: there is no %s beside %s or in %s; is the installation complete?\n", name, n > 0 ? self : "this program",
            LIBEXECDIR);
    return false;
}

static int run(const struct options *o) {
    char engine[PATH_MAX];
    if (!find_engine(engine, sizeof engine)) return EXIT_REFUSED;
    (void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    return super_run(o, engine);
}

static int hand_over(char **argv) {
    char engine[PATH_MAX];
    if (!find_engine(engine, sizeof engine)) return EXIT_REFUSED;
    argv[0] = "portreeve-engine";
    execv(engine, argv);
    fprintf(stderr, "portreeve: cannot run %s: %s\n", engine, strerror(errno));
    return EXIT_REFUSED;
}

/* A descriptor opened later must never become standard output by accident. */
static bool standard_fds(void) {
    int fd;
    do fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < STDERR_FILENO);
    if (fd > STDERR_FILENO) close(fd);
    return fd >= 0;
}

int main(int argc, char **argv) {
    struct options o;
    if (!standard_fds()) return EXIT_REFUSED;
    if (argc < 2) {
        help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) return printf("portreeve %s\n", PORTREEVE_VERSION) < 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 2)) {
        help(stdout);
        return EXIT_DONE;
    }
    if (strcmp(name, "help") == 0) {
        argv[1] = argv[2];
        argv[2] = "--help";
        name = argv[1];
    }
    const struct command *c = find(name);
    if (name[0] == '-' || (c == NULL && strchr(name, '/'))) {
        fprintf(stderr, "portreeve: %s is no command; see `portreeve help`\n", name);
        return EXIT_USAGE;
    }
    if (!c || !c->run) return hand_over(argv);
    int bad = options_parse(argc - 1, argv + 1, c->takes, &o);
    if (bad) return bad;
    if (o.help) return fputs(c->help, stdout) < 0;
    return c->run(&o);
}
