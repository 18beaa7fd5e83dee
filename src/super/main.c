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

#define EXITS "Exit status: 0 done, 1 refused (why is on standard error), 2 wrong usage.\n"

static int run(const struct options *o);
static int status(const struct options *o);
static const struct command commands[] = {
    {"run", "start the server in the foreground", TAKES_STATE | TAKES_RUN, run,
     "usage: portreeve run [OPTIONS]\n"
     "Start the server in the foreground. SIGHUP reloads, SIGTERM or SIGINT ends it after running requests (twice: at once),\n"
     "SIGUSR2 replaces the engine, with its Lua library, by the program on disk; `portreeve status` says where that cannot be.\n"
     "  --conf DIR      configuration (default: ./conf, /etc/portreeve)\n"
     "  --state DIR     state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
     "  --policies DIR  policies (default: those of the installation)\n"
     "  --set FILE:ENTRY=VALUE   override one entry, e.g. tomcat.ini:Port=0; may be repeated\n"
     "  --user NAME     as root: run planner and engine as this user\n"
     "  --help          this text\n"
     "Log lines go to standard error, requests to log/access.log in the state folder. Exit status: 0 ended as told, 1 not started\n"
     "(why is on standard error), 2 wrong usage.\n"},
    {"reload", "read configuration and policies again", TAKES_STATE | TAKES_FORCE, client_reload,
     "usage: portreeve reload [--force] [--state DIR]\n"
     "Read configuration and policies again and change over if all of it is good; exit status 1 and the reason if not.\n"
     "Nothing changes then; the reason is in the log and in `portreeve status` too.\n"
     "  --force         even if it shuts out this machine, a recent administrator of the hub or a member of lists/cluster.list\n" STATE_HELP
         EXITS},
    {"status", "what runs, what is bound and why", TAKES_STATE | TAKES_JSON | TAKES_SECURITY, status,
     "usage: portreeve status [--security] [--json] [--state DIR]\n"
     "What runs, what is bound and why, and how the last change went.\n"
     "  --security      instead: what the engine has given up (user, capabilities, files, system calls …), and what is off and why\n"
     "  --json          the same for scripts\n" STATE_HELP EXITS},
    {"stop", "finish running requests and end", TAKES_STATE, client_stop,
     "usage: portreeve stop [--state DIR]\nReturns when running requests are finished and the server is gone.\n" STATE_HELP EXITS},
    {"check", "try configuration and policies without changing anything", 0, NULL, NULL},
    {"plan", "show which sockets the configuration asks for, and why", 0, NULL, NULL},
    {"explain", "say which entry binds an address and port, or why nothing does", 0, NULL, NULL},
    {"ini", "show an INI file's entries as they are read", 0, NULL, NULL},
    {"list", "ask an address list about addresses", 0, NULL, NULL},
    {"lists", "the address lists in force: which lines decide, and which never", 0, NULL, NULL},
    {"ban", "shut an address out for a while", 0, NULL, NULL},
    {"unban", "take a ban back", 0, NULL, NULL},
    {"bans", "show the bans in force", 0, NULL, NULL},
    {"reap", "judge living connections again under today's rules", 0, NULL, NULL},
    {"test", "run the policies' tests", 0, NULL, NULL},
    {"why", "say what was decided about an address, and by which line", 0, NULL, NULL},
    {"would", "say what would become of a caller, rule by rule", 0, NULL, NULL},
    {"console", "look inside the running server", 0, NULL, NULL},
    {"eval", "evaluate one expression inside the running server", 0, NULL, NULL},
    {"mint", "make tracking links", 0, NULL, NULL},
    {"events", "show recorded events", 0, NULL, NULL},
    {"login-link", "make a one-time link to the hub", 0, NULL, NULL},
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

/* Beside our own program (a build), in ../libexec/portreeve (an installation, wherever it was moved to), else where it was to go. */
static bool find_engine(char *out, size_t cap) {
    static const char name[] = "portreeve-engine", *const from[] = {"", "../libexec/portreeve/"};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        char *slash = strrchr(self, '/');
        if (slash) *slash = 0;
        for (size_t i = 0; i < sizeof from / sizeof *from; i++)
            if (snprintf(out, cap, "%s/%s%s", self, from[i], name) < (int)cap && access(out, X_OK) == 0) return true;
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

/* Only the engine knows what it has done to itself; it is asked as `portreeve eval` asks it. */
static int status(const struct options *o) {
    char *argv[] = {"", "eval", "--state", (char *)o->state, "security()", o->json ? "--json" : NULL, NULL};
    return o->security ? hand_over(argv) : client_status(o);
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
