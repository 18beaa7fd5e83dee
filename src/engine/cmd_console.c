#include "engine/cmd.h"
#include "engine/console_call.h"
#include <editline/readline.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY_LINES  1000
#define LINE_MAX_BYTES 60000

static const char HELP[] =
    "usage: portreeve console [--json] [--state DIR]\n"
    "\n"
    "Look inside the running engine: each line is Lua, evaluated there; help() tells what there is. Tab completes names, fields and listeners.\n"
    "Lines may also come from a pipe. `quit` or control-D ends.\n"
    "\n"
    "  --json          answers as JSON, one line for each result\n"
    "  --state DIR     the running server's state folder (default: $PORTREEVE_STATE, ./var, /var/lib/portreeve)\n"
    "  --help          this text\n"
    "\n"
    "Typed lines are kept in ~/.portreeve_history (the last 1000). Only root and the user the engine runs as may ask.\n"
    "Exit status: 0, 1 the server cannot be reached or (from a pipe) a line failed, 2 wrong usage.\n";

/* libedit calls back without a context: these serve the one console of this process. */
static struct console_call the_call;
static struct buf the_words; /* completions, one a line */
static size_t the_next;
static bool the_json;

/* Ask and print. False: the line failed, or (with *gone) the server is not there. */
static bool run_line(const char *line, bool *gone) {
    struct buf out = {0};
    struct err e;
    bool ok = false;
    *gone = !console_call_eval(&the_call, line, the_json, &ok, &out, &e);
    if (*gone) {
        fprintf(stderr, "portreeve: %s\n", e.text);
    } else {
        FILE *to = ok ? stdout : stderr;
        if (out.n) fprintf(to, "%s%.*s\n", ok ? "" : "error: ", (int)out.n, out.p);
        fflush(to);
    }
    buf_free(&out);
    return ok && !*gone;
}

static bool is_blank(const char *s) {
    return s[strspn(s, " \t\r\n")] == '\0';
}
static bool is_quit(const char *s) {
    s += strspn(s, " \t");
    size_t n = strcspn(s, " \t\r\n(;");
    return (n == 4 && (strncmp(s, "quit", 4) == 0 || strncmp(s, "exit", 4) == 0)) && is_blank(s + n + strspn(s + n, "();"));
}

/* ---- from a pipe ---- */

static int run_pipe(void) {
    char *line = NULL;
    size_t cap = 0;
    bool all = true, gone = false;
    for (ssize_t n; !gone && (n = getline(&line, &cap, stdin)) > 0;) {
        if (line[n - 1] == '\n') line[--n] = '\0';
        if (n > LINE_MAX_BYTES) {
            fprintf(stderr, "error: a line of more than %d bytes\n", LINE_MAX_BYTES);
            all = false;
            continue;
        }
        if (is_blank(line)) continue;
        if (is_quit(line)) break;
        if (!run_line(line, &gone)) all = false;
    }
    free(line);
    if (fflush(stdout) || ferror(stdout)) all = false;
    return all ? 0 : 1;
}

/* ---- on a terminal ---- */

static char *next_word(const char *word, int state) {
    (void)word;
    if (state == 0) the_next = 0;
    if (the_next >= the_words.n) return NULL;
    const char *from = the_words.p + the_next;
    const char *end = memchr(from, '\n', the_words.n - the_next);
    size_t n = end ? (size_t)(end - from) : the_words.n - the_next;
    the_next += n + 1;
    return strndup(from, n);
}

static char **complete(const char *word, int start, int end) {
    struct err e;
    (void)start, (void)end;
    rl_attempted_completion_over = 1; /* never names of files */
    buf_clear(&the_words);
    if (!console_call_complete(&the_call, word, &the_words, &e) || !the_words.n) return NULL;
    return rl_completion_matches(word, next_word);
}

static void history_path(char *out, size_t cap) {
    const char *home = getenv("HOME");
    if (!home || home[0] != '/' || (size_t)snprintf(out, cap, "%s/.portreeve_history", home) >= cap) out[0] = '\0';
}

static int run_terminal(void) {
    static char breaks[] = " \t\n+-*/%^#=<>~;,{}";
    char history[4096];
    bool gone = false;
    rl_readline_name = "portreeve";
    using_history();
    stifle_history(HISTORY_LINES);
    history_path(history, sizeof history);
    if (history[0]) read_history(history);
    rl_basic_word_break_characters = breaks; /* libedit looks at this one, readline at the other */
    rl_completer_word_break_characters = breaks;
    rl_completion_append_character = '\0';
    rl_attempted_completion_function = complete;
    printf("Connected to %s. help() tells what there is, quit ends.\n", the_call.path);
    for (char *line; (line = readline("portreeve> ")) != NULL; free(line)) {
        if (is_blank(line)) continue;
        if (is_quit(line)) {
            free(line);
            break;
        }
        add_history(line);
        run_line(line, &gone); /* an engine that restarts is there again for the next line */
    }
    umask(077);
    if (history[0]) write_history(history);
    putchar('\n');
    return 0;
}

int cmd_console(int argc, char **argv) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"state", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *state = NULL;
    struct buf out = {0};
    struct err e;
    bool ok;
    optind = 1;
    argv[0] = "portreeve console"; /* what getopt's messages begin with */
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') return fputs(HELP, stdout) < 0;
        if (c == '?') return fputs(HELP, stderr), 2;
        if (c == 'j') the_json = true;
        else state = optarg;
    }
    if (optind != argc) return fputs(HELP, stderr), 2;
    bool fine = console_call_init(&the_call, cmd_state(state), &e) && console_call_eval(&the_call, "nil", false, &ok, &out, &e);
    buf_free(&out);
    int status = 1;
    if (!fine) fprintf(stderr, "portreeve: %s\n", e.text);
    else status = isatty(STDIN_FILENO) ? run_terminal() : run_pipe();
    console_call_finish(&the_call);
    buf_free(&the_words);
    return status;
}
